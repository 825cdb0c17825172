"""Laws of the numbers: large offsets, low precision, constant inputs, single values and empty batches."""

import itertools

import torch
from torch import Tensor

from bnlab.conformance.examples import Example, show
from bnlab.conformance.explaining import difference
from bnlab.conformance.gradient_laws import backward, gradient_given
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails, only_if
from bnlab.conformance.states import states_of
from bnlab.conformance.subject import LayerError, Subject

OFFSET = 1e4
OFFSET_CLOSE = 0.02
"""Largest error allowed. In float32 a mean near 1e4 errs by about 1e-3, and so does the output; a variance computed as
E[x^2] - E[x]^2 errs by 8."""

NUM_ROUNDINGS = 3
"""Largest error of a half-precision output, in roundings of its type; statistics in that type cause far larger ones."""

CANCELS = "the variance is taken as E[x^2] - E[x]^2, which cancels at large offsets"
OVERFLOWN = "statistics are computed in half precision, where squares overflow. Compute them in float32"
ROUNDED = "statistics are computed in half precision, and rounded. Compute them in float32"

HALVES = (torch.float16, torch.bfloat16)


def _large_offset(subject: Subject) -> Verdict:
    shape = subject.shapes.get(4, subject.shape)
    first = (random_input(shape, 7) + OFFSET).float()
    last = first.movedim(1, -1).contiguous().movedim(-1, 1)
    training = not subject.draws_random_numbers
    for x, layout in (first, ""), (last, "with the channels last in memory"):
        expected = subject.output(x.double(), training=training)  # in the same layout
        gap = difference(subject.output(x, dtype=torch.float32, training=training), expected)
        if gap > OFFSET_CLOSE * float(expected.abs().max()):
            cause = f"only {layout}: {CANCELS}" if layout else _cause_of_offset(subject, training)
            setting = f"float32, random values around {OFFSET:g} {layout}".rstrip()
            subject.findings["loses digits"] = True
            return fails(cause, Example(f"{setting}; largest error {gap:.2g}", shape))
    return HOLDS


def _cause_of_offset(subject: Subject, training: bool) -> str:
    """Return the cause. In float64 an offset of 1e7 harms E[x^2] - E[x]^2 as 1e4 does in float32, and nothing else."""
    x = random_input(subject.shape, 7)
    plain, shifted = (subject.output(values, training=training) for values in (x, x + 1e7))
    if subject.claims.subtracts_mean is not False and difference(plain, shifted) > 1e-4 * float(plain.abs().max()):
        return CANCELS
    return "float32 loses digits at large offsets: subtract the mean before the values are squared or scaled"


def _low_precision(subject: Subject) -> Verdict:
    inputs = {
        "squares above 65504, float16's largest": 400 * random_input(subject.shape, 8),
        "an offset that a mean in half precision would round": random_input(subject.shape, 9) + 90,
    }
    causes, first = [], None
    for dtype, training in itertools.product(HALVES, (True, False)):
        if training and subject.draws_random_numbers:
            continue
        for what, wide in inputs.items():
            x = wide.to(dtype)
            expected, actual = _wide_and_half(subject, x, training)
            if not bool(torch.isfinite(expected.to(dtype)).all()):
                continue  # no type of this range can hold the correct output
            wrong = _wrong_in_half(actual, expected, dtype)
            if wrong == ROUNDED and subject.claims.formula == "instance" and not subject.claims.declared:
                subject.facts["low precision"] = (
                    "statistics are rounded to it, as torch.nn.InstanceNorm's without affine"
                )
            elif wrong:
                causes.append(wrong if training else f"in eval mode {wrong}")
                setting = f"{_mode(training)} mode, {str(dtype).removeprefix('torch.')}, {what}"
                first = first or Example(f"{setting}; largest error {difference(actual, expected):.2g}", subject.shape)
    return fails(OVERFLOWN if OVERFLOWN in causes else causes[0], first) if causes else HOLDS


def _mode(training: bool) -> str:
    return "training" if training else "eval"


