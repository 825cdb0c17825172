"""What the last update did to the weights.

Shape letters: O rows of a weight (units, or channels of a convolution), I values per row.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges


def _before(seen: Observation) -> dict[str, Tensor]:
    """Return the weights before the last update, by role."""
    assert seen.moment.previous is not None  # whoever needs it is not asked where there was none
    return {role: seen.moment.previous[name] for role, name in seen.names.items()}


class UpdateRatio(Diagnostic):
    """By what share of themselves the last update moved a layer's weights.

        ratio_l = || W_l(t) - W_l(t-1) ||_F / || W_l(t-1) ||_F

    Unit:
        Dimensionless, at least 0.

    Reading:
        Around 1e-3 is usual; 1e-1 and more: each step makes another layer of it. Layers that differ by powers of ten
        learn at different speeds.

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        One step, one mini-batch: it fluctuates. Weights that began at zero have no ratio (infinite). Weights in front
        of a norm can grow to no effect: see `angular_update`.

    Source:
        The usual rule of thumb.
    """

    name = "update_ratio"
    unit = "share of the weights' norm"
    needs = frozenset({"update"})
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (1e-7, 0.5)}
    too_low = "of the weights' norm moves at a step: the layer stands still"
    too_high = "of the weights' norm moves at a step: each step makes another layer of it"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        return {
            role: torch.linalg.vector_norm(seen.weights[role] - old) / torch.linalg.vector_norm(old)
            for role, old in _before(seen).items()
        }


class AngularUpdate(Diagnostic):
    """By what angle the last update turned the weights whose length means nothing.

        angle_l = mean over rows o of arccos(<w_o(t-1), w_o(t)> / (||w_o(t-1)|| ||w_o(t)||))

    of layers in front of a norm that takes each channel's scale away: there a row's direction is all that counts.
    Computed as 2 atan2(||u - v||, ||u + v||) of the two directions, in float64: an arccos near 1 has no digits.

    Unit:
        Radians, 0 to pi.

    Reading:
        The true step size of such a layer. It settles where the growth of the weights and their decay balance.

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        The mean over rows hides single rows that spin. Left out for other layers: norms inside a sample take the scale
        of a whole sample away, but not that of a row.

    Source:
        Wan et al. 2021, arXiv:2006.08419 (angular update); per row: Ours.
    """

    name = "angular_update"
    unit = "radians"
    needs = frozenset({"update"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean angle per scale-invariant layer."""
        before = _before(seen)
        return {
            role: _angle(before[role], weight).mean()
            for role, weight in seen.weights.items()
            if role in seen.scale_invariant
        }


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Return the angle between two weights, by row."""
    u_OI, v_OI = (w.double().flatten(1) / w.double().flatten(1).norm(dim=1, keepdim=True) for w in (one, other))
    return 2 * torch.atan2((u_OI - v_OI).norm(dim=1), (u_OI + v_OI).norm(dim=1))


class EffectiveLearningRate(Diagnostic):
    """The learning rate that a layer feels whose weights' length means nothing.

        effective_lr_l = mean over rows o of lr / ||w_o||^2

    A gradient with respect to such a row falls as 1/||w_o||, and so does the angle that a step of a given length makes:
    the direction moves as if the row had length 1 and the learning rate were this one.

    Unit:
        Learning rate.

    Reading:
        It falls while weights grow, though lr stays: a schedule that nobody wrote. Weight decay works against it.

    Cost:
        Reads the weights.

    Blind spots:
        Exact for plain SGD alone. The smallest rows dominate the mean. Left out for layers that are not invariant to
        the scale of each row.

    Source:
        van Laarhoven 2017, arXiv:1706.05350, section 2; per row: Ours.
    """

    name = "effective_lr"
    unit = "learning rate"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean over rows per scale-invariant layer."""
        lr = seen.moment.lr
        if lr is None:
            return {}
        return {
            role: (lr / weight.double().flatten(1).square().sum(1)).mean()
            for role, weight in seen.weights.items()
            if role in seen.scale_invariant
        }
