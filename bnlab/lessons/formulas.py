"""The normalization formulas that lessons know, forward and backward, each gradient written as a sum of terms.

A lesson uses the formula that gives the layer's output, whatever the layer declares.

Letters: x the values that share a statistic, m their number, g the gradient of the output, h = weight * g the gradient
of xhat.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

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


def _itself(r: float, h: Tensor) -> Term:
    return Term("itself", "r · h", "the gradient itself", r * h)


def _of_mean(r: float, h: Tensor) -> Term:
    return Term("mean", "-r · mean(h)", "minus what would move the mean", (-r * h.mean()).expand_as(h))


def _of_spread(name: str, r: float, xhat: Tensor, h: Tensor) -> Term:
    return Term(name, "-r · xhat · mean(h · xhat)", f"minus what would move the {name}", -r * xhat * (h * xhat).mean())


class Formula(ABC):
    """A normalization: x -> xhat, and its gradient: h -> dx.

    Attributes:
        name: Name of the formula, as in `Story.name` of an example.
        forward_text: The formula of xhat.
        backward_text: The formula of dx.
    """

    name: ClassVar[str]
    forward_text: ClassVar[str]
    backward_text: ClassVar[str]

    @abstractmethod
    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:
        """Return the statistics of x by name, in the order in which they are computed; ``r`` last."""

    @abstractmethod
    def normalize(self, x: Tensor, eps: float) -> Tensor:
        """Return xhat."""

    @abstractmethod
    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the summands of dx, signs included."""


class Standardize(Formula):
    """Mean 0 and variance 1: BatchNorm, LayerNorm, GroupNorm, InstanceNorm.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, section 3; the closed form is the usual one.
    """

    name = "standardize"
    forward_text = "xhat = (x - mean) · r,   r = 1 / √(var + eps)"
    backward_text = "dx = r · ( h - mean(h) - xhat · mean(h · xhat) ),   h = weight · g"

    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:
        """Return mean, biased variance and r."""
        var = float(x.var(correction=0))
        return {"mean": float(x.mean()), "var": var, "r": 1 / math.sqrt(var + eps)}

    def normalize(self, x: Tensor, eps: float) -> Tensor:
        """Return (x - mean) r."""
        return (x - x.mean()) / (x.var(correction=0) + eps).sqrt()

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the gradient itself, what moves the mean, what moves the spread."""
        xhat, r = self.normalize(x, eps), self.statistics(x, eps)["r"]
        return [_itself(r, h), _of_mean(r, h), _of_spread("spread", r, xhat, h)]


class RootMeanSquare(Formula):
    """Mean square 1, not centered: RMSNorm, FRN.

    Source:
        Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    name = "root_mean_square"
    forward_text = "xhat = x · r,   r = 1 / √(ms + eps),   ms = mean of x²"
    backward_text = "dx = r · ( h - xhat · mean(h · xhat) ),   h = weight · g"

    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:
        """Return the mean square and r."""
        ms = float(x.square().mean())
        return {"ms": ms, "r": 1 / math.sqrt(ms + eps)}

    def normalize(self, x: Tensor, eps: float) -> Tensor:
        """Return x r."""
        return x / (x.square().mean() + eps).sqrt()

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the gradient itself and what moves the scale."""
        xhat, r = self.normalize(x, eps), self.statistics(x, eps)["r"]
        return [_itself(r, h), _of_spread("scale", r, xhat, h)]


class Center(Formula):
    """Mean 0, and the scale unchanged."""

    name = "center"
    forward_text = "xhat = x - mean"
    backward_text = "dx = h - mean(h),   h = weight · g"

    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:  # noqa: ARG002
        """Return the mean; nothing is rescaled, so r is 1."""
        return {"mean": float(x.mean()), "r": 1.0}

    def normalize(self, x: Tensor, eps: float) -> Tensor:  # noqa: ARG002
        """Return x - mean."""
        return x - x.mean()

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:  # noqa: ARG002
        """Return the gradient itself and what moves the mean."""
        return [
            Term("itself", "h", "the gradient itself", h),
            Term("mean", "-mean(h)", "minus what would move the mean", (-h.mean()).expand_as(h)),
        ]


class Scale(Formula):
    """Variance 1, and the mean not subtracted."""

    name = "scale"
    forward_text = "xhat = x · r,   r = 1 / √(var + eps)"
    backward_text = "dx = r · ( h - (x - mean) · r · mean(h · xhat) ),   h = weight · g"

    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:
        """Return mean, biased variance and r."""
        return Standardize().statistics(x, eps)

    def normalize(self, x: Tensor, eps: float) -> Tensor:
        """Return x r."""
        return x / (x.var(correction=0) + eps).sqrt()

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the gradient itself and what moves the spread."""
        r = self.statistics(x, eps)["r"]
        spread = -r * r * (x - x.mean()) * (h * self.normalize(x, eps)).mean()
        return [
            _itself(r, h),
            Term("spread", "-r² · (x - mean) · mean(h · xhat)", "minus what would move the spread", spread),
        ]


class AbsoluteDeviation(Formula):
    """Mean 0, divided by the mean absolute deviation in place of the standard deviation.

    Source:
        Hoffer et al. 2018, arXiv:1803.01814.
    """

    name = "absolute_deviation"
    forward_text = "xhat = (x - mean) · r,   r = 1 / √(dev² + eps),   dev = √(π/2) · mean of |x - mean|"
    backward_text = "dx = r · ( h - mean(h) - k · (s - mean(s)) · mean(h · xhat) ),   s = sign(x - mean)"

    def statistics(self, x: Tensor, eps: float) -> dict[str, float]:
        """Return mean, deviation and r."""
        deviation = NORMAL_SPREAD * float((x - x.mean()).abs().mean())
        return {"mean": float(x.mean()), "dev": deviation, "r": 1 / math.sqrt(deviation**2 + eps)}

    def normalize(self, x: Tensor, eps: float) -> Tensor:
        """Return (x - mean) r."""
        return (x - x.mean()) * self.statistics(x, eps)["r"]

    def terms(self, x: Tensor, h: Tensor, eps: float) -> list[Term]:
        """Return the gradient itself, what moves the mean, what moves the spread; dr/ddev = -r^3 dev."""
        found, sign = self.statistics(x, eps), (x - x.mean()).sign()
        r = found["r"]
        inner = NORMAL_SPREAD * found["dev"] * r * (sign - sign.mean())
        return [
            _itself(r, h),
            _of_mean(r, h),
            Term(
                "spread",
                "-r · k · (s - mean(s)) · mean(h · xhat)",
                "minus what would move the spread; k = √(π/2) · dev · r",
                -r * inner * (h * self.normalize(x, eps)).mean(),
            ),
        ]


FORMULAS: tuple[Formula, ...] = (Standardize(), RootMeanSquare(), Center(), Scale(), AbsoluteDeviation())


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