def _wide_and_half(subject: Subject, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Return the outputs for a half-precision input: in float64, and in its own type.

    In eval mode the layer has processed this input before, in float64, so that its running statistics fit the input.
    """
    if training:
        return subject.output(x.double()), _in_half(subject, x, training)
    layers = [subject.fresh() for _ in range(3)]
    for layer in layers:
        subject.run(layer, x.double())
        layer.eval()
    expected = subject.run(layers[0], x.double())
    try:
        return expected, subject.run(layers[1].float(), x)
    except LayerError:
        return expected, subject.run(layers[2].to(x.dtype), x)


def _wrong_in_half(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> str | None:
    if not bool(torch.isfinite(actual).all()) and bool(torch.isfinite(expected).all()):
        return OVERFLOWN
    rounding = torch.finfo(dtype).eps / 2
    size = float(expected.abs().max())
    if difference(actual, expected) <= NUM_ROUNDINGS * rounding * size:
        return None
    rows = actual.double().transpose(0, 1).flatten(1)
    if dtype == torch.float16 and float((rows.amax(1) - rows.amin(1)).max()) < 0.1 * size:  # only the bias is left
        return OVERFLOWN
    return ROUNDED


def _in_half(subject: Subject, x: Tensor, training: bool) -> Tensor:
    """Return the output for a half-precision input, with float32 parameters if the layer accepts that."""
    try:
        return subject.output(x, dtype=torch.float32, training=training)
    except LayerError:
        return subject.output(x, dtype=x.dtype, training=training)


def _output_type(subject: Subject) -> Verdict:
    for training, dtype in itertools.product((True, False), (torch.float64, torch.float32, *HALVES)):
        x = random_input(subject.shape).to(dtype)
        is_half = dtype in HALVES
        y = _in_half(subject, x, training) if is_half else subject.output(x, dtype=dtype, training=training)
        if y.dtype != dtype:
            names = [str(name).removeprefix("torch.") for name in (y.dtype, dtype)]
            where = "" if training else " in eval mode"
            return fails(f"the output is {names[0]} for a {names[1]} input{where}. Return y.to(x.dtype)")
    return HOLDS


def _constant_input(subject: Subject) -> Verdict:
    x = torch.full(subject.shape, 2.0, dtype=torch.float64)
    y, found = backward(subject, subject.fresh(), x, gradient_given(subject.shape))
    if not bool(torch.isfinite(y).all()):
        what, cause = "output", "a variance of 0 gives a division by 0"
    elif all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in found.values()):
        return HOLDS
    else:
        what, cause = "gradient", "the root's slope at a variance of 0 is infinite"
    return Verdict(
        "does not hold",
        f"the {what} is not finite where all values are equal",
        f"{cause}: eps must stand inside the root",
        Example("training mode, float64, all values 2", subject.shape),
    )


def _one_value(subject: Subject) -> Verdict:
    needs_more = subject.claims.formula in {"batch", "instance"}
    only_if(needs_more, "its statistics do not need more than one value per channel")
    x = torch.full((1, subject.num_channels, *(1,) * (min(subject.shapes) - 2)), 3.0, dtype=torch.float64)
    try:
        y = subject.output(x)
    except LayerError:
        return HOLDS
    return fails(
        "one value per channel is its own mean, so the output is the bias whatever the input: raise an error",
        Example("training mode, float64", tuple(x.shape), show(x), show(y)),
    )


def _empty_batch(subject: Subject) -> Verdict:
    promised = subject.claims.formula == "batch" or subject.claims.declared
    only_if(promised, "only BatchNorm and bnlab's own norms promise it")
    x = torch.empty((0, *subject.shape[1:]), dtype=torch.float64)
    layer = subject.fresh()
    try:
        y = subject.run(layer, x)
    except LayerError as crash:
        return fails(f"an empty batch is refused, which torch's layer accepts: {crash.line}", crash.example)
    if y.shape != x.shape:
        return fails(f"an empty batch gives an output of shape {tuple(y.shape)}")
    spoiled = [name for name, state in states_of(layer).items() if not bool(torch.isfinite(state.value).all())]
    if spoiled:
        return fails(f"an empty batch spoils {', '.join(spoiled)}: the mean of no values is not a number")
    return HOLDS


NUMBER_LAWS = (
    Law("output type", "the output has the input's type, half precision too", "numbers", _output_type),
    Law("large offset", f"values around {OFFSET:g} in float32 give the output of float64", "numbers", _large_offset),
    Law("low precision", "float16 and bfloat16 give the output of float64, rounded", "numbers", _low_precision),
    Law("constant input", "equal values give a finite output and finite gradients", "numbers", _constant_input),
    Law("one value", "a single value per channel is refused in training mode", "numbers", _one_value),
    Law("empty batch", "an empty batch gives an empty output and changes no buffer to NaN", "numbers", _empty_batch),
)
