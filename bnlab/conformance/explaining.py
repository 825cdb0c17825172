"""The search for the known faults that explain a layer's outputs.

A known fault explains a layer if the changed formula gives the layer's output in every case. Pairs and triples of
faults are tried after single ones, so that a layer with several is explained too.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from bnlab.conformance.known_faults import AFFINE, EPS, WRONG_AXES, WRONG_MEAN, KnownFault
from bnlab.conformance.variants import FormulaInputs, Variant, fields_of_normalized, normalized, output_of, with_affine

PRECISE = 1e-9
"""Largest difference of two float64 results of one formula, as a share of the largest value: some 1e6 roundings."""

SINGLE = 3e-5
"""The same for a layer that computes in float32 even for float64 inputs: 250 roundings."""


Result = Callable[[Variant, FormulaInputs], Tensor]
"""Function that computes a quantity from a formula: its output, or a gradient of it."""


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


def explain_output(cases: Sequence[Case], correct: Variant, faults: Sequence[KnownFault]) -> Explanation | None:
    """Return the formula that gives the layer's outputs, as `explain`; the last one tried has a mean over wrong axes.

    Args:
        cases: Outputs of the layer, the smallest input first.
        correct: The formula that the layer should have.
        faults: Known faults to try first, the likeliest first.
    """
    found = explain(cases, correct, faults)
    if found is not None or correct.center != "mean" or correct.source != "batch":
        return found
    result, alone = _output_with_memory(), list(_together(correct, WRONG_MEAN, 1))
    with_another = (
        (both, (*causes, *other))
        for variant, causes in alone
        for both, other in _together(variant, [*WRONG_AXES, *AFFINE, *EPS], 1)
    )
    return _first(cases, alone, (PRECISE, SINGLE), result) or _first(cases, with_another, (PRECISE,), result)


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
