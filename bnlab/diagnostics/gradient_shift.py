"""How much a layer's gradient moves with the layers before it: internal covariate shift as an optimizer feels it."""

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    cosine: Tensor = (one * other).sum() / (torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other))
    return cosine


class GradientShift(Diagnostic):
    """How much a layer's gradient changes because the layers before it have just been updated.

        G  = dL/dW_i (W_1, ..., W_k; batch)                         before the update
        G' = dL/dW_i (W_1', ..., W_(i-1)', W_i, ..., W_k; batch)    the earlier layers moved, the batch the same
        norm = ||G - G'||,    relative = ||G - G'|| / ||G||,    cosine = <G, G'> / (||G|| ||G'||)

    Everything of the earlier layers moves, gamma and beta too. The batch is the one that made the update, statistics
    are its own, as in training, and running statistics stay untouched.

    Unit:
        ``norm``: loss per unit of weight. ``relative``: dimensionless. ``cosine``: -1 to 1.

    Reading:
        relative 0, cosine 1: what a layer was told to do is still right after the others have moved. This is internal
        covariate shift as an optimizer feels it.

    Cost:
        A forward and backward pass over the mini-batch for each layer, and a copy of the weights.

    Blind spots:
        It grows with the learning rate, and its sign differs with the activation: compare arms at the same rate and
        say which. norm scales with the size of weights behind a norm: across arms read relative and cosine. The first
        layer has none before it, and is left out.

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
        assert before is not None
        assert batch is not None
        assert seen.passes is not None
        old, _ = seen.passes.gradient(*batch, before, seen.names.values())
        found: dict[str, Tensor] = {}
        roles = list(seen.names)
        for place, role in enumerate(roles):
            later = tuple(f"{one}." for one in roles[place:])
            moved = {name: value for name, value in seen.passes.parameters.items() if not name.startswith(later)}
            if not moved:
                continue
            name = seen.names[role]
            new, _ = seen.passes.gradient(*batch, {**before, **moved}, [name])
            distance = torch.linalg.vector_norm(new[name] - old[name])
            found |= {
                f"{role}/norm": distance,
                f"{role}/relative": distance / torch.linalg.vector_norm(old[name]),
                f"{role}/cosine": _cosine(new[name], old[name]),
            }
        return found
