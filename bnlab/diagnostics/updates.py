"""The effect of the last update on the weights.

Shape letters: O rows of a weight (units, or channels of a convolution), I values per row.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named


def _before(seen: Observation) -> dict[str, Tensor]:
    """Return the weights before the last update, by role."""
    assert seen.moment.previous is not None  # a diagnostic that needs an update is not called without one
    return {role: seen.moment.previous[name] for role, name in seen.names.items()}


class UpdateRatio(Diagnostic):
    """The relative change of a layer's weights in the last update.

        ratio_l = || W_l(t) - W_l(t-1) ||_F / || W_l(t-1) ||_F

    Unit:
        Dimensionless, at least 0.

    Reading:
        Around 1e-3 is usual; at 1e-1 and more, a few steps replace the layer. Layers whose values differ by powers of
        ten learn at different speeds.

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        It is of one step and one mini-batch, so it fluctuates. Infinite for weights of zero. In front of a norm, the
        part of an update that only changes the length of the weights has no effect: see `angular_update`. An update
        below 6e-8 of a weight is lost by rounding. It is 0 for weights that ``train.parameters`` leaves untrained.

    Source:
        The usual rule of thumb.
    """

    name = "update_ratio"
    unit = "share of the weights' norm"
    needs = frozenset({"update"})
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (1e-7, 0.5)}
    too_low = "of the weights' norm per step: the layer hardly changes"
    too_high = "of the weights' norm per step: each step replaces the layer"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        return {
            role: torch.linalg.vector_norm(seen.weights[role] - old) / torch.linalg.vector_norm(old)
            for role, old in _before(seen).items()
        }


def _rows(weight: Tensor) -> Tensor:
    return weight.flatten(1)


NO_SCALE = (
    "a norm that makes the scale of a layer's weights irrelevant, without a bias between the weights and the norm"
)
"""Why a diagnostic is undefined in some networks: it needs this."""


class AngularUpdate(Diagnostic):
    """The angle by which the last update turned a layer's weights, where their length has no effect.

        angle_l = arccos(<W_l(t-1), W_l(t)> / (||W_l(t-1)|| ||W_l(t)||)),    ``median_row``: the median over rows o

    for layers that a norm makes invariant to the scale of their weights: there only the direction matters. All rows are
    one vector, which is right in front of every such norm. ``median_row`` takes rows one by one, where a norm makes the
    scale of each row irrelevant, as BatchNorm and its relatives do.

    Unit:
        Radians, 0 to pi.

    Reading:
        The true step size of such a layer, with momentum and Adam too. With weight decay it settles where the growth of
        the weights and their decay balance; for plain SGD at sqrt(2 lr weight_decay).

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        It is of one step and one mini-batch. With momentum, consecutive steps are similar, so that the path is
        straighter than single angles show. The median hides single rows that turn far; the value of all rows depends
        mostly on the longest ones. Weights of zero have the angle 0. Left out if a norm declares no such invariance, or
        if a bias stands between weights and norm (norm=rms, placement=after).

    Source:
        Wan et al. 2020, arXiv:2006.08419; the median over rows: Ours.
    """

    name = "angular_update"
    unit = "radians"
    needs = frozenset({"update"})
    vectorizable = True
    undefined = NO_SCALE

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the angle per scale-invariant layer, and the median of its rows' angles."""
        angles: Named = {}
        for role, old in _before(seen).items():
            if role in seen.scale_invariant:
                new = seen.weights[role]
                angles[role] = _angle(old.flatten(), new.flatten())
            if seen.scale_invariant.get(role) == "rows":
                angles[f"{role}/median_row"] = _angle(_rows(old), _rows(new)).median()
        return angles


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Return the angle between vectors along the last axis, from the part of their difference across the first vector.

    An arccos near 1 loses all digits: a float32 cosine cannot represent an angle of 1e-4.
    """
    moved = other - one
    along = (moved * one).sum(-1) / one.square().sum(-1).clamp(min=torch.finfo(one.dtype).tiny)
    across = moved - along.unsqueeze(-1) * one
    return torch.atan2(across.norm(dim=-1) * one.norm(dim=-1), (one * other).sum(-1))


class EffectiveLearningRate(Diagnostic):
    """The learning rate relative to the squared length of a layer's weights, where this length has no effect.

        effective_lr_l = lr / ||W_l||_F^2,    ``median_row``: the median over rows o of lr / ||w_o||^2

    The gradient by such weights falls as 1/||W||, and the angle of a step of given length does too: the direction moves
    as if the weights had length 1 and the learning rate were this value. All rows are one vector, which is right in
    front of every norm that removes scale. ``median_row`` takes rows one by one, where a norm makes the scale of each
    row irrelevant, as BatchNorm and its relatives do.

    Unit:
        Learning rate of weights of length 1.

    Reading:
        It falls while weights grow, though lr is constant: a hidden learning rate schedule. Weight decay works against
        it. Compare the same facet across arms: ``median_row`` is larger than the value of all rows, by their number.

    Cost:
        Reads the weights.

    Blind spots:
        It is right for plain SGD. With momentum m, the effective value is 1 / (1 - m) times as large; Adam's steps do
        not fall as 1/||W||, so that lr / ||W|| matters there. The resulting change is `angular_update`. A layer with
        more rows has a smaller value. Left out if a norm declares no such invariance, or if a bias stands between
        weights and norm (norm=rms, placement=after).

    Source:
        van Laarhoven 2017, arXiv:1706.05350; the median over rows: Ours.
    """

    name = "effective_lr"
    unit = "learning rate of weights of length 1"
    vectorizable = True
    undefined = NO_SCALE

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rate per scale-invariant layer, and the median of its rows' rates."""
        lr = seen.moment.lr
        if lr is None:
            return {}
        rates: Named = {}
        for role, free in seen.scale_invariant.items():
            squares_O = _rows(seen.weights[role]).square().sum(1)
            rates[role] = lr / squares_O.sum()
            if free == "rows":
                rates[f"{role}/median_row"] = (lr / squares_O).median()
        return rates
