"""What is likely wrong: each suspect turns one field of the recipe, and must explain every example, not one.

Two and three suspects together are tried after each alone, so that a layer with several faults is understood too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from bnlab.conformance.recipes import Ingredients, Recipe, cook

PRECISE = 1e-9
"""Largest difference of two float64 results of one formula, as a share of the largest value: some 1e6 roundings."""

SINGLE = 3e-5
"""The same for a layer that computes in float32 whatever it is given; 250 roundings."""


@dataclass(frozen=True)
class Suspect:
    """One thing that may be wrong.

    Attributes:
        cause: What it is, as a clause.
        turns: The fields of the recipe that it turns.
    """

    cause: str
    turns: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """A recipe that gives what the layer gives.

    Attributes:
        recipe: The recipe.
        causes: What is wrong with it; empty if it is the lawful one.
        precision: The tolerance within which it agrees.
        only_where_it_fails: It explains the examples on which the lawful recipe fails, not all.
    """

    recipe: Recipe
    causes: tuple[str, ...]
    precision: float
    only_where_it_fails: bool = False

    @property
    def cause(self) -> str:
        """The causes as one clause."""
        text = "; and ".join(self.causes)
        return f"where it fails, {text}" if self.only_where_it_fails else text


@dataclass(frozen=True)
class Case:
    """One observation: what a layer was given, and what came.

    Attributes:
        given: Input, parameters and statistics.
        came: Output or gradient.
        scale: What a difference is a share of, where that is more than the largest value expected: sums that cancel.
    """

    given: Ingredients
    came: Tensor
    scale: float = 0.0


def _over(axes: str) -> list[Suspect]:
    return [
        Suspect(f"{axes}: each position by itself, over the batch axis alone", {"over": "position"}),
        Suspect(f"{axes}: over all axes, channels included", {"over": "all"}),
        Suspect(f"{axes}: per sample and channel, as InstanceNorm's", {"over": "instance"}),
        Suspect(f"{axes}: per sample, as LayerNorm's", {"over": "sample"}),
        Suspect(f"{axes}: over the channels of each position", {"over": "pixel"}),
        Suspect(f"{axes}: the last axis is taken for the channels", {"over": "last", "along": "last"}),
        Suspect(f"{axes}: kept for the last axis, not for the channels", {"over": "last"}),
        Suspect(f"{axes}: over the last axis alone", {"over": "features"}),
        Suspect(f"{axes}: over the last axis alone, as torch.nn.LayerNorm", {"over": "features", "along": "last"}),
        Suspect(f"{axes}: per channel over the batch, as BatchNorm's", {"over": "channel"}),
        Suspect(f"{axes}: per group, as GroupNorm's", {"over": "group"}),
        Suspect(f"{axes}: the groups are channels c, c+G, c+2G, not neighbors", {"over": "interleaved"}),
    ]


WRONG_AXES = _over("the statistics are taken over the wrong axes")

SPREAD = [
    Suspect("the variance in the output is the unbiased one (divided by m-1, not m)", {"spread": "unbiased"}),
    Suspect("the mean is not subtracted", {"center": "none"}),
    Suspect(
        "the mean is not subtracted, neither in the output nor in the variance: it divides by the root mean square",
        {"center": "none", "spread": "mean square"},
    ),
    Suspect("the mean is not subtracted in the variance: it is the mean square", {"spread": "mean square"}),
    Suspect("the mean is subtracted, and should not be", {"center": "mean"}),
    Suspect(
        "it is centered and divided by the standard deviation, as LayerNorm", {"center": "mean", "spread": "biased"}
    ),
    Suspect("the sum is subtracted in place of the mean", {"center": "sum"}),
    Suspect("the median is subtracted in place of the mean", {"center": "median"}),
    Suspect("the variance is a sum of squares, not their mean", {"spread": "sum"}),
    Suspect("it divides by the mean absolute deviation, not the standard deviation", {"spread": "absolute"}),
    Suspect("it does not divide by the standard deviation", {"spread": "none"}),
]

ROOT = [
    Suspect("the root is missing: it divides by the variance", {"root": "none"}),
    Suspect("it multiplies by the standard deviation in place of dividing", {"root": "multiplied"}),
    Suspect("it divides by the variance squared", {"root": "squared"}),
]

EPS = [
    Suspect("eps is outside the root: added to the standard deviation, not to the variance", {"eps": "outside"}),
    Suspect("eps is missing", {"eps": "missing"}),
    Suspect("eps is added twice", {"eps": "twice"}),
    Suspect("eps is added inside the root and outside it again", {"eps": "both"}),
    Suspect("eps is a floor of the variance, not added to it", {"eps": "floor"}),
    Suspect("eps is squared before it is added", {"eps": "squared"}),
    Suspect("eps is subtracted, not added", {"eps": "subtracted"}),
]

AFFINE = [
    Suspect("scale and shift are forgotten", {"scale": "none", "shift": "none"}),
    Suspect("the scale is forgotten: the weight is not applied", {"scale": "none"}),
    Suspect("the shift is forgotten: the bias is not applied", {"shift": "none"}),
    Suspect("the scale is applied as 1 + weight", {"scale": "one plus"}),
    Suspect("the weight is applied twice: the scale is its square", {"scale": "squared"}),
    Suspect("the scale is the weight's absolute value", {"scale": "absolute"}),
    Suspect("the scale is the exponential of the weight", {"scale": "exponential"}),
    Suspect("it divides by the weight", {"scale": "divided"}),
    Suspect("the weight is applied before the statistics are taken", {"scale": "before"}),
    Suspect("the bias is multiplied by the weight: it is added before the scale", {"shift": "scaled"}),
    Suspect("the bias is added twice", {"shift": "twice"}),
    Suspect("the bias is subtracted", {"shift": "negative"}),
    Suspect("scale and shift are applied along the last axis, not the channels", {"along": "last"}),
    Suspect("scale and shift are applied along the batch axis, not the channels", {"along": "first"}),
]

RUNNING_IN_TRAINING = [
    Suspect("it normalizes by the running statistics, not by the batch's own", {"source": "running"}),
    Suspect("it normalizes by the running statistics, moved by this batch first", {"source": "moved"}),
]

IN_TRAINING = [*SPREAD, *EPS, *ROOT, *AFFINE, *WRONG_AXES, *RUNNING_IN_TRAINING]

BATCH_IN_EVAL = Suspect("eval mode uses the batch's own statistics, not the running ones", {"source": "batch"})

IN_EVAL = [
    BATCH_IN_EVAL,
    Suspect("eval mode uses the statistics of the last training batch, not the running ones", {"source": "before"}),
    Suspect("eval mode uses neither running nor batch statistics: mean 0, variance 1", {"source": "start"}),
    Suspect("the running mean and the running variance are swapped", {"source": "swapped"}),
    Suspect("the mean is not subtracted in eval mode", {"center": "none"}),
    Suspect("eval mode corrects the running variance by m/(m-1) of the batch at hand", {"spread": "corrected"}),
    Suspect("it does not divide by the running standard deviation", {"spread": "none"}),
    Suspect("the root is missing: the running variance is read as a standard deviation", {"root": "none"}),
    *ROOT[1:],
    *EPS,
    *AFFINE,
]

HELD = [
    Suspect("mean and variance are both detached: no gradient flows through them", {"held": "both"}),
    Suspect("the mean is detached: no gradient flows through it", {"held": "mean"}),
    Suspect("the variance is detached: no gradient flows through it", {"held": "variance"}),
]


def agrees(came: Tensor, expected: Tensor, precision: float, scale: float = 0.0) -> bool:
    """Return whether two results differ by rounding only.

    Args:
        came: What a layer gave, of any float type.
        expected: What it is compared with.
        precision: Largest difference, as a share of the largest value expected.
        scale: What it is a share of, where that is more.
    """
    if came.shape != expected.shape or not bool(torch.isfinite(came).all() and torch.isfinite(expected).all()):
        return False
    if expected.numel():
        scale = max(scale, expected.abs().max().item())
    return difference(came, expected) <= precision * scale + 1e-300


def difference(came: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two results; infinite where one is not finite or the shapes differ."""
    if came.shape != expected.shape:
        return float("inf")
    if came.numel() == 0:
        return 0.0
    return float((came.double() - expected.double()).abs().nan_to_num(nan=float("inf")).max())


