"""The article's definitions of batch normalization, compared with closed forms that are written apart, in numpy.

Each law draws a random case (shape, offsets, scales, eps, momentum), computes it with bnlab's BatchNorm in float64 and
by the formula as the article has it, and returns the largest deviation, relative to what is computed.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bnlab.errors import ConfigError, did_you_mean
from bnlab.studies.dead_direction import DIRECTION_LAWS
from bnlab.studies.definition_cases import Array, Case, deviation, draw_case, rows_of, tensor_of

if TYPE_CHECKING:
    from bnlab.norms.batch import BatchNorm

SEEDS = range(10)
"""One random case each."""

USUAL_BATCH = 60
"""Rows of a batch in the experiment of Ioffe & Szegedy 2015, arXiv:1502.03167, section 4.1."""


def _trained(case: Case, *batches: Array) -> "BatchNorm":
    """Return the layer after it has seen these batches in training mode."""
    layer = case.layer()
    for batch in batches:
        layer(tensor_of(batch))
    return layer


def _batch_mean(rng: np.random.Generator) -> float:
    """S1. The mean is 1/N sum x: what a running mean holds that keeps nothing of the old value."""
    case = draw_case(rng)
    layer = case.layer()
    layer.momentum = 0.0
    layer(tensor_of(case.x))
    return deviation(layer.running_mean, case.mean, np.sqrt(case.variance))


def _biased_variance(rng: np.random.Generator) -> float:
    """S2. The variance is 1/N sum (x - mean)^2, not 1/(N - 1)."""
    case = draw_case(rng)
    layer = case.layer()
    layer.momentum = 0.0
    layer(tensor_of(case.x))
    return deviation(layer.running_var, case.variance, case.variance)


def _standardized(rng: np.random.Generator) -> float:
    """S3. xhat = (x - mean) / sqrt(s2 + eps); its variance is therefore s2 / (s2 + eps), not 1."""
    case = draw_case(rng)
    y = rows_of(
        Case(case.x, np.ones_like(case.gamma), np.zeros_like(case.beta), case.eps, 0.9).layer()(tensor_of(case.x))
    )
    expected = case.variance / (case.variance + case.eps)
    return max(deviation(y, case.standardized), deviation((y * y).sum(0) / len(y), expected, expected))


def _scale_and_shift(rng: np.random.Generator) -> float:
    """S4. y = gamma xhat + beta, and backpropagation has the gradients of gamma, beta and x.

    With g the gradient of y: that of gamma is sum g xhat, that of beta sum g, and that of x, as mean and variance
    depend on x too, gamma / sqrt(s2 + eps) (g - mean(g) - xhat mean(g xhat)).
    """
    case = draw_case(rng)
    layer, x = case.layer(), tensor_of(case.x).requires_grad_()
    slope = rng.standard_normal(case.x.shape)
    y = layer(x)
    y.backward(tensor_of(slope))
    g, xhat = rows_of(slope), case.standardized
    assert layer.weight is not None
    assert layer.bias is not None
    along = g - g.mean(0) - xhat * (g * xhat).mean(0)
    return max(
        deviation(rows_of(y), case.gamma * xhat + case.beta),
        deviation(layer.weight.grad, (g * xhat).sum(0)),
        deviation(layer.bias.grad, g.sum(0)),
        deviation(
            rows_of(x.grad) * np.sqrt(case.variance + case.eps), case.gamma * along, np.abs(case.gamma * g).max(0)
        ),
    )


def _undone(case: Case, other: Array) -> tuple[Array, Array]:
    """Return rows of y and x of another batch, behind a layer whose scale and shift undo it on the case's batch."""
    undoing = Case(case.x, np.sqrt(case.variance + case.eps), case.mean, case.eps, case.momentum)
    return rows_of(undoing.layer()(tensor_of(other))), rows_of(other)


