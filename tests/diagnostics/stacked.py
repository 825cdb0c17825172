"""Networks stacked and looked at all at once, as runs that are trained together are. For the tests of diagnostics."""

import torch

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Batch, Moment
from bnlab.training.stacked.measure import StackedState, measure_stacked


def looked_at_together(names, nets, batch, moments, memories):
    """Return what diagnostics say of each network, as floats, all taken through one vmap; memories are kept up.

    Parameters are stacked in the reverse of the order that they are declared in: nothing may depend on it.
    """
    diagnostics = build_diagnostics(names)
    assert all(diagnostic.vectorizable for diagnostic in diagnostics)
    parameters = [dict(reversed(list(net.named_parameters()))) for net in nets]
    moment = Moment(lr=torch.full((len(nets),), 0.1))
    if moments:
        batches = [moment.batch for moment in moments]
        moment = Moment(
            stack([one.previous for one in moments]),
            Batch(torch.stack([one.inputs for one in batches]), torch.stack([one.labels for one in batches])),
            moment.lr,
        )
    buffers = stack([dict(net.named_buffers()) for net in nets])
    replicas = StackedState(nets[0], stack(parameters), buffers, {}, moment, memories)
    said = []
    for memory, (values, remembered) in zip(memories, measure_stacked(diagnostics, replicas, batch), strict=True):
        memory.update(remembered)
        said.append({name: {role: v.item() for role, v in of.items()} for name, of in values.items()})
    return said


def stack(trees):
    return {name: torch.stack([tree[name].detach() for tree in trees]) for name in trees[0]}
