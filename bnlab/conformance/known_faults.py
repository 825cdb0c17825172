"""Faults that layers often have, and the search for the one that explains a layer's outputs.

A known fault changes fields of the correct formula. It explains a layer if the changed formula gives the layer's output
in every case. Pairs and triples of faults are tried after single ones, so that a layer with several is explained too.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from bnlab.conformance.variants import FormulaInputs, Variant, fields_of_normalized, normalized, output_of, with_affine

PRECISE = 1e-9
"""Largest difference of two float64 results of one formula, as a share of the largest value: some 1e6 roundings."""

SINGLE = 3e-5
"""The same for a layer that computes in float32 even for float64 inputs: 250 roundings."""


Result = Callable[[Variant, FormulaInputs], Tensor]
"""Function that computes a quantity from a formula: its output, or a gradient of it."""


@dataclass(frozen=True)
class KnownFault:
    """A fault that a layer may have.

    Attributes:
        cause: The fault in words, as a clause.
        changes: Field of `Variant` -> the value that this fault gives it.
    """

    cause: str
    changes: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """A formula that gives the layer's outputs.

    Attributes:
        variant: The formula, with the faults that it contains.
        causes: The known faults in it, in words; empty if it is the correct formula.
        precision: The tolerance within which formula and layer agree: `PRECISE` or `SINGLE`.
        only_where_it_fails: Whether the formula explains only the cases in which the correct formula fails.
    """

    variant: Variant
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
    """One result of a layer.

    Attributes:
        given: The layer's input, parameters and statistics.
        actual: The layer's output or gradient.
        scale: A size that differences are compared with if it exceeds the largest expected value, for sums in which
            large terms cancel; 0 for none.
    """

    given: FormulaInputs
    actual: Tensor
    scale: float = 0.0


def _over(axes: str) -> list[KnownFault]:
    wrong: dict[str, dict[str, Any]] = {
        "each position by itself, over the batch axis alone": {"over": "position"},
        "over all axes, channels included": {"over": "all"},
        "per sample and channel, as InstanceNorm's": {"over": "instance"},
        "per sample, as LayerNorm's": {"over": "sample"},
        "over the channels of each position": {"over": "pixel"},
        "the last axis is taken for the channels": {"over": "last", "along": "last"},
        "kept for the last axis, not for the channels": {"over": "last"},
        "over the last axis alone": {"over": "features"},
        "over the last axis alone, as torch.nn.LayerNorm": {"over": "features", "along": "last"},
        "per channel over the batch, as BatchNorm's": {"over": "channel"},
        "per group, as GroupNorm's": {"over": "group"},
        "the groups are channels c, c+G, c+2G, not neighbors": {"over": "interleaved"},
    }
    return [KnownFault(f"{axes}: {where}", {**changes, "source": "batch"}) for where, changes in wrong.items()]


WRONG_AXES = _over("the statistics are taken over the wrong axes")

SPREAD = [
    KnownFault("the variance in the output is the unbiased one (divided by m-1, not m)", {"spread": "unbiased"}),
    KnownFault("the mean is not subtracted", {"center": "none"}),
    KnownFault(
        "the mean is not subtracted, neither in the output nor in the variance: it divides by the root mean square",
        {"center": "none", "spread": "mean square"},
    ),
    KnownFault("the mean is not subtracted in the variance: it is the mean square", {"spread": "mean square"}),
    KnownFault("the mean is subtracted, and should not be", {"center": "mean"}),
    KnownFault(
        "it is centered and divided by the standard deviation, as LayerNorm", {"center": "mean", "spread": "biased"}
    ),
    KnownFault("the sum is subtracted in place of the mean", {"center": "sum"}),
    KnownFault("the median is subtracted in place of the mean", {"center": "median"}),
    KnownFault("the variance is a sum of squares, not their mean", {"spread": "sum"}),
    KnownFault("it divides by the mean absolute deviation, not the standard deviation", {"spread": "absolute"}),
    KnownFault("it does not divide by the standard deviation", {"spread": "none"}),
]

ROOT = [
    KnownFault("the root is missing: it divides by the variance", {"root": "none"}),
    KnownFault("it multiplies by the standard deviation in place of dividing", {"root": "multiplied"}),
    KnownFault("it divides by the variance squared", {"root": "squared"}),
]

EPS = [
    KnownFault("eps is outside the root: added to the standard deviation, not to the variance", {"eps": "outside"}),
    KnownFault("eps is missing", {"eps": "missing"}),
    KnownFault("eps is added twice", {"eps": "twice"}),
    KnownFault("eps is added inside the root and outside it again", {"eps": "both"}),
    KnownFault("eps is a floor of the variance, not added to it", {"eps": "floor"}),
    KnownFault("eps is squared before it is added", {"eps": "squared"}),
    KnownFault("eps is subtracted, not added", {"eps": "subtracted"}),
]

AFFINE = [
    KnownFault("scale and shift are forgotten", {"scale": "none", "shift": "none"}),
    KnownFault("the scale is forgotten: the weight is not applied", {"scale": "none"}),
    KnownFault("the shift is forgotten: the bias is not applied", {"shift": "none"}),
    KnownFault("the scale is applied as 1 + weight", {"scale": "one plus"}),
    KnownFault("the weight is applied twice: the scale is its square", {"scale": "squared"}),
    KnownFault("the scale is the weight's absolute value", {"scale": "absolute"}),
    KnownFault("the scale is the exponential of the weight", {"scale": "exponential"}),
    KnownFault("it divides by the weight", {"scale": "divided"}),
    KnownFault("the weight is applied before the statistics are taken", {"scale": "before"}),
    KnownFault("the bias is multiplied by the weight: it is added before the scale", {"shift": "scaled"}),
    KnownFault("the bias is added twice", {"shift": "twice"}),
    KnownFault("the bias is subtracted", {"shift": "negative"}),
    KnownFault("scale and shift are applied along the last axis, not the channels", {"along": "last"}),
    KnownFault("scale and shift are applied along the batch axis, not the channels", {"along": "first"}),
]

RUNNING_IN_TRAINING = [
    KnownFault("it normalizes by the running statistics, not by the batch's own", {"source": "running"}),
    KnownFault("it normalizes by the running statistics, moved by this batch first", {"source": "moved"}),
]

IN_TRAINING = [*SPREAD, *EPS, *ROOT, *AFFINE, *WRONG_AXES, *RUNNING_IN_TRAINING]

OF_RMS = [
    KnownFault("it divides by the standard deviation, not the root mean square", {"spread": "biased"}),
    KnownFault("it divides by the standard deviation (by m-1), not the root mean square", {"spread": "unbiased"}),
]


def faults_in_training(correct: Variant) -> list[KnownFault]:
    """Return the faults that a formula's output in training mode may have, the likeliest first."""
    return [*OF_RMS, *IN_TRAINING] if correct.spread == "mean square" else IN_TRAINING


