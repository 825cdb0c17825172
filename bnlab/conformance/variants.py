"""The formulas of the families of norms, and wrong variants of them that differ in one or two choices.

Written independently of `bnlab.norms`, in plain tensor arithmetic in float64, and differentiated by autograd.

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from bnlab.conformance.inputs import along
from bnlab.norms.norm import Formula

Over = Literal["channel", "position", "all", "instance", "sample", "pixel", "last", "features", "group", "interleaved"]


@dataclass(frozen=True)
class Variant:
    """A normalization formula, correct or wrong; each field is one choice.

    Attributes:
        over: Which values share one mean and one variance: those of a ``channel`` over N and S; of a channel and
            position over N alone (``position``); ``all``; of one channel in one sample (``instance``); of one
            ``sample``; of the channels at one position (``pixel``); of one index of the ``last`` axis; the values along
            the last axis (``features``); of one ``group`` of neighboring channels in one sample; of channels c, c+G,
            c+2G in one sample (``interleaved``).
        source: Where mean and variance come from: this ``batch``, the ``running`` buffers, the buffers after this
            batch has ``moved`` them, the batch ``before`` this one, the ``start`` (mean 0, variance 1), or the running
            buffers ``swapped``.
        center: The statistic that is subtracted from the values.
        spread: The statistic whose root divides the centered values.
        root: The function applied to the spread before the division.
        eps: How eps is combined with the spread.
        scale: How the weight enters.
        shift: How the bias enters.
        along: The axis of the input along which weight and bias lie.
        held: The statistics through which no gradient flows.
    """

    over: Over = "channel"
    source: Literal["batch", "running", "moved", "before", "start", "swapped"] = "batch"
    center: Literal["mean", "none", "sum", "median"] = "mean"
    spread: Literal["biased", "unbiased", "corrected", "mean square", "sum", "absolute", "none"] = "biased"
    root: Literal["root", "none", "multiplied", "squared"] = "root"
    eps: Literal["inside", "outside", "missing", "twice", "both", "floor", "squared", "subtracted"] = "inside"
    scale: Literal["weight", "none", "one plus", "squared", "absolute", "exponential", "divided", "before"] = "weight"
    shift: Literal["bias", "none", "scaled", "twice", "negative"] = "bias"
    along: Literal["channel", "last", "first"] = "channel"
    held: Literal["nothing", "mean", "variance", "both"] = "nothing"


@dataclass(frozen=True)
class FormulaInputs:
    """The values that a formula is computed from.

    Attributes:
        x: The input (N, C, *S) in float64.
        weight: The scale (C,); None: no scale.
        bias: The shift (C,); None: no shift.
        eps: The constant that keeps the divisor away from 0, in squared input units.
        num_groups: G, for formulas over groups; 1 for others.
        statistics: Source, as in `Variant.source` -> mean and variance (C,).
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    num_groups: int
    statistics: dict[str, tuple[Tensor, Tensor]]


CORRECT: dict[Formula, Variant] = {
    "batch": Variant(over="channel"),
    "layer": Variant(over="sample"),
    "group": Variant(over="group"),
    "instance": Variant(over="instance"),
    "rms": Variant(over="sample", center="none", spread="mean square"),
}
"""The formula of each family.

Sources: Ioffe & Szegedy 2015, arXiv:1502.03167; Ba, Kiros & Hinton 2016, arXiv:1607.06450; Wu & He 2018,
arXiv:1803.08494; Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022; Zhang & Sennrich 2019, arXiv:1910.07467."""


def output_of(variant: Variant, given: FormulaInputs) -> Tensor:
    """Return the output of a formula.

    Args:
        variant: The formula, correct or wrong.
        given: The values to compute it from.

    Raises:
        ValueError: The statistics that the formula uses are missing, or the parameters do not fit its axis.
    """
    if variant.scale == "before" and given.weight is not None:
        given = replace(given, x=_affine(replace(variant, scale="weight", shift="none"), given, given.x))
    mean, var = _statistics(variant, given)
    if variant.held in {"mean", "both"}:
        mean = mean.detach()
    if variant.held in {"variance", "both"}:
        var = var.detach()
    return _affine(variant, given, _divide(variant, given.x - mean, var, given.eps))


def family_of(variant: Variant) -> str | None:
    """Return the family whose formula this is, or None."""
    plain = replace(variant, scale="weight", shift="bias")
    return next((name for name, correct in CORRECT.items() if plain == correct), None)


