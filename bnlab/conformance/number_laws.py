"""Laws of the numbers: large offsets, low precision, constant inputs, and what cannot be normalized at all."""

import torch
from torch import Tensor

from bnlab.conformance.examples import Example, show
from bnlab.conformance.gradient_laws import backward, gradient_given
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply, fails
from bnlab.conformance.states import states_of
from bnlab.conformance.subject import LayerError, Subject
from bnlab.conformance.suspects import difference

OFFSET = 1e4
OFFSET_CLOSE = 0.02
"""In float32 a mean near 1e4 errs by some 1e-3, and so does the output; a variance from E[x^2] - E[x]^2 errs by 8."""

NUM_ROUNDINGS = 3
"""Roundings of the output's type that a half-precision output may be off by; statistics in that type leave far more."""

OVERFLOWN = "statistics are computed in half precision, where squares overflow. Compute them in float32"
ROUNDED = "statistics are computed in half precision, and rounded. Compute them in float32"

HALVES = (torch.float16, torch.bfloat16)


def _looks(subject: Subject) -> bool:
    """Return whether training mode can be looked at in two types: not if random numbers differ between them."""
    return not subject.draws_random_numbers


def _large_offset(subject: Subject) -> Verdict:
    x = (random_input(subject.shape, 7) + OFFSET).float()
    training = _looks(subject)
    with torch.no_grad():
        expected = subject.run(subject.fresh(training=training), x.double())
        came = subject.run(subject.fresh(dtype=torch.float32, training=training), x)
    gap = difference(came, expected)
    if gap <= OFFSET_CLOSE * float(expected.abs().max()):
        return HOLDS
    setting = f"float32, random values around {OFFSET:g}; largest error {gap:.2g}"
    example = Example(setting, tuple(x.shape), None, None, None)
    return fails(_cause_of_offset(subject, training), "", example)


def _cause_of_offset(subject: Subject, training: bool) -> str:
    """Return the cause: in float64, an offset of 1e7 is to E[x^2] - E[x]^2 what 1e4 is in float32, and nothing else."""
    x = random_input(subject.shape, 7)
    with torch.no_grad():
        plain = subject.run(subject.fresh(training=training), x)
        shifted = subject.run(subject.fresh(training=training), x + 1e7)
    if subject.claims.subtracts_mean is not False and difference(plain, shifted) > 1e-4 * float(plain.abs().max()):
        return "the variance is taken as E[x^2] - E[x]^2, which cancels at large offsets"
    return "float32 loses digits at large offsets: take the mean away before anything is squared or scaled"


def _low_precision(subject: Subject) -> Verdict:
    inputs = {
        "squares above 65504, float16's largest": 400 * random_input(subject.shape, 8),
        "an offset that a mean in half precision would round": random_input(subject.shape, 9) + 90,
    }
    training, said, first = _looks(subject), [], None
    for dtype in HALVES:
        for what, wide in inputs.items():
            x = wide.to(dtype)
            with torch.no_grad():
                expected = subject.run(subject.fresh(training=training), x.double())
                came = _in_half(subject, x, training)
            wrong = _wrong_in_half(came, expected, dtype)
            if wrong == ROUNDED and subject.claims.formula == "instance" and not subject.claims.declared:
                subject.facts["low precision"] = (
                    "statistics are rounded to it, as torch.nn.InstanceNorm's without affine"
                )
            elif wrong:
                said.append(wrong)
                setting = f"{str(dtype).removeprefix('torch.')}, {what}; largest error {difference(came, expected):.2g}"
                first = first or Example(setting, tuple(x.shape), None, None, None)
    return fails(OVERFLOWN if OVERFLOWN in said else said[0], "", first) if said else HOLDS


def _wrong_in_half(came: Tensor, expected: Tensor, dtype: torch.dtype) -> str | None:
    if not bool(torch.isfinite(came).all()) and bool(torch.isfinite(expected).all()):
        return OVERFLOWN
    rounding = torch.finfo(dtype).eps / 2
    size = float(expected.abs().max())
    if difference(came, expected) <= NUM_ROUNDINGS * rounding * size:
        return None
    rows = came.double().transpose(0, 1).flatten(1)
    if (
        dtype == torch.float16 and float((rows.amax(1) - rows.amin(1)).max()) < 0.1 * size
    ):  # nothing but the bias is left
        return OVERFLOWN
    return ROUNDED


