"""The law of large inputs: a layer that is right on small inputs is right on many samples, channels and values.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import bisect
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnlab.conformance.examples import Example
from bnlab.conformance.explaining import agrees, difference
from bnlab.conformance.gradient_laws import backward, gradient_given, with_gradient
from bnlab.conformance.inputs import general_shape, steps_along
from bnlab.conformance.known_faults import HELD, IN_TRAINING
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails, only_if
from bnlab.conformance.number_laws import OFFSET, OFFSET_CLOSE
from bnlab.conformance.observing import add_moved, can_be_built, explanation_of_output, formula_inputs, moments
from bnlab.conformance.subject import LayerError, Subject
from bnlab.conformance.variants import FormulaInputs, Variant, output_of

LARGE_CLOSE = 1e-4
"""Largest error allowed, as a share of the largest value. Sums of 10^4 float32 values err by about 1e-6, sums that miss
a part of the batch by 1e-2."""

SIZES: Mapping[int, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    2: (1100, (520, 512, 40, 32), ()),
    3: (70, (24, 32), (324,)),
    4: (70, (24, 32), (18, 18)),
    5: (70, (24, 32), (3, 9, 12)),
}
"""Number of axes -> the smallest number of samples, numbers of channels to try, sizes of the spatial axes."""

MANY_VALUES = 1 << 19
"""Large inputs have more values than this. bnlab's layers work on pieces of 2^18 values: of three pieces, a wrong start
of the third shows too."""

PIECES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Numbers of samples per piece that are tried as an explanation."""


@dataclass(frozen=True)
class _Attempt:
    """A layer in training mode and float32 beside the formula of its output on small inputs, for one kind of input."""

    subject: Subject
    variant: Variant
    channels_last: bool

    def results(self, shape: tuple[int, ...]) -> "_Results":
        """Return the results for an input of a shape.

        Raises:
            LayerError: The forward or the backward pass raised.
        """
        layer = self.subject.fresh(shape[1], torch.float32)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x, g = (values.contiguous(memory_format=layout) for values in (large_input(shape), gradient_given(shape)))
        given = formula_inputs(self.subject, layer, x.double().contiguous())
        y, found = backward(self.subject, layer, x, g)
        add_moved(self.subject, layer, given)
        output, slope = with_gradient("x", self.variant, given)
        actual, expected, scales = {"output": y}, {"output": output}, {"output": 0.0}
        if "gradient cause" not in self.subject.findings:  # else it is wrong on small inputs too
            constant = with_gradient("x", replace(self.variant, held="both"), given)[1]
            actual["input gradient"] = torch.zeros_like(x) if found["x"] is None else found["x"]
            expected["input gradient"] = slope
            scales["input gradient"] = float(constant.abs().max())
        return _Results(given, actual, expected, scales)


@dataclass(frozen=True)
class _Results:
    """A layer's results for one large input, and the correct ones."""

    given: FormulaInputs
    actual: dict[str, Tensor]
    expected: dict[str, Tensor]
    scales: dict[str, float]

    @property
    def wrong(self) -> list[str]:
        """Those of "output" and "input gradient" that are wrong."""
        return [what for what, expected in self.expected.items() if not self.gives(what, expected)]

    def gives(self, what: str, expected: Tensor) -> bool:
        """Return whether the layer's result is this one."""
        return agrees(self.actual[what], expected, LARGE_CLOSE, self.scales[what])


def _large_input(subject: Subject) -> Verdict:
    found = explanation_of_output(subject, "nothing explains the output of small inputs")
    for shape, channels_last in _inputs(subject):
        attempt = _Attempt(subject, found.variant, channels_last)
        results = attempt.results(shape)
        if results.wrong:
            return _verdict(attempt, results)
    return HOLDS