BATCH_IN_EVAL = KnownFault("eval mode uses the batch's own statistics, not the running ones", {"source": "batch"})

IN_EVAL = [
    BATCH_IN_EVAL,
    KnownFault("eval mode uses the statistics of the last training batch, not the running ones", {"source": "before"}),
    KnownFault("eval mode uses neither running nor batch statistics: mean 0, variance 1", {"source": "start"}),
    KnownFault("the running mean and the running variance are swapped", {"source": "swapped"}),
    KnownFault("the mean is not subtracted in eval mode", {"center": "none"}),
    KnownFault("eval mode corrects the running variance by m/(m-1) of the batch at hand", {"spread": "corrected"}),
    KnownFault("it does not divide by the running standard deviation", {"spread": "none"}),
    KnownFault("the root is missing: the running variance is read as a standard deviation", {"root": "none"}),
    *ROOT[1:],
    *EPS,
    *AFFINE,
    *_over("eval mode uses statistics of the input at hand: the statistics are taken over the wrong axes"),
]

HELD = [
    KnownFault("mean and variance are both detached: no gradient flows through them", {"held": "both"}),
    KnownFault("the mean is detached: no gradient flows through it", {"held": "mean"}),
    KnownFault("the variance is detached: no gradient flows through it", {"held": "variance"}),
]


def agrees(actual: Tensor, expected: Tensor, precision: float, scale: float = 0.0) -> bool:
    """Return whether two results differ by rounding only; results that are not finite never agree.

    Args:
        actual: A layer's result, of any float type.
        expected: The result to compare it with.
        precision: Largest difference allowed, as a share of the largest expected value.
        scale: A size to use in place of the largest expected value if it is larger.
    """
    if expected.numel():
        scale = max(scale, expected.abs().max().item())
    return scale < math.inf and difference(actual, expected) <= precision * scale + 1e-300


def difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two results; infinite where one is not finite or the shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    if actual.numel() == 0:
        return 0.0
    return float((actual.double() - expected.double()).abs().nan_to_num(nan=float("inf")).max())


def explain(
    cases: Sequence[Case], correct: Variant, faults: Sequence[KnownFault], result: Result = output_of
) -> Explanation | None:
    """Return the formula that gives the layer's result in every case: the correct one, or one with up to three faults.

    If there is none, search for a formula that explains the cases in which the correct one fails.

    Args:
        cases: Results of the layer, the smallest input first.
        correct: The formula that the layer should have.
        faults: Known faults to try, the likeliest first.
        result: Function that computes the compared quantity from a formula: its output, or a gradient of it.
    """
    if result is output_of:
        result = _output_with_memory()
    found = _first(cases, _candidates(correct, faults), (PRECISE, SINGLE), result)
    if found is None:
        found = _first(cases, _together(correct, faults, 3), (PRECISE,), result)
    if found is not None:
        return found
    failing = [case for case in cases if not _gives(correct, case, SINGLE, result)]
    if len(failing) == len(cases):
        return None
    found = _first(failing, _candidates(correct, faults), (PRECISE,), result)
    return None if found is None else replace(found, only_where_it_fails=True)


def _candidates(correct: Variant, faults: Sequence[KnownFault]) -> Iterable[tuple[Variant, tuple[str, ...]]]:
    yield correct, ()
    for count in (1, 2):
        yield from _together(correct, faults, count)


def _together(correct: Variant, faults: Sequence[KnownFault], count: int) -> Iterator[tuple[Variant, tuple[str, ...]]]:
    """Yield the formulas with ``count`` faults at once that change different fields."""
    alone = [fault for fault in faults if replace(correct, **fault.changes) != correct]
    for chosen in combinations(alone, count):
        changes = {key: value for fault in chosen for key, value in fault.changes.items()}
        if len(changes) == sum(len(fault.changes) for fault in chosen):
            yield replace(correct, **changes), tuple(fault.cause for fault in chosen)


def _output_with_memory() -> Result:
    """Return a function as `output_of` that normalizes an input once for all formulas that do it in the same way."""
    known: dict[Any, Tensor] = {}

    def output(variant: Variant, given: FormulaInputs) -> Tensor:
        key = id(given), fields_of_normalized(variant)  # the cases keep their inputs, so an id stays theirs
        if key not in known:
            known[key] = normalized(variant, given)
        return with_affine(variant, given, known[key])

    return output


def _first(
    cases: Sequence[Case],
    candidates: Iterable[tuple[Variant, tuple[str, ...]]],
    precisions: Sequence[float],
    result: Result,
) -> Explanation | None:
    """Return the first formula that explains all cases within the first of these precisions, else within the next."""
    found: dict[float, Explanation] = {}
    for variant, causes in candidates:
        least = _least_precision(variant, cases, precisions, result)
        if least is not None:
            found.setdefault(least, Explanation(variant, causes, least))
        if least == precisions[0]:
            break
    return next((found[precision] for precision in precisions if precision in found), None)


def _least_precision(
    variant: Variant, cases: Sequence[Case], precisions: Sequence[float], result: Result
) -> float | None:
    """Return the smallest of these precisions, given in rising order, within which a formula explains all cases."""
    left = list(precisions)
    for case in reversed(cases):  # the last case is the largest and excludes most candidates
        while left and not _gives(variant, case, left[0], result):
            del left[0]
    return left[0] if left else None


def _gives(variant: Variant, case: Case, precision: float, result: Result) -> bool:
    try:
        expected = result(variant, case.given)
    except ValueError:
        return False
    if expected.numel() and expected.shape == case.actual.shape:
        size, gap = (float(values.abs().max()) for values in (expected, case.actual.double() - expected))
        if math.isfinite(gap):  # then all values are
            return gap <= precision * max(size, case.scale) + 1e-300
    finite = torch.isfinite(expected)  # the root of a negative number explains a NaN
    same = torch.equal(finite, torch.isfinite(case.actual))
    return same and agrees(case.actual[finite], expected[finite], precision, case.scale)