def explain(
    cases: Sequence[Case],
    lawful: Recipe,
    suspects: Sequence[Suspect],
    result: Callable[[Recipe, Ingredients], Tensor] = cook,
) -> Explanation | None:
    """Return the recipe that gives what came, in every case: the lawful one, one suspect, or up to three together.

    Where none does, suspects are held against those cases only in which the lawful one fails.

    Args:
        cases: What was observed.
        lawful: What is expected.
        suspects: What may be wrong with it, the likeliest first.
        result: What of a recipe is compared: its output, or a gradient of it.
    """
    candidates = list(_candidates(lawful, suspects))
    for precision in (PRECISE, SINGLE):
        found = _first(cases, candidates, precision, result)
        if found is not None:
            return found
    found = _first(cases, _together(lawful, suspects, 3), PRECISE, result)
    if found is not None:
        return found
    failing = [case for case in cases if not _gives(lawful, case, SINGLE, result)]
    if len(failing) == len(cases):
        return None
    found = _first(failing, candidates, PRECISE, result)
    return None if found is None else replace(found, only_where_it_fails=True)


def _candidates(lawful: Recipe, suspects: Sequence[Suspect]) -> Iterable[tuple[Recipe, tuple[str, ...]]]:
    yield lawful, ()
    for count in (1, 2):
        yield from _together(lawful, suspects, count)


def _together(lawful: Recipe, suspects: Sequence[Suspect], count: int) -> Iterator[tuple[Recipe, tuple[str, ...]]]:
    """Yield the recipes that so many suspects give together, each of which turns other fields than the rest."""
    alone = [suspect for suspect in suspects if replace(lawful, **suspect.turns) != lawful]
    for chosen in combinations(alone, count):
        turns = {key: value for suspect in chosen for key, value in suspect.turns.items()}
        if len(turns) == sum(len(suspect.turns) for suspect in chosen):
            yield replace(lawful, **turns), tuple(suspect.cause for suspect in chosen)


def _first(
    cases: Sequence[Case],
    candidates: Iterable[tuple[Recipe, tuple[str, ...]]],
    precision: float,
    result: Callable[[Recipe, Ingredients], Tensor],
) -> Explanation | None:
    for recipe, causes in candidates:  # the last case is the largest, and rules out most
        if all(_gives(recipe, case, precision, result) for case in reversed(cases)):
            return Explanation(recipe, causes, precision)
    return None


def _gives(recipe: Recipe, case: Case, precision: float, result: Callable[[Recipe, Ingredients], Tensor]) -> bool:
    try:
        expected = result(recipe, case.given)
    except ValueError:
        return False
    if case.came.shape != expected.shape:
        return False
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(case.came)):
        return False
    return agrees(
        case.came[finite], expected[finite], precision, case.scale
    )  # a root of what is below 0 explains a NaN