def _inputs(subject: Subject) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield the shapes of large inputs, and whether they are in channels_last, for each number of axes."""
    for num_axes, shape in subject.shapes.items():
        if num_axes > 2 and len(set(shape)) == 1:
            continue  # the law "input" reports this fault
        num_samples, channels, space = SIZES[num_axes]
        num_channels = next((c for c in channels if can_be_built(subject, c)), subject.num_channels)
        num_samples = max(num_samples, MANY_VALUES // (num_channels * math.prod(space)) + 1)
        for channels_last in (False, True) if num_axes == 4 else (False,):
            yield (num_samples, num_channels, *space), channels_last


@functools.lru_cache(maxsize=4)  # both layouts, and both laws, take the same values
def large_input(shape: tuple[int, ...]) -> Tensor:
    """Return float32 values; each channel and each sample has its own mean and scale, all of similar size.

    The result is kept for the next call: do not write into it.
    """
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for axis in (0, 1):
        steps = steps_along(axis, shape).float()
        x = x * (1.25 + 0.75 * torch.cos(steps)) + 0.5 * torch.sin(steps + 1)
    return x


def _verdict(attempt: _Attempt, results: _Results) -> Verdict:
    what, shape = results.wrong[0], tuple(results.given.x.shape)
    gap = difference(results.actual[what], results.expected[what])
    layout, default = (" in channels_last", ", and in the default layout") if attempt.channels_last else ("", "")
    smallest = _smallest(attempt, shape, what)
    setting = (
        f"training mode, float32{layout and ','}{layout}: the smallest such input that was found; on one of shape "
        f"{shape} the largest error of the {what} is {gap:.2g}"
    )
    cause = f"the {what} is right on small inputs{default}; on large ones{layout} {_cause(attempt, results, what)}"
    return fails(f"{cause}{_grown(attempt.subject, smallest)}", Example(setting, smallest))


def _cause(attempt: _Attempt, results: _Results, what: str) -> str:
    """Return a known fault, a wrong use of pieces of the batch, or the channels or samples that are wrong."""
    is_output = what == "output"
    candidates = [
        (fault.cause, replace(attempt.variant, **fault.changes), results.given)
        for fault in (IN_TRAINING if is_output else HELD)
    ]
    if attempt.subject.claims.formula == "batch" and is_output:
        candidates += _of_pieces(attempt.variant, results.given)
    for cause, variant, given in candidates:
        try:
            result = output_of(variant, given) if is_output else with_gradient("x", variant, given)[1]
        except ValueError:
            continue
        if results.gives(what, result):
            return cause
    return _place(results, what)


def _of_pieces(variant: Variant, given: FormulaInputs) -> Iterator[tuple[str, Variant, FormulaInputs]]:
    """Yield faults of layers that compute statistics piece by piece: a cause, the formula and its statistics."""
    x, by_buffer = given.x, replace(variant, source="before")
    for size in (size for size in PIECES if size < len(x)):
        pieces = torch.split(x, size)
        shares = torch.tensor([len(piece) / len(x) for piece in pieces]).double()
        spread = shares @ torch.stack([moments(piece)[1] for piece in pieces])
        choices = {
            f"the statistics are those of the first {size} samples alone": moments(x[:size]),
            f"the statistics are those of the last piece of {size} samples alone": moments(pieces[-1]),
            f"the variances of pieces of {size} samples are averaged, and the spread of their means is left out": (
                moments(x)[0],
                spread,
            ),
        }
        for cause, statistics in choices.items():
            yield cause, by_buffer, replace(given, statistics={"before": statistics})


def _place(results: _Results, what: str) -> str:
    """Return which channels or samples are wrong, if others are right."""
    expected = results.expected[what]
    gaps = (results.actual[what].double() - expected).abs().nan_to_num(nan=float("inf"))
    size = LARGE_CLOSE * max(results.scales[what], float(expected.abs().max()))
    for axis, name in ((1, "channels"), (0, "samples")):
        wrong = (gaps.transpose(0, axis).flatten(1).amax(1) > size).nonzero().flatten().tolist()
        if len(wrong) < gaps.shape[axis]:
            return f"{len(wrong)} of {gaps.shape[axis]} {name} are wrong, the first of them {name[:-1]} {wrong[0]}"
    return "no known cause explains it"


def _smallest(attempt: _Attempt, shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Return the smallest shape on which the result is still wrong: axis by axis, and not below that of other laws."""

    def is_wrong(tried: tuple[int, ...]) -> bool:
        try:
            return what in attempt.results(tried).wrong
        except (LayerError, ValueError):
            return False

    seen = general_shape(len(shape), attempt.subject.num_channels)
    for axis, size in enumerate(shape):
        smaller = [(*shape[:axis], middle, *shape[axis + 1 :]) for middle in range(min(seen[axis], size), size)]
        shape = [*smaller, shape][bisect.bisect_left(smaller, True, key=is_wrong)]
    return shape


def _grown(subject: Subject, smallest: tuple[int, ...]) -> str:
    """Return the size from which on the result is wrong, if it depends on the size of one axis alone."""
    names = ("samples", "channels", *("positions along an axis",) * (len(smallest) - 2))
    seen = general_shape(len(smallest), subject.num_channels)
    grown = [f"{size} {name}" for size, usual, name in zip(smallest, seen, names, strict=True) if size > usual]
    return f", from {grown[0]} on" if len(grown) == 1 else ""


def _far_input(subject: Subject) -> Verdict:
    only_if("loses digits" not in subject.findings, "see large offset")
    only_if(not subject.draws_random_numbers, "it draws random numbers")
    inputs = [(shape, last) for shape, last in _inputs(subject) if len(shape) == len(subject.shape)]
    for shape, channels_last in inputs:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x = (large_input(shape) + OFFSET).contiguous(memory_format=layout)
        expected = subject.run(subject.fresh(shape[1]), x.double())
        gap = difference(subject.run(subject.fresh(shape[1], torch.float32), x), expected)
        if gap > OFFSET_CLOSE * float(expected.abs().max()):
            where = " in channels_last" if channels_last else ""
            return fails(
                f"values around {OFFSET:g} are right on small inputs; on large ones{where} the variance of the whole "
                "or of a piece is taken as E[x^2] - E[x]^2, or a mean is summed in a type that is too small",
                Example(f"training mode, float32{where}; largest error {gap:.2g}", shape),
            )
    return HOLDS


LARGE_LAWS = (
    Law(
        "large input",
        "many samples, channels and values come out as few do",
        "numbers",
        _large_input,
        ("training output", "input gradient", "parameter gradients"),
    ),
    Law(
        "large far input",
        f"so do many values around {OFFSET:g}",
        "numbers",
        _far_input,
        ("large offset",),
    ),
)
