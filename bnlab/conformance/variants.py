"""The formulas of the families of norms, and wrong variants of them that differ in one or two choices.

Written independently of `bnlab.norms`, in plain tensor arithmetic in float64, and differentiated by autograd.

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW).
"""

import math
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
        mean_over: Which values share the mean alone, where that is wrong; None: those that share the variance.
        center: The statistic that is subtracted from the values.
        spread: The statistic whose root divides the centered values; ``about center``: the mean square of what is left
            when the center is subtracted, which differs from the variance where the center is no mean.
        root: The function applied to the spread before the division.
        eps: How eps is combined with the spread.
        scale: How the weight enters.
        shift: How the bias enters.
        along: The axis of the input along which weight and bias lie.
        held: The statistics through which no gradient flows.
    """

    over: Over = "channel"
    source: Literal["batch", "running", "moved", "before", "start", "swapped"] = "batch"
    mean_over: Over | None = None
    center: Literal["mean", "none", "sum", "median"] = "mean"
    spread: Literal["biased", "unbiased", "corrected", "mean square", "sum", "absolute", "none", "about center"] = (
        "biased"
    )
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
    return with_affine(variant, given, normalized(variant, given))


def normalized(variant: Variant, given: FormulaInputs) -> Tensor:
    """Return the first part of a formula's output: the normalized input, without scale and shift.

    Raises:
        ValueError: As for `output_of`.
    """
    if variant.scale == "before" and given.weight is not None:
        given = replace(given, x=with_affine(replace(variant, scale="weight", shift="none"), given, given.x))
    mean, var = _statistics(variant, given)
    if variant.held in {"mean", "both"}:
        mean = mean.detach()
    if variant.held in {"variance", "both"}:
        var = var.detach()
    return _divide(variant, given.x - mean, var, given.eps)


def fields_of_normalized(variant: Variant) -> tuple[str | None, ...]:
    """Return what `normalized` depends on: formulas for which this is equal differ in scale and shift alone."""
    before = variant.along if variant.scale == "before" else None
    return *(getattr(variant, name) for name in _OF_NORMALIZED), before


_OF_NORMALIZED = ("over", "mean_over", "source", "center", "spread", "root", "eps", "held")


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
    if variant.mean_over is not None:
        return _by_own_axes(replace(variant, mean_over=None), variant.mean_over, given)
    values = _grouped(x, variant.over, given.num_groups)[..., None]  # so that some axis can always be reduced
    axes = [*_reduced(variant.over, x.dim()), values.dim() - 1]
    count = math.prod(values.shape[axis] for axis in axes)
    mean = values.mean(axes, keepdim=True)
    square = (values - mean).square().sum(axes, keepdim=True)
    centers = {
        "mean": lambda: mean,
        "none": lambda: torch.zeros_like(mean),
        "sum": lambda: values.sum(axes, keepdim=True),
        "median": lambda: _median(values, axes),
    }
    spreads = {
        "biased": lambda: square / count,
        "unbiased": lambda: square / (count - 1) if count > 1 else torch.full_like(square, torch.nan),
        "corrected": lambda: square / max(count - 1, 1),
        "mean square": lambda: values.square().mean(axes, keepdim=True),
        "sum": lambda: square,
        "about center": lambda: square / count,
        "absolute": lambda: (values - mean).abs().mean(axes, keepdim=True).square(),
        "none": lambda: torch.ones_like(mean),
    }
    center, spread = (
        found.expand_as(values)[..., 0] for found in (centers[variant.center](), spreads[variant.spread]())
    )
    if variant.over == "interleaved":
        center, spread = center.transpose(1, 2), spread.transpose(1, 2)
    return center.reshape(x.shape), spread.reshape(x.shape)


def _by_own_axes(variant: Variant, mean_over: Over, given: FormulaInputs) -> tuple[Tensor, Tensor]:
    """Return a mean over some values and a spread over others.

    Args:
        variant: The formula; its spread is over ``over``.
        mean_over: Which values share the mean.
        given: The values to compute both from.
    """
    center, _ = _statistics(replace(variant, over=mean_over, spread="biased"), given)
    if variant.spread != "about center":
        return center, _statistics(variant, given)[1]
    left = replace(given, x=given.x - center)
    return center, _statistics(replace(variant, spread="mean square"), left)[1]


def _reduced(over: Over, num_axes: int) -> list[int]:
    """Return the axes along which statistics are taken: those of x, or of x as (N, G, C/G, *S) for groups."""
    axes = list(range(num_axes))
    return {
        "channel": [0, *axes[2:]],
        "position": [0],
        "all": axes,
        "instance": axes[2:],
        "sample": axes[1:],
        "pixel": [1],
        "last": axes[:-1],
        "features": axes[-1:],
        "group": [*axes[2:], num_axes],
        "interleaved": [*axes[2:], num_axes],
    }[over]


def _grouped(x: Tensor, over: Over, num_groups: int) -> Tensor:
    """Return x, as (N, G, C/G, *S) for statistics over groups.

    Raises:
        ValueError: The groups do not divide the channels.
    """
    if over not in {"group", "interleaved"}:
        return x
    if x.shape[1] % num_groups:
        raise ValueError("groups do not divide the channels")
    num_samples, _, *space = x.shape
    if over == "group":
        return x.reshape(num_samples, num_groups, -1, *space)
    return x.reshape(num_samples, -1, num_groups, *space).transpose(1, 2)


def _median(values: Tensor, axes: list[int]) -> Tensor:
    kept = [axis for axis in range(values.dim()) if axis not in axes]
    median = values.permute(*kept, *axes).flatten(len(kept)).median(-1).values
    return median.view([1 if axis in axes else size for axis, size in enumerate(values.shape)])


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


def with_affine(variant: Variant, given: FormulaInputs, x_hat: Tensor) -> Tensor:
    """Return the second part of a formula's output: the normalized input, scaled and shifted.

    Raises:
        ValueError: The parameters do not fit the formula's axis.
    """
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
