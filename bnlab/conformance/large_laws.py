"""The law of large inputs: a layer that is right on small inputs is right on many samples, channels and values.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnlab.conformance.examples import Example
from bnlab.conformance.gradient_laws import gradient_given
from bnlab.conformance.inputs import general_shape
from bnlab.conformance.known_faults import HELD, IN_TRAINING, Explanation, agrees, difference
from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply, fails
from bnlab.conformance.observing import can_be_built, correct_variant, formula_inputs, running_of
from bnlab.conformance.subject import LayerError, Subject
from bnlab.conformance.variants import FormulaInputs, Variant, output_of

LARGE_CLOSE = 1e-4
"""Largest error allowed, as a share of the largest value. Sums of 10^4 float32 values err by about 1e-6, sums that miss
a part of the batch by 1e-2."""

SPACES: Mapping[int, tuple[int, ...]] = {2: (), 3: (324,), 4: (18, 18), 5: (3, 9, 12)}
NUM_SAMPLES: Mapping[int, int] = {2: 1100, 3: 70, 4: 70, 5: 70}
CHANNELS: Mapping[int, tuple[int, ...]] = {2: (520, 512, 40, 32), 3: (24, 32), 4: (24, 32), 5: (24, 32)}
MANY_VALUES = 1 << 19
"""Large inputs have more values than this. bnlab's layers work on pieces of 2^18 values: of three pieces, a wrong start
of the third shows too."""

PIECES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Numbers of samples per piece that are tried as an explanation."""


@dataclass(frozen=True)
class _Results:
    """A layer's results for one large input, and the correct ones."""

    given: FormulaInputs
    g: Tensor
    actual: dict[str, Tensor]
    expected: dict[str, Tensor]
    scales: dict[str, float]

    @property
    def wrong(self) -> list[str]:
        """Those of "output" and "input gradient" that are wrong."""
        return [
            what
            for what, actual in self.actual.items()
            if not agrees(actual, self.expected[what], LARGE_CLOSE, self.scales[what])
        ]


def _large_input(subject: Subject) -> Verdict:
    if correct_variant(subject) is None:
        return does_not_apply("it has a formula of its own")
    found: Explanation | None = subject.findings.get("output")
    if found is None or found.only_where_it_fails:
        return does_not_apply("nothing explains the output of small inputs")
    for shape, channels_last in _inputs(subject):
        results = _results_for(subject, found.variant, shape, channels_last=channels_last)
        if results.wrong:
            return _verdict(subject, found.variant, results, channels_last=channels_last)
    return HOLDS


def _inputs(subject: Subject) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield the shapes of large inputs, and whether they are in channels_last, for each number of axes."""
    for num_axes, shape in subject.shapes.items():
        if num_axes > 2 and len(set(shape)) == 1:
            continue  # the law "input" reports this fault
        suiting = (c for c in CHANNELS[num_axes] if can_be_built(subject, c))
        num_channels = next(suiting, subject.num_channels)
        values_per_sample = num_channels * torch.Size(SPACES[num_axes]).numel()
        num_samples = max(NUM_SAMPLES[num_axes], MANY_VALUES // values_per_sample + 1)
        large = (num_samples, num_channels, *SPACES[num_axes])
        yield large, False
        if num_axes == 4:
            yield large, True


def large_input(shape: tuple[int, ...]) -> Tensor:
    """Return float32 values; each channel and each sample has its own mean and scale, all of similar size."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for axis in (0, 1):
        steps = torch.arange(shape[axis]).view([-1 if at == axis else 1 for at in range(len(shape))])
        x = x * (1.25 + 0.75 * torch.cos(steps)) + 0.5 * torch.sin(steps + 1)
    return x


def _results_for(subject: Subject, variant: Variant, shape: tuple[int, ...], *, channels_last: bool) -> _Results:
    """Return a layer's results in training mode and float32, and those of the formula in float64.

    Raises:
        LayerError: The forward or the backward pass raised.
    """
    layer = subject.fresh(shape[1], torch.float32)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, g = (values.float().contiguous(memory_format=layout) for values in (large_input(shape), gradient_given(shape)))
    given = formula_inputs(subject, layer, x.double().contiguous())
    leaf = x.clone().requires_grad_()
    y = subject.run(layer, leaf)
    actual = {"output": y.detach()}
    moved = running_of(subject, layer, shape[1])
    if moved is not None:
        given.statistics["moved"] = moved
    if "gradient cause" not in subject.findings:  # else it is wrong on small inputs too
        actual["input gradient"] = _slope(y, leaf, g)
    expected = _expected(variant, given, g)
    held = _expected(replace(variant, held="both"), given, g)["input gradient"]
    return _Results(given, g, actual, expected, {"output": 0.0, "input gradient": float(held.abs().max())})


def _slope(y: Tensor, x: Tensor, g: Tensor) -> Tensor:
    if not y.requires_grad:
        return torch.zeros_like(x)
    try:
        (found,) = torch.autograd.grad(y, x, g.to(y.dtype), allow_unused=True, materialize_grads=True)
    except Exception as error:
        raise LayerError(error, Example("backward pass, float32", tuple(x.shape), None, None, None)) from error
    return found


