"""How much an update of earlier layers changes a layer's gradient: internal covariate shift, seen by the optimizer."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named


def _earlier(names: Mapping[str, str], parameters: Named) -> dict[str, Named]:
    """Return role -> parameters of all layers before that layer."""
    roles = list(names)
    return {
        role: {
            name: value
            for name, value in parameters.items()
            if not name.startswith(tuple(f"{later}." for later in roles[place:]))
        }
        for place, role in enumerate(roles)
    }


def _compare(role: str, old: Tensor, new: Tensor) -> dict[str, Tensor]:
    # divided by the largest entry: the squares of a vanishing gradient are too small for a float32
    largest = torch.maximum(old.abs().amax(), new.abs().amax())
    scale = torch.where(largest == 0, 1.0, largest)
    old, new = old / scale, new / scale
    difference, old_norm, new_norm = (torch.linalg.vector_norm(x) for x in (new - old, old, new))
    both = old_norm * new_norm
    cosine = ((old * new).sum() / torch.where(both == 0, 1.0, both)).clamp(-1, 1)
    return {
        f"{role}/norm": difference * scale,
        f"{role}/relative": torch.where(difference == 0, difference, difference / old_norm),
        f"{role}/cosine": torch.where(difference == 0, 1.0, cosine),
    }


class GradientShift(Diagnostic):
    """How much a layer's gradient changes because the layers before it were just updated.

        G  = dL/dW_i (W_1, ..., W_k; batch)                         before the update
        G' = dL/dW_i (W_1', ..., W_(i-1)', W_i, ..., W_k; batch)    the earlier layers moved, the batch the same
        norm = ||G - G'||,    relative = ||G - G'|| / ||G||,    cosine = <G, G'> / (||G|| ||G'||)

    All parameters of the earlier layers move, gamma and beta too. The batch is the one of the update; norms use its own
    statistics, as in training, and running statistics stay unchanged.

    Unit:
        ``norm``: loss per unit of weight. ``relative``: dimensionless. ``cosine``: -1 to 1.

    Reading:
        relative 0 and cosine 1: the layer's gradient is still right after the other layers have moved. This is internal
        covariate shift, seen by the optimizer.

    Cost:
        A forward and backward pass over the mini-batch for each layer, and a copy of the weights.

    Blind spots:
        It grows with the learning rate, and whether a norm lowers it depends on the activation: compare arms at the
        same rate, and name both. ``norm`` depends on the scale of weights in front of a norm: across arms read
        ``relative`` and ``cosine``. The first layer has no layers before it, and is left out. A layer without any
        gradient has relative 0 and cosine 1. If a mini-batch is accumulated from parts, statistics here are of the
        whole batch. Dropout and noise are the same in all passes, but not the same as in the update.

    Source:
        Santurkar et al. 2018, arXiv:1805.11604, definition 2.1; relative: Ours.
    """

    name = "gradient_shift"
    unit = "loss per unit of weight; share; cosine"
    cost = "extra"
    needs = frozenset({"update"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return all three per layer but the first."""
        before, batch = seen.moment.previous, seen.moment.batch
        if before is None or batch is None:
            return {}
        assert seen.passes is not None
        earlier = {role: moved for role, moved in _earlier(seen.names, seen.passes.parameters).items() if moved}
        old, _ = seen.passes.gradient(*batch, before, [seen.names[role] for role in earlier])
        found: dict[str, Tensor] = {}
        for role, moved in earlier.items():
            name = seen.names[role]
            new, _ = seen.passes.gradient(*batch, {**before, **moved}, [name])
            found |= _compare(role, old[name], new[name])
        return found
