"""Laws of the gradient that need no formula: it is the slope of the output, and sums to 0 along each invariance."""

import functools

import torch
from torch import Tensor, nn

from bnlab.conformance.examples import Example, show
from bnlab.conformance.explaining import PRECISE, agrees
from bnlab.conformance.gradient_laws import backward, gradient_given
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails, fails_if, only_if
from bnlab.conformance.states import tensor_named
from bnlab.conformance.subject import Subject

LARGE = 1e3
"""Factor that makes eps negligible beside the variance: 1e-5 beside 1e6."""

SUM_CLOSE = 1e-4
"""Largest sum of a gradient that should sum to 0, as a share of the sum of its absolute values. Rounding in float32
leaves 1e-7, eps 1e-11, a missing term about 1."""

STEP = 1e-5
STEP_CLOSE = 1e-5
"""Step of central differences, and the largest error allowed. In float64 with this step they err by about 1e-10 of the
third derivative and 1e-11 of the value."""


def _slopes(subject: Subject, *, training: bool) -> Verdict:
    """Compare with central differences along random directions, for the input and all parameters.

    Eval mode counts too: it is used for fine-tuning with frozen statistics.
    """
    only_if(
        not training or not _uses_running_statistics(subject),
        "its training output uses running statistics, which the gradient takes for constant",
    )
    x = random_input(subject.shape, seed=5)
    g = gradient_given(subject.shape)
    y = subject.run(_layer(subject, training), x)
    in_single = y.dtype != torch.float64 or torch.equal(y, y.float().double()) or "precision" in subject.facts
    only_if(not in_single, "it does not compute in float64")
    _, found = backward(subject, _layer(subject, training), x, g)
    generator = torch.Generator().manual_seed(0)
    for name, gradient in found.items():
        shape = x.shape if name == "x" else tensor_named(subject.fresh(), name).shape
        for _ in range(2):
            v = torch.randn(shape, generator=generator, dtype=torch.float64)
            ahead, behind = (_value(subject, x, g, name, v, step, training) for step in (STEP, -STEP))
            slope = (ahead - behind) / (2 * STEP)
            actual = 0.0 if gradient is None else float((gradient.double() * v).sum())
            size = 1.0 if gradient is None else float((gradient.double() * v).abs().sum())
            if not abs(slope - actual) <= STEP_CLOSE * max(size, abs(slope), float(g.abs().sum()) * STEP):
                flows = any(value is not None and bool(value.any()) for value in found.values())
                return _wrong_slope(subject, name, (actual, slope), training=training, flows=flows)
    return HOLDS


def _wrong_slope(subject: Subject, name: str, slopes: tuple[float, float], *, training: bool, flows: bool) -> Verdict:
    what = "the input's gradient" if name == "x" else f"the gradient of {name}"
    cause = f"{what} is not that of the layer's own output"
    if not flows:
        cause = f"no gradient flows in {'training' if training else 'eval'} mode: the output is detached"
    if training:
        cause = subject.findings.get("gradient cause") or cause
    mode = "" if training else "eval mode, "
    setting = f"{mode}{what} along one random direction, against central differences"
    actual, expected = (show(torch.tensor(slope)) for slope in slopes)
    return fails(cause, Example(setting, subject.shape, None, actual, expected))


def _layer(subject: Subject, training: bool) -> nn.Module:
    """Return a layer in a mode, for eval mode after one training batch: a variance of 1 would hide a missing root."""
    layer = subject.fresh()
    if not training:
        subject.run(layer, random_input(subject.shape, seed=3))
    return layer.train(training)


def _value(subject: Subject, x: Tensor, g: Tensor, name: str, v: Tensor, step: float, training: bool) -> float:
    layer = _layer(subject, training)
    if name == "x":
        x = x + step * v
    else:
        tensor_named(layer, name).add_(step * v)
    return float((subject.run(layer, x) * g).sum())


def _uses_running_statistics(subject: Subject) -> bool:
    """Return whether the training output depends on earlier batches."""
    if subject.claims.formula is not None or not subject.states:
        return False
    x = random_input(subject.shape)
    layer = subject.fresh()
    first = subject.run(layer, x)
    subject.run(layer, 3 * x + 1)
    return not agrees(subject.run(layer, x), first, PRECISE)


def _gradient_sums(subject: Subject) -> Verdict:
    """Check that the gradient is orthogonal to each direction in which the output does not change."""
    only_if(bool(subject.claims.invariances), "it promises no invariance")
    x = LARGE * random_input(subject.shape, seed=6)
    dx = backward(subject, subject.fresh(), x, gradient_given(subject.shape))[1]["x"]
    if dx is None:
        return fails("no gradient reaches the input")
    dx = dx.double()
    causes = []
    for invariance in sorted(subject.claims.invariances):
        kind, _, change = invariance.partition("_")
        axis = 1 if kind == "channel" else 0
        rows = x.transpose(0, axis).flatten(1)
        if f"{kind}_shift" in subject.claims.invariances:  # then it may be scaled about its mean
            rows = rows - rows.mean(1, keepdim=True)
        terms = dx.transpose(0, axis).flatten(1) * (1 if change == "shift" else rows)
        share = float((terms.sum(1).abs() / terms.abs().sum(1).clamp(min=1e-300)).max())
        if not share <= SUM_CLOSE:
            statistic = "mean" if change == "shift" else "variance"
            weights = "" if change == "shift" else ", each times its input,"
            causes.append(
                f"the input's gradients of one {kind}{weights} do not sum to 0 ({share:.2g} of their size remains): "
                f"its way through the {statistic} is missing or wrong"
            )
    return fails_if(causes)


_PRECISION = ("training output", "eval output")
"""These laws find out whether the layer computes in float64; finite differences are too coarse for float32."""

_CAUSE = ("input gradient", "parameter gradients")
"""Where these laws have named the cause of a wrong gradient, the law of finite differences names the same cause."""

SLOPE_LAWS = (
    Law(
        "finite differences",
        "all gradients are those of the layer's own output",
        "gradient",
        functools.partial(_slopes, training=True),
        (*_PRECISION, *_CAUSE),
    ),
    Law("eval gradient", "the same in eval mode", "gradient", functools.partial(_slopes, training=False), _PRECISION),
    Law("gradient sums", "along each invariance the gradient sums to 0", "gradient", _gradient_sums),
)
