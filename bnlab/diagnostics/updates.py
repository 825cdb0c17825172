"""What the last update did to the weights.

Shape letters: O rows of a weight (units, or channels of a convolution), I values per row.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named


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
        Around 1e-3 is usual; 1e-1 and more: a few steps make another layer of it. Layers that differ by powers of ten
        learn at different speeds.

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        One step, one mini-batch: it fluctuates. Weights that began at zero have no ratio (infinite). In front of a norm
        the part of an update that only changes their length has no effect: see `angular_update`. An update below 6e-8
        of a weight is lost in its rounding.

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


def _rows(weight: Tensor) -> Tensor:
    return weight.flatten(1)


class AngularUpdate(Diagnostic):
    """By what angle the last update turned weights whose length means nothing.

        angle_l = arccos(<W_l(t-1), W_l(t)> / (||W_l(t-1)|| ||W_l(t)||)),    the median over rows o for ``row``

    of layers that a norm makes invariant to the scale of their weights: there a direction is all that counts. All rows
    as one vector, which is right in front of every such norm; and ``row`` by row where each row is free by itself, as
    in front of BatchNorm and its relatives.

    Unit:
        Radians, 0 to pi.

    Reading:
        The true step size of such a layer, also under momentum and Adam. With weight decay it settles where the growth
        of the weights and their decay balance: plain SGD, at sqrt(2 lr weight_decay).

    Cost:
        A copy of the weights before each measured step.

    Blind spots:
        One step, one mini-batch. Momentum makes steps that follow each other alike, so that the path is straighter than
        single angles tell. The median hides single rows that spin, the whole is governed by the longest rows. Weights
        of zero turn by 0. Left out where a norm declares no such invariance, or where a bias stands between (norm=rms,
        placement=after).

    Source:
        Wan et al. 2020, arXiv:2006.08419; the median over rows: Ours.
    """

    name = "angular_update"
    unit = "radians"
    needs = frozenset({"update"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the angle per scale-invariant layer, and that of its median row."""
        angles: Named = {}
        for role, old in _before(seen).items():
            if role in seen.scale_invariant:
                new = seen.weights[role]
                angles[role] = _angle(old.flatten(), new.flatten())
            if seen.scale_invariant.get(role) == "rows":
                angles[f"{role}/row"] = _angle(_rows(old), _rows(new)).median()
        return angles


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Return the angle between vectors along the last axis, by what of their difference is across the first of them.

    An arccos near 1 has no digits: of the angle 1e-4 a float32 cosine knows nothing.
    """
    moved = other - one
    along = (moved * one).sum(-1) / one.square().sum(-1).clamp(min=torch.finfo(one.dtype).tiny)
    across = moved - along.unsqueeze(-1) * one
    return torch.atan2(across.norm(dim=-1) * one.norm(dim=-1), (one * other).sum(-1))


class EffectiveLearningRate(Diagnostic):
    """The learning rate that a layer feels whose weights' length means nothing.

        effective_lr_l = lr / ||W_l||_F^2,    the median over rows o of lr / ||w_o||^2 for ``row``

    A gradient by such weights falls as 1/||W||, and so does the angle that a step of a given length makes: the
    direction moves as if the weights had length 1 and the learning rate were this one. All rows as one vector, which is
    right in front of every norm that takes scale away; and ``row`` by row where each row is free by itself, as in front
    of BatchNorm and its relatives.

    Unit:
        Learning rate of weights of length 1.

    Reading:
        It falls while weights grow, though lr stays: a schedule that nobody wrote. Weight decay works against it.
        Compare arms by the whole, not one arm's ``row`` with another's whole: these differ by the number of rows.

    Cost:
        Reads the weights.

    Blind spots:
        For plain SGD. Momentum m makes it 1 / (1 - m) as large; Adam's steps do not fall as 1/||W||, so that lr / ||W||
        counts there. What came of it: `angular_update`. A layer of more rows has a smaller whole. Left out where a norm
        declares no such invariance, or where a bias stands between (norm=rms, placement=after).

    Source:
        van Laarhoven 2017, arXiv:1706.05350; the median over rows: Ours.
    """

    name = "effective_lr"
    unit = "learning rate of weights of length 1"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rate per scale-invariant layer, and that of its median row."""
        lr = seen.moment.lr
        if lr is None:
            return {}
        rates: Named = {}
        for role, free in seen.scale_invariant.items():
            squares_O = _rows(seen.weights[role]).square().sum(1)
            rates[role] = lr / squares_O.sum()
            if free == "rows":
                rates[f"{role}/row"] = (lr / squares_O).median()
        return rates