def _undone_on_its_batch(rng: np.random.Generator) -> float:
    """S5. gamma = sqrt(s2 + eps) and beta = mean give y = x, for the batch that has this mean and this variance."""
    case = draw_case(rng)
    y, x = _undone(case, case.x)
    return deviation(y, x, np.sqrt(case.variance))


def _undone_on_another_batch(rng: np.random.Generator) -> float:
    """S5, for the next batch: the root mean square of y - x, in standard deviations of the data.

    gamma and beta are constants, mean and variance are those of each batch: y is not x. For batches of m values from
    one normal distribution, about sqrt(3 / m): 0.22 at 60.
    """
    x, other = rng.standard_normal((2, USUAL_BATCH, 100))
    case = Case(x, np.ones(100), np.zeros(100), 1e-5, 0.9)
    y, x = _undone(case, other)
    return float(np.sqrt(np.mean((y - x) ** 2)))


def _plain_standardization(rng: np.random.Generator) -> float:
    """S6. gamma = 1 and beta = 0, which a new layer has, leave xhat as it is."""
    from bnlab.norms.batch import BatchNorm  # noqa: PLC0415  (studies are listed without torch)

    case = draw_case(rng)
    new = BatchNorm(len(case.gamma), eps=case.eps).double()
    return deviation(rows_of(new(tensor_of(case.x))), case.standardized)


def _batches(rng: np.random.Generator) -> tuple[Case, list[Case], Array]:
    """Return a case, batches of the same shape, and the weight of each in a running average: the rest is the start's.

    After K batches the value at the start weighs m^K, and batch k weighs (1 - m) m^(K - k).
    """
    case = draw_case(rng)
    number = int(rng.integers(1, 6))
    batches = [Case(case.x + rng.standard_normal(case.x.shape), *_numbers(case)) for _ in range(number)]
    weights = np.array([(1 - case.momentum) * case.momentum ** (number - k) for k in range(1, number + 1)])
    return case, batches, weights


def _numbers(case: Case) -> tuple[Array, Array, float, float]:
    return case.gamma, case.beta, case.eps, case.momentum


def _running_average(rng: np.random.Generator) -> float:
    """S7. running = momentum running + (1 - momentum) batch: momentum 0.9 keeps 0.9 of the old value.

    The running mean begins at 0. PyTorch's momentum is the share of the new value.
    """
    case, batches, weights = _batches(rng)
    layer = _trained(case, *(batch.x for batch in batches))
    return deviation(layer.running_mean, weights @ np.array([batch.mean for batch in batches]))


def _running_variance_is_biased(rng: np.random.Generator) -> float:
    """S8. The running variance, which begins at 1, averages the biased variance of the batches.

    PyTorch and Ioffe & Szegedy average m/(m - 1) times as much.
    """
    case, batches, weights = _batches(rng)
    layer = _trained(case, *(batch.x for batch in batches))
    expected = case.momentum ** len(batches) + weights @ np.array([batch.variance for batch in batches])
    return deviation(layer.running_var, expected, expected)


def _evaluation_by_running_statistics(rng: np.random.Generator) -> float:
    """S9. Evaluation takes the running mean and variance, and the same gamma and beta; no sample sees its neighbors."""
    case = draw_case(rng)
    mean, variance = case.mean + rng.standard_normal(len(case.gamma)), case.variance * rng.uniform(0.5, 2)
    layer = case.layer().eval()
    layer.running_mean, layer.running_var = tensor_of(mean), tensor_of(variance)
    y = layer(tensor_of(case.x))
    expected = case.gamma * (rows_of(case.x) - mean) / np.sqrt(variance + case.eps) + case.beta
    order = rng.permutation(len(case.x))
    together = y.detach().numpy()
    return max(
        deviation(rows_of(y), expected, np.abs(expected).max(0)),
        *(deviation(layer(tensor_of(case.x[n : n + 1])), together[n : n + 1]) for n in range(len(case.x))),
        deviation(layer(tensor_of(case.x[order])), together[order]),
        deviation(layer.running_mean, mean),
        deviation(layer.running_var, variance),
    )