def _in_half(subject: Subject, x: Tensor, training: bool) -> Tensor:
    """Return the output for a half-precision input: with parameters in float32, else in the input's type."""
    try:
        return subject.run(subject.fresh(dtype=torch.float32, training=training), x)
    except LayerError:
        return subject.run(subject.fresh(dtype=x.dtype, training=training), x)


def _output_type(subject: Subject) -> Verdict:
    for dtype in (torch.float64, torch.float32, *HALVES):
        x = random_input(subject.shape).to(dtype)
        with torch.no_grad():
            y = subject.run(subject.fresh(dtype=dtype), x) if dtype not in HALVES else _in_half(subject, x, True)
        if y.dtype != dtype:
            names = [str(name).removeprefix("torch.") for name in (y.dtype, dtype)]
            return fails(f"the output is {names[0]} for a {names[1]} input. Return y.to(x.dtype)")
    return HOLDS


def _constant_input(subject: Subject) -> Verdict:
    x = torch.full(subject.shape, 2.0, dtype=torch.float64)
    with torch.no_grad():
        y = subject.run(subject.fresh(), x)
    what = "output"
    wrong = not bool(torch.isfinite(y).all())
    if not wrong:
        found = backward(subject, subject.fresh(), x, gradient_given(x.shape))
        what = "gradient"
        wrong = any(gradient is not None and not bool(torch.isfinite(gradient).all()) for gradient in found.values())
    if not wrong:
        return HOLDS
    cause = (
        "a variance of 0 gives a division by 0"
        if what == "output"
        else "the root's slope at a variance of 0 is infinite"
    )
    return fails(
        f"{cause}: eps must stand inside the root",
        f"the {what} is not finite where all values are equal",
        Example("training mode, float64, all values 2", subject.shape, None, None, None),
    )


def _one_value(subject: Subject) -> Verdict:
    if subject.claims.formula not in {"batch", "instance"}:
        return does_not_apply("a single value per channel is no trouble for it")
    num_axes = min(subject.shapes)
    x = torch.full((1, subject.num_channels, *(1,) * (num_axes - 2)), 3.0, dtype=torch.float64)
    layer = subject.fresh()
    try:
        with torch.no_grad():
            y = subject.run(layer, x)
    except LayerError:
        return HOLDS
    example = Example("training mode, float64", tuple(x.shape), show(x), show(y), None)
    return fails(
        "one value per channel is its own mean, so the output is the bias whatever the input: raise an error",
        "",
        example,
    )


def _empty_batch(subject: Subject) -> Verdict:
    if subject.claims.formula != "batch" and not subject.claims.declared:
        return does_not_apply("promised of BatchNorm and of bnlab's own norms only")
    x = torch.empty((0, *subject.shape[1:]), dtype=torch.float64)
    layer = subject.fresh()
    with torch.no_grad():
        try:
            y = subject.run(layer, x)
        except LayerError as crash:
            return fails(f"an empty batch is refused, which torch's layer lets pass: {crash.line}", "", crash.example)
    if y.shape != x.shape:
        return fails(f"an empty batch gives an output of shape {tuple(y.shape)}")
    spoiled = [name for name, state in states_of(layer).items() if not bool(torch.isfinite(state.value).all())]
    if spoiled:
        return fails(f"an empty batch spoils {', '.join(spoiled)}: the mean of nothing is not a number")
    return HOLDS


NUMBER_LAWS = (
    Law("output type", "the output has the input's type, half precision too", "numbers", _output_type),
    Law("large offset", f"values around {OFFSET:g} in float32 come out as in float64", "numbers", _large_offset),
    Law("low precision", "float16 and bfloat16 come out as in float64, rounded", "numbers", _low_precision),
    Law("constant input", "equal values give a finite output and finite gradients", "numbers", _constant_input),
    Law("one value", "a single value per channel is refused in training mode", "numbers", _one_value),
    Law("empty batch", "no sample in, no sample out, and nothing spoiled", "numbers", _empty_batch),
)
