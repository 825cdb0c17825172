"""The normalization formulas that lessons know, forward and backward, each gradient written as a sum of terms.

A lesson uses the formula that gives the layer's output, whatever the layer declares.

Letters: x the values that share a statistic, m their number, g the gradient of the output, h = weight * g the gradient
of xhat.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NORMAL_SPREAD = math.sqrt(math.pi / 2)
"""Standard deviation over mean absolute deviation, for the normal distribution."""


@dataclass(frozen=True)
class Term:
    """One summand of the gradient of x.

    Attributes:
        name: Name of the term: ``itself``, ``mean``, ``spread`` or ``scale``.
        formula: The term in the letters of this module.
        meaning: What the term does, for a first reader.
        values: The term for each value x of the statistic.
    """

    name: str
    formula: str
    meaning: str
    values: Tensor


@dataclass(frozen=True)
class Formula:
    """A normalization: x -> xhat, and its gradient: h -> dx.

    Attributes:
        name: Name of the formula, as in `Story.name` of an example.
        forward_text: The formula of xhat.
        backward_text: The formula of dx.
        statistics: x, eps -> the statistics of x by name, in the order in which they are computed; ``r`` last.
        normalize: x, eps -> xhat.
        summands: x, xhat, h, statistics -> the summands of dx, signs included.
    """

    name: str
    forward_text: str
    backward_text: str
    statistics: Callable[[Tensor, float], dict[str, float]]
    normalize: Callable[[Tensor, float], Tensor]
    summands: Callable[[Tensor, Tensor, Tensor, dict[str, float]], list[Term]]

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the summands of dx for the gradient h of xhat."""
        return self.summands(x, self.normalize(x, eps), h, self.statistics(x, eps))


def _variance(x: Tensor, eps: float) -> dict[str, float]:
    var = float(x.var(correction=0))
    return {"mean": float(x.mean()), "var": var, "r": 1 / math.sqrt(var + eps)}


def _mean_square(x: Tensor, eps: float) -> dict[str, float]:
    ms = float(x.square().mean())
    return {"ms": ms, "r": 1 / math.sqrt(ms + eps)}


def _absolute_deviation(x: Tensor, eps: float) -> dict[str, float]:
    deviation = NORMAL_SPREAD * float((x - x.mean()).abs().mean())
    return {"mean": float(x.mean()), "dev": deviation, "r": 1 / math.sqrt(deviation**2 + eps)}


def _std(x: Tensor, eps: float) -> Tensor:
    return (x.var(correction=0) + eps).sqrt()


def _itself(r: float, h: Tensor) -> Term:
    return Term("itself", "r · h", "the gradient itself", r * h)


def _of_mean(r: float, h: Tensor) -> Term:
    return Term("mean", "-r · mean(h)", "minus what would move the mean", (-r * h.mean()).expand_as(h))


def _of_spread(name: str, r: float, xhat: Tensor, h: Tensor) -> Term:
    return Term(name, "-r · xhat · mean(h · xhat)", f"minus what would move the {name}", -r * xhat * (h * xhat).mean())


def _of_variance(r: float, x: Tensor, xhat: Tensor, h: Tensor) -> Term:
    values = -r * r * (x - x.mean()) * (h * xhat).mean()
    return Term("spread", "-r² · (x - mean) · mean(h · xhat)", "minus what would move the spread", values)


def _of_deviation(found: dict[str, float], x: Tensor, xhat: Tensor, h: Tensor) -> Term:
    sign, r = (x - x.mean()).sign(), found["r"]
    inner = NORMAL_SPREAD * found["dev"] * r * (sign - sign.mean())  # dr/ddev = -r^3 dev
    meaning = "minus what would move the spread; k = √(π/2) · dev · r"
    return Term("spread", "-r · k · (s - mean(s)) · mean(h · xhat)", meaning, -r * inner * (h * xhat).mean())