def _expected(variant: Variant, given: FormulaInputs, g: Tensor) -> dict[str, Tensor]:
    x = given.x.clone().requires_grad_()
    y = output_of(variant, replace(given, x=x))
    return {"output": y.detach(), "input gradient": _slope(y, x, g)}


def _verdict(subject: Subject, variant: Variant, results: _Results, *, channels_last: bool) -> Verdict:
    what = results.wrong[0]
    smallest = _smallest(subject, variant, tuple(results.given.x.shape), what, channels_last=channels_last)
    gap = difference(results.actual[what], results.expected[what])
    layout = ", in channels_last" if channels_last else ""
    setting = (
        f"training mode, float32{layout}: the smallest such input that was found; on one of shape "
        f"{tuple(results.given.x.shape)} the largest error of the {what} is {gap:.2g}"
    )
    cause = f"the {what} is right on small inputs{', and in the default layout' if channels_last else ''}; "
    cause += f"on large ones{' in channels_last' if channels_last else ''} {_cause(subject, variant, results, what)}"
    return fails(f"{cause}{_grown(subject, smallest)}", "", Example(setting, smallest, None, None, None))


def _cause(subject: Subject, variant: Variant, results: _Results, what: str) -> str:
    """Return a known fault, a wrong use of pieces of the batch, or the channels or samples that are wrong."""
    faults = IN_TRAINING if what == "output" else HELD
    candidates = [(fault.cause, replace(variant, **fault.changes), results.given) for fault in faults]
    if subject.claims.formula == "batch" and what == "output":
        candidates += _of_pieces(variant, results.given)
    for cause, turned, given in candidates:
        try:
            result = output_of(turned, given) if what == "output" else _expected(turned, given, results.g)[what]
        except ValueError:
            continue
        if agrees(results.actual[what], result, LARGE_CLOSE, results.scales[what]):
            return cause
    return _place(results, what)


def _of_pieces(variant: Variant, given: FormulaInputs) -> Iterator[tuple[str, Variant, FormulaInputs]]:
    """Yield faults of layers that compute statistics piece by piece: a cause, the formula and its statistics."""
    x, axes = given.x, [axis for axis in range(given.x.dim()) if axis != 1]
    by_buffer = replace(variant, source="before")
    for size in (size for size in PIECES if size < len(x)):
        pieces = torch.split(x, size)
        shares = torch.tensor([len(piece) / len(x) for piece in pieces]).double()
        spread = (shares[:, None] * torch.stack([piece.var(axes, correction=0) for piece in pieces])).sum(0)
        choices = {
            f"the statistics are those of the first {size} samples alone": _moments(x[:size], axes),
            f"the statistics are those of the last piece of {size} samples alone": _moments(pieces[-1], axes),
            f"the variances of pieces of {size} samples are averaged, and the spread of their means is left out": (
                x.mean(axes),
                spread,
            ),
        }
        for cause, moments in choices.items():
            yield cause, by_buffer, replace(given, statistics={"before": moments})


def _moments(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    return x.mean(axes), x.var(axes, correction=0)


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


def _smallest(
    subject: Subject, variant: Variant, shape: tuple[int, ...], what: str, *, channels_last: bool
) -> tuple[int, ...]:
    """Return the smallest shape on which the result is still wrong: axis by axis, and not below that of other laws."""
    seen = general_shape(len(shape), subject.num_channels)
    for axis in range(len(shape)):
        low, high = min(seen[axis], shape[axis]), shape[axis]
        while low < high:
            middle = (low + high) // 2
            tried = (*shape[:axis], middle, *shape[axis + 1 :])
            if _is_wrong(subject, variant, tried, what, channels_last=channels_last):
                high = middle
            else:
                low = middle + 1
        shape = (*shape[:axis], high, *shape[axis + 1 :])
    return shape


def _is_wrong(subject: Subject, variant: Variant, shape: tuple[int, ...], what: str, *, channels_last: bool) -> bool:
    if not can_be_built(subject, shape[1]):
        return False
    try:
        return what in _results_for(subject, variant, shape, channels_last=channels_last).wrong
    except (LayerError, ValueError):
        return False


def _grown(subject: Subject, smallest: tuple[int, ...]) -> str:
    """Return the size from which on the result is wrong, if it depends on the size of one axis alone."""
    names = ("samples", "channels", *("positions along an axis",) * (len(smallest) - 2))
    seen = general_shape(len(smallest), subject.num_channels)
    grown = [f"{size} {name}" for size, usual, name in zip(smallest, seen, names, strict=True) if size > usual]
    return f", from {grown[0]} on" if len(grown) == 1 else ""


LARGE_LAWS = (
    Law(
        "large input",
        "many samples, channels and values come out as few do",
        "numbers",
        _large_input,
        ("training output", "input gradient", "parameter gradients"),
    ),
)
