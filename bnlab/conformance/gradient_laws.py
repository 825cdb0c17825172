"""Laws of the gradient: it is that of the formula, through mean and variance too.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.conformance.affine import affine_of
from bnlab.conformance.examples import Example, show
from bnlab.conformance.explaining import SINGLE, Case, Explanation, agrees, explain
from bnlab.conformance.inputs import small_input
from bnlab.conformance.known_faults import HELD
from bnlab.conformance.law_results import HOLDS, Law, Verdict, only_if
from bnlab.conformance.observing import add_moved, explanation_of_output, formula_inputs, inputs_of, verdict_of
from bnlab.conformance.subject import LayerError, Subject, once
from bnlab.conformance.variants import FormulaInputs, Variant, output_of


@dataclass(frozen=True)
class Gradients:
    """Gradients from one backward pass; None where no gradient arrived."""

    given: FormulaInputs
    g: Tensor
    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


UNEXPLAINED = "nothing explains the output; see finite differences"

Alternative = Callable[[Variant, Gradients], Tensor]

OF_INPUT: tuple[tuple[str, Alternative], ...] = (
    ("the input's gradient is zero: the output is detached from it", lambda _, seen: torch.zeros_like(seen.given.x)),
    ("the output's gradient is passed on to the input as it is", lambda _, seen: seen.g),
    (
        "the weight is missing in the input's gradient",
        lambda variant, seen: _of("x", replace(variant, scale="none"), seen.given),
    ),
    (
        "the gradient through the variance has the factor 1/(m-1) of an unbiased variance, the output 1/m",
        lambda variant, seen: _with_unbiased_slope(variant, seen),
    ),
    ("the input's gradient has the wrong sign", lambda variant, seen: -_of("x", variant, seen.given)),
)


def _of_parameter(of: str) -> tuple[tuple[str, Alternative], ...]:
    return (
        (f"the {of}'s gradient is missing", lambda variant, seen: torch.zeros_like(_of(of, variant, seen.given))),
        (f"the {of}'s gradient is a mean, not a sum", lambda variant, seen: _of(of, variant, seen.given) / _m(seen)),
        (f"the {of}'s gradient has the wrong sign", lambda variant, seen: -_of(of, variant, seen.given)),
    )


OF_WEIGHT = (
    *_of_parameter("weight"),
    (
        "the weight's gradient is taken with the input in place of the normalized input",
        lambda _, seen: _per_channel(seen.g * seen.given.x),
    ),
    ("the weight's gradient is that of the bias", lambda _, seen: _per_channel(seen.g)),
)

OF_BIAS = (
    *_of_parameter("bias"),
    ("the bias's gradient is that of the weight", lambda variant, seen: _of("weight", variant, seen.given)),
)


@functools.lru_cache(maxsize=32)  # every formula that is tried needs it again
def gradient_given(shape: tuple[int, ...]) -> Tensor:
    """Return the gradient of the output: small numbers without a pattern that a norm could cancel."""
    x = small_input(shape)
    return torch.remainder(x.square() + 2 * x, 5) - 1.5


def backward(subject: Subject, layer: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Return the output y, and the gradients of sum(g * y) for the input ("x") and each parameter by name.

    A gradient is None if none arrives.

    Raises:
        LayerError: The forward or the backward pass raised.
    """
    x = x.clone().requires_grad_()
    y = subject.run(layer, x)
    leaves = {"x": x} | {name: leaf for name, leaf in layer.named_parameters() if leaf.requires_grad}
    if not y.requires_grad:
        return y, dict.fromkeys(leaves)
    try:
        found = torch.autograd.grad(y, list(leaves.values()), g.to(y.dtype), allow_unused=True)
    except Exception as error:
        setting = f"backward pass, {str(x.dtype).removeprefix('torch.')}"
        raise LayerError(error, Example(setting, tuple(x.shape), show(x))) from error
    return y.detach(), dict(zip(leaves, found, strict=True))


def with_gradient(of: str, variant: Variant, given: FormulaInputs) -> tuple[Tensor, Tensor]:
    """Return a formula's output, and the gradient of one of its inputs.

    Args:
        of: The input: "x", "weight" or "bias".
        variant: The formula, correct or wrong.
        given: The values to compute it from.
    """
    value = getattr(given, of)
    leaf = (torch.ones(given.x.shape[1]).double() if value is None else value.clone()).requires_grad_()
    changes: dict[str, Any] = {of: leaf}
    y = output_of(variant, replace(given, **changes))
    if not y.requires_grad:
        return y, torch.zeros_like(leaf)
    g = gradient_given(tuple(given.x.shape))
    (slope,) = torch.autograd.grad(y, leaf, g, allow_unused=True, materialize_grads=True)
    return y.detach(), slope


