"""Evaluating and watching runs that are trained together; nothing here moves what training goes on with.

Shape letters: R replicas, B images, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, vmap

from bnlab import noise
from bnlab.data.splits import Split
from bnlab.diagnostics.diagnostic import Diagnostic, Observation, ProbeBatch
from bnlab.diagnostics.taps import tapped
from bnlab.models.network import Network
from bnlab.training.evaluate import EVAL_BATCH
from bnlab.training.replica_program import in_mode

Named = dict[str, Tensor]
"""Parameter or buffer -> tensor: stacked (R, *shape), or of one replica."""


@torch.no_grad()
def evaluate_replicas(network: Network, parameters: Named, buffers: Named, split: Split) -> dict[str, Tensor]:
    """Return mean loss and accuracy over a split for each replica, in eval mode; as `evaluate` does for one.

    Args:
        network: For its layers.
        parameters: Stacked.
        buffers: Stacked.
        split: On what.

    Returns:
        ``loss`` and ``accuracy``, (R,) each, on the CPU.
    """

    def outcome_of_one(own_parameters: Named, own_buffers: Named, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logits = functional_call(network, (own_parameters, own_buffers), (images,))
        return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()

    outcomes = []
    with in_mode(network, training=False):
        for images, labels in zip(
            torch.split(split.images, EVAL_BATCH), torch.split(split.labels, EVAL_BATCH), strict=True
        ):
            outcomes.append(vmap(outcome_of_one, in_dims=(0, 0, None, None))(parameters, buffers, images, labels))
    loss_R, num_right_R = (sum(part.cpu().double() for part in parts) for parts in zip(*outcomes, strict=True))
    return {"loss": loss_R / len(split), "accuracy": num_right_R / len(split)}


def measure_replicas(
    diagnostics: Sequence[Diagnostic],
    network: Network,
    parameters: Named,
    buffers: Named,
    probe: ProbeBatch,
    noises: Sequence[Tensor],
) -> dict[str, dict[str, Tensor]]:
    """Look at each replica with all diagnostics at once; as `measure_all` does for one.

    Args:
        diagnostics: What to measure.
        network: For its layers.
        parameters: Stacked.
        buffers: Stacked; left as they are.
        probe: What to look at them with.
        noises: What each replica draws in a forward pass over the probe batch, stacked.

    Returns:
        Diagnostic name -> layer role -> (R,).
    """
    roles = {id(weight): role for role, weight in network.weights.items()}
    role_of = {name: roles[id(weight)] for name, weight in network.named_parameters() if id(weight) in roles}
    watched = {role: layer for role, layer in network.activations.items() if role not in network.replaced_activations}

    def seen_of_one(own_parameters: Named, own_buffers: Named, own_noises: Sequence[Tensor]) -> dict[str, Named]:
        def loss_and_sights(weights: Named, moving: Named) -> tuple[Tensor, tuple[Named, Named]]:
            with tapped(watched) as sights, noise.supplied(own_noises):
                logits = functional_call(network, ({**own_parameters, **weights}, moving), (probe.inputs,))
            return F.cross_entropy(logits, probe.labels), sights

        weights = {name: own_parameters[name] for name in role_of}
        gradients, (inputs, outputs) = grad(loss_and_sights, has_aux=True)(weights, own_buffers)
        by_role = {role: gradients[name] for name, role in role_of.items()}
        ordered = {role: by_role[role] for role in network.weights}
        seen = Observation(inputs, outputs, ordered, probe.activation)
        return {diagnostic.name: diagnostic.measure(seen) for diagnostic in diagnostics}

    copies = {name: buffer.clone() for name, buffer in buffers.items()}
    with torch.no_grad(), in_mode(network, training=True):
        measured: dict[str, dict[str, Tensor]] = vmap(seen_of_one)(parameters, copies, list(noises))
    return measured
