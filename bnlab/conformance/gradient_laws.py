"""Laws of the gradient: it is that of the formula, through mean and variance too.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bnlab.conformance.examples import Example, show
from bnlab.conformance.inputs import small_input
from bnlab.conformance.known_faults import HELD, PRECISE, SINGLE, Case, agrees, difference, explain
from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply, fails
from bnlab.conformance.observing import cause_of, correct_variant, example_of, formula_inputs, inputs_of, running_of
from bnlab.conformance.subject import LayerError, Subject, affine_of
from bnlab.conformance.variants import FormulaInputs, Variant, output_of


@dataclass(frozen=True)
class Gradients:
    """Gradients from one backward pass; None where no gradient arrived."""

    given: FormulaInputs
    g: Tensor
    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


Alternative = Callable[[Variant, Gradients], Tensor]

OF_INPUT: tuple[tuple[str, Alternative], ...] = (
    ("the input's gradient is zero: the output is detached from it", lambda _, seen: torch.zeros_like(seen.given.x)),
    ("the output's gradient is passed on to the input as it is", lambda _, seen: seen.g),
    (
        "the weight is missing in the input's gradient",
        lambda variant, seen: _of_input(replace(variant, scale="none"), seen.given),
    ),
    (
        "the gradient through the variance has the factor 1/(m-1) of an unbiased variance, the output 1/m",
        lambda variant, seen: _with_unbiased_slope(variant, seen),
    ),
    ("the input's gradient has the wrong sign", lambda variant, seen: -_of_input(variant, seen.given)),
)

OF_WEIGHT: tuple[tuple[str, Alternative], ...] = (
    ("the weight's gradient is missing", lambda variant, seen: torch.zeros_like(_of("weight", variant, seen.given))),
    ("the weight's gradient is a mean, not a sum", lambda variant, seen: _of("weight", variant, seen.given) / _m(seen)),
    (
        "the weight's gradient is taken with the input in place of the normalized input",
        lambda _, seen: _per_channel(seen.g * seen.given.x),
    ),
    ("the weight's gradient is that of the bias", lambda _, seen: _per_channel(seen.g)),
    ("the weight's gradient has the wrong sign", lambda variant, seen: -_of("weight", variant, seen.given)),
)

OF_BIAS: tuple[tuple[str, Alternative], ...] = (
    ("the bias's gradient is missing", lambda variant, seen: torch.zeros_like(_of("bias", variant, seen.given))),
    ("the bias's gradient is a mean, not a sum", lambda variant, seen: _of("bias", variant, seen.given) / _m(seen)),
    ("the bias's gradient is that of the weight", lambda variant, seen: _of("weight", variant, seen.given)),
    ("the bias's gradient has the wrong sign", lambda variant, seen: -_of("bias", variant, seen.given)),
)


def gradient_given(shape: Sequence[int]) -> Tensor:
    """Return the gradient of the output: small numbers without a pattern that a norm could cancel."""
    return torch.remainder(small_input(tuple(shape)).square() + 2 * small_input(tuple(shape)), 5) - 1.5


def backward(subject: Subject, layer: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor | None]:
    """Return the gradients of sum(g * y) for the input ("x") and each parameter by name; None if none arrives.

    Raises:
        LayerError: The forward or the backward pass raised.
    """
    x = x.clone().requires_grad_()
    y = subject.run(layer, x)
    names = {name: parameter for name, parameter in layer.named_parameters() if parameter.requires_grad}
    if not y.requires_grad:
        return {"x": None, **dict.fromkeys(names)}
    try:
        found = torch.autograd.grad((y * g.to(y.dtype)).sum(), [x, *names.values()], allow_unused=True)
    except Exception as error:
        raise LayerError(error, Example("backward pass", tuple(x.shape), show(x), None, None)) from error
    return dict(zip(["x", *names], found, strict=True))


def _observe(subject: Subject) -> list[Gradients]:
    if "gradients" not in subject.findings:
        seen = []
        for x in inputs_of(subject):
            layer = subject.fresh(x.shape[1])
            given, g = formula_inputs(subject, layer, x), gradient_given(x.shape)
            found = backward(subject, layer, x, g)
            affine = affine_of(layer, x.shape[1])
            moved = running_of(subject, layer, x.shape[1])
            if moved is not None:
                given.statistics["moved"] = moved
            of = {role: None if name is None else found.get(name) for role, name in vars(affine).items()}
            weight_C, bias_C = (None if v is None else v.reshape(-1).double() for v in (of["scale"], of["shift"]))
            seen.append(Gradients(given, g, found["x"], weight_C, bias_C))
        subject.findings["gradients"] = seen
    gradients: list[Gradients] = subject.findings["gradients"]
    return gradients


def _input_gradient(subject: Subject) -> Verdict:
    variant, refusal = _variant_of_output(subject)
    if variant is None:
        return does_not_apply(refusal)
    seen = _observe(subject)
    cases = [_case(one, _or_zero(one.x, one.given.x), variant, _of_input) for one in seen]
    return _verdict(subject, cases, seen, variant, _of_input, OF_INPUT)


def _parameter_gradients(subject: Subject) -> Verdict:
    variant, refusal = _variant_of_output(subject)
    if variant is None:
        return does_not_apply(refusal)
    seen = _observe(subject)
    verdicts = []
    if seen[0].given.weight is not None:
        of_weight = _result_of("weight")
        cases = [_case(one, _or_zero(one.weight, one.given.weight), variant, of_weight) for one in seen]
        verdicts.append(_verdict(subject, cases, seen, variant, of_weight, OF_WEIGHT))
    if seen[0].given.bias is not None:
        of_bias = _result_of("bias")
        cases = [_case(one, _or_zero(one.bias, one.given.bias), variant, of_bias) for one in seen]
        verdicts.append(_verdict(subject, cases, seen, variant, of_bias, OF_BIAS))
    if not verdicts:
        return does_not_apply("it has no parameters per channel")
    wrong = [verdict for verdict in verdicts if verdict.status != "holds"]
    if not wrong:
        return HOLDS
    return replace(wrong[0], cause="; and ".join(verdict.cause or "" for verdict in wrong))


def _variant_of_output(subject: Subject) -> tuple[Variant | None, str]:
    """Return the formula that explains the output, so that its faults are not reported twice; or why none does."""
    if correct_variant(subject) is None:
        return None, "it has a formula of its own"
    found = subject.findings.get("output")
    if found is None or found.only_where_it_fails:
        return None, "nothing explains the output; see finite differences"
    variant: Variant = found.variant
    return variant, ""


def _case(one: Gradients, actual: Tensor, variant: Variant, result: Callable[[Variant, FormulaInputs], Tensor]) -> Case:
    """Return a case, with the size of the gradient at constant statistics, in which nothing cancels."""
    scale = float(result(replace(variant, held="both"), one.given).abs().max())
    return Case(one.given, actual, max(scale, float(one.g.abs().max())) if result is not _of_input else scale)


def _verdict(
    subject: Subject,
    cases: list[Case],
    seen: list[Gradients],
    variant: Variant,
    result: Callable[[Variant, FormulaInputs], Tensor],
    alternatives: Sequence[tuple[str, Alternative]],
) -> Verdict:
    found = explain(cases, variant, HELD, result)
    if found is not None and not found.causes:
        own = subject.findings["output"].causes
        return (
            Verdict("holds", "it is the gradient of the layer's own output, which is not the formula's")
            if own
            else HOLDS
        )
    pairs = [(case, result(variant, case.given)) for case in cases]
    wrong = [(case, e) for case, e in pairs if not agrees(case.actual, e, PRECISE, case.scale)]
    visible = [(case, e) for case, e in wrong if difference(case.actual, e) > 1e-3 * float(e.abs().max())]
    case, expected = (visible or wrong)[0]
    cause = cause_of(found, difference(case.actual, expected), tuple(case.given.x.shape))
    for text, alternative in () if found is not None else alternatives:
        if all(
            agrees(case.actual, alternative(variant, one), SINGLE, case.scale)
            for case, one in zip(cases, seen, strict=True)
        ):
            cause = text
            break
    subject.findings.setdefault("gradient cause", cause)
    g = show(gradient_given(case.given.x.shape))
    example = example_of(case.given, case.actual, expected, "training mode")
    return fails(cause, "", replace(example, setting=f"{example.setting}, gradient of the output {g}"))


def _of_input(variant: Variant, given: FormulaInputs) -> Tensor:
    x = given.x.clone().requires_grad_()
    y = output_of(variant, replace(given, x=x))
    g = gradient_given(x.shape)
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad((y * g).sum(), x)[0]


def _of(parameter: str, variant: Variant, given: FormulaInputs) -> Tensor:
    value = given.weight if parameter == "weight" else given.bias
    if value is None:
        raise ValueError(f"there is no {parameter}")
    leaf = value.clone().requires_grad_()
    y = output_of(variant, replace(given, weight=leaf) if parameter == "weight" else replace(given, bias=leaf))
    if not y.requires_grad:
        return torch.zeros_like(leaf)
    return torch.autograd.grad((y * gradient_given(given.x.shape)).sum(), leaf)[0]


def _result_of(parameter: str) -> Callable[[Variant, FormulaInputs], Tensor]:
    return lambda variant, given: _of(parameter, variant, given)


def _with_unbiased_slope(variant: Variant, seen: Gradients) -> Tensor:
    whole = _of_input(variant, seen.given)
    without = _of_input(replace(variant, held="variance"), seen.given)
    return without + (whole - without) * (_m(seen) / max(_m(seen) - 1, 1))


def _or_zero(value: Tensor | None, like: Tensor | None) -> Tensor:
    assert like is not None
    return torch.zeros_like(like) if value is None else value


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
