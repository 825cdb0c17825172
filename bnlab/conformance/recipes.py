"""The formulas that layers are held against, and their wrong relatives: one recipe, turned at one place or two.

Written apart from `bnlab.norms`, in plain tensor arithmetic that runs in float64 and is left to autograd.

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from bnlab.norms.norm import Formula

Over = Literal["channel", "position", "all", "instance", "sample", "pixel", "last", "features", "group", "interleaved"]


@dataclass(frozen=True)
class Recipe:
    """How an output comes about: each field one choice.

    Attributes:
        over: Which values share one mean and one variance: those of a ``channel`` over N and S; of a channel and
            position over N alone; ``all``; of one channel in one sample (``instance``); of one ``sample``; of one
            ``pixel``, its channels; of one place on the ``last`` axis; the last axis alone (``features``); of one
            ``group`` of neighboring channels in one sample; of channels c, c+G, c+2G (``interleaved``).
        source: Where they come from: this ``batch``, the ``running`` buffers, the buffers ``moved`` by this very
            batch, the batch seen ``before``, or the ``start``: mean 0 and variance 1.
        center: What is taken away.
        spread: What the values are divided by the root of.
        root: How the root is taken.
        eps: Where eps stands.
        scale: How the weight enters.
        shift: How the bias enters.
        along: The axis that weight and bias lie along.
        held: What the gradient takes for constant.
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
class Ingredients:
    """What a recipe is applied to.

    Attributes:
        x: The input (N, C, *S) in float64.
        weight: Scale (C,), or None.
        bias: Shift (C,), or None.
        eps: Added to the variance.
        num_groups: G, for a formula over groups.
        statistics: Mean and variance (C,) by source, for what is not taken from the batch.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    num_groups: int
    statistics: dict[str, tuple[Tensor, Tensor]]


LAWFUL: dict[Formula, Recipe] = {
    "batch": Recipe(over="channel"),
    "layer": Recipe(over="sample"),
    "group": Recipe(over="group"),
    "instance": Recipe(over="instance"),
    "rms": Recipe(over="sample", center="none", spread="mean square"),
}
"""The formula of each family.

Sources: Ioffe & Szegedy 2015, arXiv:1502.03167; Ba, Kiros & Hinton 2016, arXiv:1607.06450; Wu & He 2018,
arXiv:1803.08494; Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022; Zhang & Sennrich 2019, arXiv:1910.07467."""


def cook(recipe: Recipe, given: Ingredients) -> Tensor:
    """Return the output that a recipe gives.

    Args:
        recipe: Which formula.
        given: What it is applied to.

    Raises:
        ValueError: The recipe cannot be applied to these: no such statistics, or axes of other sizes.
    """
    if recipe.scale == "before" and given.weight is not None:
        given = replace(given, x=_affine(replace(recipe, scale="weight", shift="none"), given, given.x))
    mean, var = _statistics(recipe, given)
    if recipe.held in {"mean", "both"}:
        mean = mean.detach()
    if recipe.held in {"variance", "both"}:
        var = var.detach()
    return _affine(recipe, given, _divide(recipe, given.x - mean, var, given.eps))


def family_of(recipe: Recipe) -> str | None:
    """Return the family whose formula this recipe is, if it is one."""
    plain = replace(recipe, scale="weight", shift="bias")
    return next((name for name, lawful in LAWFUL.items() if plain == lawful), None)


def _statistics(recipe: Recipe, given: Ingredients) -> tuple[Tensor, Tensor]:
    x = given.x
    if recipe.source != "batch":
        found = given.statistics.get(recipe.source)
        if found is None:
            raise ValueError(f"no statistics {recipe.source}")
        shape = (1, -1) + (1,) * (x.dim() - 2)
        mean, var = (value.view(shape) for value in found)
        num_values = x.numel() // x.shape[1]
        if recipe.spread == "corrected":
            var = var * num_values / max(num_values - 1, 1)
        return (torch.zeros_like(mean) if recipe.center == "none" else mean), var
    pieces = _together(x, recipe.over, given.num_groups)
    mean = pieces.mean(-1, keepdim=True)
    centers = {
        "mean": mean,
        "none": torch.zeros_like(mean),
        "sum": pieces.sum(-1, keepdim=True),
        "median": pieces.median(-1, keepdim=True).values,
    }
    distance = pieces - mean
    count = pieces.shape[-1]
    square = distance.square().sum(-1, keepdim=True)
    spreads = {
        "biased": square / count,
        "unbiased": square / (count - 1) if count > 1 else torch.full_like(square, torch.nan),
        "corrected": square / max(count - 1, 1),
        "mean square": pieces.square().mean(-1, keepdim=True),
        "sum": square,
        "absolute": distance.abs().mean(-1, keepdim=True).square(),
        "none": torch.ones_like(mean),
    }
    values = (centers[recipe.center], spreads[recipe.spread])
    mean, var = (_apart(value.expand_as(pieces), x, recipe.over, given.num_groups) for value in values)
    return mean, var


def _order(x: Tensor, over: Over) -> tuple[list[int], int]:
    """Return the axes of x, those that do not share a statistic first, and how many these are."""
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
    """Return x as rows, each of values that share their statistics.

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
    """Return rows of `_together` in the shape of x."""
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


def _divide(recipe: Recipe, centered: Tensor, var: Tensor, eps: float) -> Tensor:
    inside = {"inside": eps, "twice": 2 * eps, "both": eps, "squared": eps * eps, "subtracted": -eps}.get(recipe.eps, 0)
    v = var.clamp(min=eps) if recipe.eps == "floor" else var + inside
    if recipe.spread == "none":
        return centered
    outside = eps if recipe.eps in {"outside", "both"} else 0.0
    if recipe.root == "multiplied":
        return centered * (v.sqrt() + outside)
    divisor = {"root": v.sqrt, "none": v.clone, "squared": v.square}[recipe.root]()
    return centered / (divisor + outside)


def _affine(recipe: Recipe, given: Ingredients, x_hat: Tensor) -> Tensor:
    weight_C, bias_C = given.weight, given.bias
    axis = {"channel": 1, "last": x_hat.dim() - 1, "first": 0}[recipe.along]
    shape = [-1 if at == axis else 1 for at in range(x_hat.dim())]
    for value in (weight_C, bias_C):
        if value is not None and value.numel() != x_hat.shape[axis]:
            raise ValueError("the parameters do not fit this axis")
    zero = x_hat.new_zeros(())
    weight = (zero + 1) if weight_C is None else weight_C.view(shape)
    bias = zero if bias_C is None else bias_C.view(shape)
    scale = {
        "weight": weight,
        "none": zero + 1,
        "one plus": 1 + weight,
        "squared": weight.square(),
        "absolute": weight.abs(),
        "exponential": weight.exp(),
        "divided": 1 / weight,
        "before": zero + 1,
    }[recipe.scale]
    shift = {"bias": bias, "none": zero, "scaled": scale * bias, "twice": 2 * bias, "negative": -bias}[recipe.shift]
    return x_hat * scale + shift