def _statistics(variant: Variant, given: FormulaInputs) -> tuple[Tensor, Tensor]:
    x = given.x
    if variant.source != "batch":
        found = given.statistics.get(variant.source)
        if found is None:
            raise ValueError(f"no statistics {variant.source}")
        mean, var = (along(1, value, x.dim()) for value in found)
        num_values = x.numel() // x.shape[1]
        if variant.spread == "corrected":
            var = var * num_values / max(num_values - 1, 1)
        return (torch.zeros_like(mean) if variant.center == "none" else mean), var
    pieces = _together(x, variant.over, given.num_groups)
    mean = pieces.mean(-1, keepdim=True)
    count = pieces.shape[-1]
    square = (pieces - mean).square().sum(-1, keepdim=True)
    centers = {
        "mean": lambda: mean,
        "none": lambda: torch.zeros_like(mean),
        "sum": lambda: pieces.sum(-1, keepdim=True),
        "median": lambda: pieces.median(-1, keepdim=True).values,
    }
    spreads = {
        "biased": lambda: square / count,
        "unbiased": lambda: square / (count - 1) if count > 1 else torch.full_like(square, torch.nan),
        "corrected": lambda: square / max(count - 1, 1),
        "mean square": lambda: pieces.square().mean(-1, keepdim=True),
        "sum": lambda: square,
        "absolute": lambda: (pieces - mean).abs().mean(-1, keepdim=True).square(),
        "none": lambda: torch.ones_like(mean),
    }
    values = (centers[variant.center](), spreads[variant.spread]())
    mean, var = (_apart(value.expand_as(pieces), x, variant.over, given.num_groups) for value in values)
    return mean, var


def _order(x: Tensor, over: Over) -> tuple[list[int], int]:
    """Return the axes of x, first those along which statistics differ, and the number of these."""
    axes = list(range(x.dim()))
    apart = {
        "channel": [1],
        "position": axes[1:],
        "all": [],
        "instance": [0, 1],
        "sample": [0],
        "pixel": [0, *axes[2:]],
        "last": axes[-1:],
        "features": axes[:-1],
    }[over]
    return [*apart, *(axis for axis in axes if axis not in apart)], len(apart)


def _together(x: Tensor, over: Over, num_groups: int) -> Tensor:
    """Return x as rows of values that share their statistics.

    Raises:
        ValueError: The groups do not divide the channels.
    """
    if over in {"group", "interleaved"}:
        if x.shape[1] % num_groups:
            raise ValueError("groups do not divide the channels")
        return _grouped(x, over, num_groups).flatten(2)
    order, num_apart = _order(x, over)
    sizes = [x.shape[axis] for axis in order[:num_apart]] or [1]
    return x.permute(order).reshape(*sizes, -1)


def _apart(rows: Tensor, x: Tensor, over: Over, num_groups: int) -> Tensor:
    """Return the rows of `_together` in the shape of x again."""
    if over in {"group", "interleaved"}:
        grouped = rows.reshape(_grouped(x, over, num_groups).shape)
        return (grouped.transpose(1, 2) if over == "interleaved" else grouped).reshape(x.shape)
    order, _ = _order(x, over)
    back = [order.index(axis) for axis in range(x.dim())]
    return rows.reshape([x.shape[axis] for axis in order]).permute(back)


def _grouped(x: Tensor, over: Over, num_groups: int) -> Tensor:
    """Return x as (N, G, C/G, *S)."""
    num_samples, num_channels, *space = x.shape
    if over == "group":
        return x.reshape(num_samples, num_groups, num_channels // num_groups, *space)
    return x.reshape(num_samples, num_channels // num_groups, num_groups, *space).transpose(1, 2)


def _divide(variant: Variant, centered: Tensor, var: Tensor, eps: float) -> Tensor:
    inside = {"inside": eps, "twice": 2 * eps, "both": eps, "squared": eps * eps, "subtracted": -eps}.get(
        variant.eps, 0
    )
    v = var.clamp(min=eps) if variant.eps == "floor" else var + inside
    if variant.spread == "none":
        return centered
    outside = eps if variant.eps in {"outside", "both"} else 0.0
    if variant.root == "multiplied":
        return centered * (v.sqrt() + outside)
    divisor = {"root": v.sqrt, "none": v.clone, "squared": v.square}[variant.root]()
    return centered / (divisor + outside)


def _affine(variant: Variant, given: FormulaInputs, x_hat: Tensor) -> Tensor:
    weight_C, bias_C = given.weight, given.bias
    axis = {"channel": 1, "last": x_hat.dim() - 1, "first": 0}[variant.along]
    for value in (weight_C, bias_C):
        if value is not None and value.numel() != x_hat.shape[axis]:
            raise ValueError("the parameters do not fit this axis")
    one = x_hat.new_ones(())
    weight = one if weight_C is None else along(axis, weight_C, x_hat.dim())
    bias = 0 * one if bias_C is None else along(axis, bias_C, x_hat.dim())
    scales: dict[str, Callable[[], Tensor]] = {
        "weight": lambda: weight,
        "none": lambda: one,
        "one plus": lambda: 1 + weight,
        "squared": weight.square,
        "absolute": weight.abs,
        "exponential": weight.exp,
        "divided": weight.reciprocal,
        "before": lambda: one,
    }
    scale = scales[variant.scale]()
    factors: dict[str, Tensor | float] = {"bias": 1, "none": 0, "scaled": scale, "twice": 2, "negative": -1}
    return x_hat * scale + factors[variant.shift] * bias