FORMULAS = (
    Formula(
        "standardize",
        "xhat = (x - mean) · r,   r = 1 / √(var + eps)",
        "dx = r · ( h - mean(h) - xhat · mean(h · xhat) ),   h = weight · g",
        _variance,
        lambda x, eps: (x - x.mean()) / _std(x, eps),
        lambda _, xhat, h, of: [_itself(of["r"], h), _of_mean(of["r"], h), _of_spread("spread", of["r"], xhat, h)],
    ),
    Formula(
        "root_mean_square",
        "xhat = x · r,   r = 1 / √(ms + eps),   ms = mean of x²",
        "dx = r · ( h - xhat · mean(h · xhat) ),   h = weight · g",
        _mean_square,
        lambda x, eps: x / (x.square().mean() + eps).sqrt(),
        lambda _, xhat, h, of: [_itself(of["r"], h), _of_spread("scale", of["r"], xhat, h)],
    ),
    Formula(
        "center",
        "xhat = x - mean",
        "dx = h - mean(h),   h = weight · g",
        lambda x, _: {"mean": float(x.mean()), "r": 1.0},
        lambda x, _: x - x.mean(),
        lambda _x, _xhat, h, _: [
            Term("itself", "h", "the gradient itself", h),
            Term("mean", "-mean(h)", "minus what would move the mean", (-h.mean()).expand_as(h)),
        ],
    ),
    Formula(
        "scale",
        "xhat = x · r,   r = 1 / √(var + eps)",
        "dx = r · ( h - (x - mean) · r · mean(h · xhat) ),   h = weight · g",
        _variance,
        lambda x, eps: x / _std(x, eps),
        lambda x, xhat, h, of: [_itself(of["r"], h), _of_variance(of["r"], x, xhat, h)],
    ),
    Formula(
        "absolute_deviation",
        "xhat = (x - mean) · r,   r = 1 / √(dev² + eps),   dev = √(π/2) · mean of |x - mean|",
        "dx = r · ( h - mean(h) - k · (s - mean(s)) · mean(h · xhat) ),   s = sign(x - mean)",
        _absolute_deviation,
        lambda x, eps: (x - x.mean()) * _absolute_deviation(x, eps)["r"],
        lambda x, xhat, h, of: [_itself(of["r"], h), _of_mean(of["r"], h), _of_deviation(of, x, xhat, h)],
    ),
)
"""The formulas of: BatchNorm, LayerNorm, GroupNorm and InstanceNorm (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3;
the closed form of the gradient is the usual one); RMSNorm and FRN (Zhang & Sennrich 2019, arXiv:1910.07467); BatchNorm
that only centers; BatchNorm that only divides; BatchNorm with the mean absolute deviation (Hoffer et al. 2018,
arXiv:1803.01814)."""


@dataclass(frozen=True)
class Fit:
    """A formula that gives a layer's output.

    Attributes:
        formula: The formula, one of `FORMULAS`.
        eps: The constant inside the root.
        floor: The threshold below which the layer cuts its output off; None: no threshold.
    """

    formula: Formula
    eps: float
    floor: float | None


def find_formula(
    examples: list[tuple[Tensor, Tensor]], weight: Tensor, bias: Tensor, eps_guesses: list[float]
) -> Fit | None:
    """Return the formula that leads from x to y in every example, or None.

    Args:
        examples: Values x of one statistic and the layer's outputs y for them, in float64; several, since one
            may fit by chance (at a variance of 1, a division by it changes nothing).
        weight: The scale that applies to each value.
        bias: The shift that applies to each value.
        eps_guesses: Values of eps to try, in this order.
    """
    for formula in FORMULAS:
        for eps in eps_guesses:
            guesses = [weight * formula.normalize(x, eps) + bias for x, _ in examples]
            if all(_equal(guess, y) for guess, (_, y) in zip(guesses, examples, strict=True)):
                return Fit(formula, eps, None)
            floor = min(float(y.min()) for _, y in examples)
            seen = sum(int((guess > floor).sum()) for guess in guesses)
            cut = [guess.clamp(min=floor) for guess in guesses]
            if seen >= 2 and all(_equal(guess, y) for guess, (_, y) in zip(cut, examples, strict=True)):
                return Fit(formula, eps, floor)
    return None


def _equal(guess: Tensor, y: Tensor) -> bool:
    """Return whether two outputs are equal in float64; tight enough to notice an eps of 1e-5 at a variance of 1."""
    return bool(torch.allclose(guess, y, rtol=1e-9, atol=1e-9))
