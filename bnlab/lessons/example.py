"""A numerical example of a norm: the values of its first statistic, forward and backward.

All numbers are float64. The output y and the gradient dx come from the layer and from autograd. The steps in between
(mean, xhat, the terms of dx) come from the formula that fits the layer, and both ways are compared.
"""

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlab.lessons.formulas import Fit, Term, find_formula
from bnlab.lessons.sharing import Sharing, gradient, run_layer, samples_of

MAX_VALUES = 8
"""Largest number of values in the table of an example; more do not fit on a page."""

SMALL_SHAPE = (4, 3)
SMALL_INPUT = ((1.0, 70.0, 0.3), (9.0, 10.0, 0.9), (3.0, 10.0, 0.1), (3.0, -10.0, 0.3))
"""Three channels of different scale: mean 4, 20, 0.4 and standard deviation 3, 30, 0.3."""

SMALL_GRADIENT = ((1.0, 0.5, -1.0), (-1.0, 1.0, 0.0), (2.0, 0.0, 1.0), (0.0, -0.5, 2.0))

WEIGHTS, BIASES = (2.0, 1.0, 0.5), (-1.0, 0.0, 1.0)
"""Scales and shifts of the channels in turn, so that y differs from xhat; a new layer has 1 and 0."""


@dataclass(frozen=True)
class Value:
    """One value of the first statistic, with its output and gradients.

    Attributes:
        place: The index of the value in the input.
        x: The value in the input.
        xhat: The normalized value; None if no known formula fits the layer.
        y: The layer's output in training mode.
        g: The gradient of y, which the lesson chooses.
        h: The gradient of xhat: weight * g, and 0 where a threshold cuts the output off; None if no known formula fits.
        terms: The summands of dx; empty if no known formula fits.
        dx: The gradient of x, by autograd through the layer.
    """

    place: tuple[int, ...]
    x: float
    xhat: float | None
    y: float
    g: float
    h: float | None
    terms: tuple[float, ...]
    dx: float


@dataclass(frozen=True)
class TermText:
    """One summand of dx.

    Attributes:
        name: Name of the summand: ``itself``, ``mean``, ``spread`` or ``scale``.
        formula: The summand in the letters of `bnlab.lessons.formulas`.
        meaning: What the summand does, in words.
        share: Euclidean norm of the summand over that of dx: the relative error of dx without it.
        stopped: Whether the layer's own gradient lacks the summand, since a statistic is detached.
    """

    name: str
    formula: str
    meaning: str
    share: float
    stopped: bool


@dataclass(frozen=True)
class Story:
    """The formula that fits the layer, applied to the first statistic.

    Attributes:
        name: Name of the formula: ``standardize``, ``root_mean_square``, ``center``, ``scale`` or
            ``absolute_deviation``.
        forward_text: The formula of xhat.
        backward_text: The formula of dx.
        statistics: Name -> value, in the order in which they are computed.
        eps: The constant inside the root.
        floor: The threshold below which the output is cut off; None: no threshold.
        terms: The summands of dx.
        forward_gap: Largest difference between the formula's output and the layer's, over all values of the statistic.
        backward_gap: Largest difference between the sum of the terms and autograd's dx.
        sum_dx: Sum of dx over all values of the statistic; 0 if a mean is subtracted.
        sum_dx_xhat: Sum of dx * xhat over all values; 0 except for eps if the formula divides by a spread.
    """

    name: str
    forward_text: str
    backward_text: str
    statistics: dict[str, float]
    eps: float
    floor: float | None
    terms: tuple[TermText, ...]
    forward_gap: float
    backward_gap: float
    sum_dx: float
    sum_dx_xhat: float


@dataclass(frozen=True)
class Example:
    """The values of the first statistic, or of the first channel if no set of values has a statistic of its own.

    Attributes:
        weight: Scale of the first channel; None: the layer has no scale.
        bias: Shift of the first channel; None: the layer has no shift.
        num_values: Number of values of the statistic.
        values: The values in the table: all, or `MAX_VALUES` of them, evenly spaced.
        story: The formula that fits; None if no known formula does.
    """

    weight: float | None
    bias: float | None
    num_values: int
    values: tuple[Value, ...]
    story: Story | None


def example_input(shape: tuple[int, ...]) -> Tensor:
    """Return the input of a lesson: chosen by hand for the small shape, else random and rounded to one decimal.

    Example:
        >>> example_input((4, 3))[:, 0]
        tensor([1., 9., 3., 3.], dtype=torch.float64)
    """
    if shape == SMALL_SHAPE:
        return torch.tensor(SMALL_INPUT, dtype=torch.float64)
    scale = _per_channel((2.0, 5.0, 1.0), shape)
    offset = _per_channel((4.0, -3.0, 1.0, 0.0), shape)
    return (_random(shape, seed=0) * scale + offset).round(decimals=1)