def _per_channel_over_images_and_places(rng: np.random.Generator) -> float:
    """S10. For images (N, C, H, W): one mean, variance, gamma and beta per channel, over N, H, W; the shape stays."""
    case = draw_case(rng, num_axes=2)
    layer = case.layer()
    expected = np.empty_like(case.x)
    for c in range(case.x.shape[1]):
        values = case.x[:, c].ravel()
        mean = math.fsum(values) / len(values)
        variance = math.fsum((values - mean) ** 2) / len(values)
        expected[:, c] = case.gamma[c] * (case.x[:, c] - mean) / math.sqrt(variance + case.eps) + case.beta[c]
    if {tuple(parameter.shape) for parameter in layer.parameters()} != {(case.x.shape[1],)}:
        return math.inf
    return deviation(layer(tensor_of(case.x)), expected)


def _single_sample_is_its_bias(rng: np.random.Generator) -> float:
    """S24. By its own statistics a single row is x - x = 0 in each channel: whatever x was, y is beta.

    bnlab's layer refuses such a batch in training mode, since it says nothing; what the formula gives is measured below
    the layer, and by the layer on the same row twice. A layer that takes the row in silence deviates by 1 at least.
    """
    from bnlab.norms.batch_formula import normalize_batch  # noqa: PLC0415  (studies are listed without torch)

    case = draw_case(rng, num_axes=0)
    row, layer = case.x[:1], case.layer()
    y, _, _ = normalize_batch(tensor_of(row), layer.weight, layer.bias, case.eps)
    twice = layer(tensor_of(np.concatenate([row, row])))
    unit = np.abs(case.gamma)
    found = max(deviation(y, case.beta[None], unit), deviation(twice, np.stack([case.beta] * 2), unit))
    try:
        layer(tensor_of(row))
    except ConfigError:
        return found
    return max(found, 1.0)


LAWS: dict[str, Callable[[np.random.Generator], float]] = {
    "batch_mean": _batch_mean,
    "biased_variance": _biased_variance,
    "standardized": _standardized,
    "scale_and_shift": _scale_and_shift,
    "undone_on_its_batch": _undone_on_its_batch,
    "undone_on_another_batch": _undone_on_another_batch,
    "plain_standardization": _plain_standardization,
    "running_average": _running_average,
    "running_variance_is_biased": _running_variance_is_biased,
    "evaluation_by_running_statistics": _evaluation_by_running_statistics,
    "per_channel_over_images_and_places": _per_channel_over_images_and_places,
    "single_sample_is_its_bias": _single_sample_is_its_bias,
}
"""By the name that a study's condition has."""


KNOWN = (*LAWS, *DIRECTION_LAWS)
"""The names that a condition's law may have."""


def norm_of(name: str) -> str:
    """Return the norm that a law is about.

    Args:
        name: One of LAWS, or of the laws of directions.
    """
    return name.rpartition("_")[2] if name in DIRECTION_LAWS else "batch"


def deviations(name: str, seeds: Sequence[int] = SEEDS) -> list[float]:
    """Return how far bnlab's BatchNorm is from a definition, once for each seed.

    Args:
        name: One of LAWS, or of the laws of directions.
        seeds: Each draws a case of its own.

    Returns:
        Relative deviations, at least 0; inf where a value is not finite or has another shape.

    Raises:
        ConfigError: No law has this name.

    Example:
        >>> max(deviations("batch_mean")) < 1e-5
        True
    """
    known = {**LAWS, **DIRECTION_LAWS}
    if name not in known:
        raise ConfigError(f"a condition's law must be one of the definitions, got {name}. {did_you_mean(name, known)}")
    own = zlib.crc32(name.encode())
    return [known[name](np.random.default_rng([seed, own])) for seed in seeds]