def _of(of: str, variant: Variant, given: FormulaInputs) -> Tensor:
    return with_gradient(of, variant, given)[1]


@once
def _observe(subject: Subject) -> list[Gradients]:
    seen = []
    for x in inputs_of(subject):
        layer = subject.fresh(x.shape[1])
        given, g = formula_inputs(subject, layer, x), gradient_given(tuple(x.shape))
        _, found = backward(subject, layer, x, g)
        add_moved(subject, layer, given)
        affine = affine_of(layer, x.shape[1])
        weight, bias = (None if name is None else found[name] for name in (affine.scale, affine.shift))
        seen.append(Gradients(given, g, found["x"], weight, bias))
    return seen


def _input_gradient(subject: Subject) -> Verdict:
    return _verdict(subject, "x", explanation_of_output(subject, UNEXPLAINED), OF_INPUT)


def _parameter_gradients(subject: Subject) -> Verdict:
    output = explanation_of_output(subject, UNEXPLAINED)
    only_if(bool(subject.affine.names), "it has no parameters per channel")
    verdicts = [
        _verdict(subject, of, output, alternatives)
        for of, name, alternatives in (
            ("weight", subject.affine.scale, OF_WEIGHT),
            ("bias", subject.affine.shift, OF_BIAS),
        )
        if name is not None
    ]
    wrong = [verdict for verdict in verdicts if verdict.status != "holds"]
    if not wrong:
        return HOLDS
    return replace(wrong[0], cause="; and ".join(verdict.cause or "" for verdict in wrong))


def _verdict(
    subject: Subject, of: str, output: Explanation, alternatives: Sequence[tuple[str, Alternative]]
) -> Verdict:
    seen, variant, result = _observe(subject), output.variant, functools.partial(_of, of)
    cases = [_case(one, of, variant) for one in seen]
    found = explain(cases, variant, HELD, result)
    if found is not None and not found.causes:
        own = "it is the gradient of the layer's own output, which is not the formula's"
        return Verdict("holds", own) if output.causes else HOLDS
    verdict = verdict_of(cases, variant, found, "training mode", result)
    for cause, alternative in () if found is not None else alternatives:
        pairs = zip(cases, seen, strict=True)
        if all(agrees(case.actual, alternative(variant, one), SINGLE, case.scale) for case, one in pairs):
            verdict = replace(verdict, cause=cause)
            break
    subject.findings.setdefault("gradient cause", verdict.cause)
    assert verdict.example is not None
    g = show(gradient_given(verdict.example.shape))
    example = replace(verdict.example, setting=f"{verdict.example.setting}, gradient of the output {g}")
    return replace(verdict, example=example)


def _case(one: Gradients, of: str, variant: Variant) -> Case:
    """Return a case, with the size of the gradient at constant statistics, in which nothing cancels."""
    constant = _of(of, replace(variant, held="both"), one.given)
    scale = float(constant.abs().max())
    actual = getattr(one, of)
    actual = torch.zeros_like(constant) if actual is None else actual.double().view_as(constant)
    return Case(one.given, actual, scale if of == "x" else max(scale, float(one.g.abs().max())))


def _with_unbiased_slope(variant: Variant, seen: Gradients) -> Tensor:
    whole = _of("x", variant, seen.given)
    without = _of("x", replace(variant, held="variance"), seen.given)
    return without + (whole - without) * (_m(seen) / max(_m(seen) - 1, 1))


def _per_channel(values: Tensor) -> Tensor:
    return values.transpose(0, 1).flatten(1).sum(1)


def _m(seen: Gradients) -> int:
    return seen.g.numel() // seen.g.shape[1]


_OUTPUT = ("training output",)
"""Gradients are compared with those of the formula that explains the output."""

GRADIENT_LAWS = (
    Law("input gradient", "it is the formula's, through mean and variance too", "gradient", _input_gradient, _OUTPUT),
    Law("parameter gradients", "they are the formula's", "gradient", _parameter_gradients, _OUTPUT),
)