def example_gradient(shape: tuple[int, ...]) -> Tensor:
    """Return the gradient of the output in a lesson."""
    if shape == SMALL_SHAPE:
        return torch.tensor(SMALL_GRADIENT, dtype=torch.float64)
    return _random(shape, seed=1).round(decimals=1)


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _repeated(values: tuple[float, ...], count: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[torch.arange(count) % len(values)]


def _per_channel(values: tuple[float, ...], shape: tuple[int, ...]) -> Tensor:
    return _repeated(values, shape[1]).view(-1, *(1 for _ in shape[2:]))


def set_scale_and_shift(layer: nn.Module) -> None:
    """Set each channel's scale and shift to values other than 1 and 0, if the layer has them."""
    with torch.no_grad():
        for name, choice in (("weight", WEIGHTS), ("bias", BIASES)):
            values = getattr(layer, name, None)
            if isinstance(values, nn.Parameter) and values.dim() >= 1:
                values.copy_(_repeated(choice, values.numel()).view_as(values))


def work_through(layer: nn.Module, x: Tensor, g: Tensor, sharing: Sharing) -> Example:
    """Return the numerical example of a norm.

    Args:
        layer: The norm in float64; it is not changed.
        x: The input (N, C, *S) in float64.
        g: The gradient of the output, in the shape of x.
        sharing: The sharing of statistics in this layer at this shape, from `find_sharing`.
    """
    inputs = x.clone().requires_grad_()
    y = run_layer(copy.deepcopy(layer), inputs)
    dx = gradient(y, inputs, g)
    shares = sharing.num_statistics > 0
    mask = torch.zeros(x.shape, dtype=torch.bool)
    if shares:  # the first statistic starts at the first index of each axis
        mask[tuple(slice(axis.shared) for axis in sharing.axes)] = True
    else:  # each value is normalized by itself: show one channel
        mask[:, 0] = True
    places = mask.nonzero().tolist()
    block = _Block(
        *(values[mask] for values in (x, y.detach(), g, dx, _of(layer, "weight", 1.0, x), _of(layer, "bias", 0.0, x)))
    )
    fit = None
    if shares:
        other = 1 + 3 * _random(tuple(x.shape), seed=2)
        with torch.no_grad():
            other_y = run_layer(copy.deepcopy(layer), other)
        examples = [(block.x, block.y), (other[mask], other_y[mask])]
        fit = find_formula(examples, block.weight, block.bias, _eps_guesses(layer))
    story, xhat, h, terms = _tell(block, fit) if fit else (None, None, None, [])
    values = tuple(
        Value(
            place=tuple(places[i]),
            x=float(block.x[i]),
            xhat=None if xhat is None else float(xhat[i]),
            y=float(block.y[i]),
            g=float(block.g[i]),
            h=None if h is None else float(h[i]),
            terms=tuple(float(term.values[i]) for term in terms),
            dx=float(block.dx[i]),
        )
        for i in samples_of(len(places), MAX_VALUES)
    )
    return Example(
        weight=float(block.weight[0]) if isinstance(getattr(layer, "weight", None), Tensor) else None,
        bias=float(block.bias[0]) if isinstance(getattr(layer, "bias", None), Tensor) else None,
        num_values=len(places),
        values=values,
        story=story,
    )


@dataclass(frozen=True)
class _Block:
    x: Tensor
    y: Tensor
    g: Tensor
    dx: Tensor
    weight: Tensor
    bias: Tensor


def _tell(block: _Block, fit: Fit) -> tuple[Story, Tensor, Tensor, list[Term]]:
    """Return the applied formula, with xhat, h and the terms for all values of the statistic."""
    formula, eps = fit.formula, fit.eps
    xhat = formula.normalize(block.x, eps)
    guess = block.weight * xhat + block.bias
    floor = -math.inf if fit.floor is None else fit.floor
    h = block.weight * block.g * (guess > floor)
    terms = formula.terms(block.x, h, eps)
    stopped = _stopped(terms, block.dx)
    length = float(_sum_of(terms).norm()) or 1.0
    story = Story(
        name=formula.name,
        forward_text=formula.forward_text,
        backward_text=formula.backward_text,
        statistics=formula.statistics(block.x, eps),
        eps=eps,
        floor=fit.floor,
        terms=tuple(
            TermText(t.name, t.formula, t.meaning, float(t.values.norm()) / length, t.name in stopped) for t in terms
        ),
        forward_gap=float((guess.clamp(min=floor) - block.y).abs().max()),
        backward_gap=float((_sum_of(terms, stopped) - block.dx).abs().max()),
        sum_dx=float(block.dx.sum()),
        sum_dx_xhat=float((block.dx * xhat).sum()),
    )
    return story, xhat, h, terms


def _sum_of(terms: list[Term], lacking: Collection[str] = ()) -> Tensor:
    return sum((term.values for term in terms if term.name not in lacking), torch.zeros(()))


def _stopped(terms: list[Term], dx: Tensor) -> set[str]:
    """Return the terms that a layer's own gradient lacks; none if leaving terms out does not explain it."""
    later = [term.name for term in terms[1:]]
    choices: list[set[str]] = [set(), *({name} for name in later), set(later)]
    fitting = (names for names in choices if torch.allclose(_sum_of(terms, names), dx, rtol=1e-9, atol=1e-9))
    return next(fitting, set())


def _of(layer: nn.Module, name: str, otherwise: float, x: Tensor) -> Tensor:
    """Return a layer's scale or shift for each value of the input."""
    values = getattr(layer, name, None)
    if not isinstance(values, Tensor) or values.numel() != x.shape[1]:
        return torch.full_like(x, otherwise)
    return values.detach().to(x.dtype).view(1, -1, *(1 for _ in x.shape[2:])).expand_as(x)


def _eps_guesses(layer: nn.Module) -> list[float]:
    """Return the layer's eps, or usual values for layers that have no such attribute."""
    eps = getattr(layer, "eps", None)
    if isinstance(eps, float | int | Tensor):
        return [abs(float(eps))]
    return [1e-5, 1e-6, 1e-8, 1e-12, torch.finfo(torch.float64).eps, 0.0]
