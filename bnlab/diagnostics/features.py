"""How many directions a layer's features use, and how similar the features of different images are.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M values per unit,
D = U times positions.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.by_unit import PART, bounded, wide_type, zero_or_nan
from bnlab.diagnostics.diagnostic import Observation, OfActivations, Ranges
from bnlab.diagnostics.passes import Named

EXPLAINED = 0.99
"""Share of the variance that the intrinsic dimension explains, as in Delve."""


NOISE = 1e-12
"""A variance below this share of the mean square is a rounding error of float32: the features are constant."""


def _spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues as shares of their sum, rising, and their sum; NaN if an entry is not finite."""
    is_finite = gram.isfinite().all()
    gram = torch.where(is_finite, gram, 0.0)  # on NaN, eigvalsh would raise
    values = torch.linalg.eigvalsh(gram.cpu() if gram.device.type == "mps" else gram).clamp_min(0.0).to(gram.device)
    total = values.sum()
    odd = torch.where(is_finite, 0.0, torch.nan)
    return values / torch.where(total > 0, total, 1.0) + odd, total + odd


def _features(seen: Observation) -> Named:
    """Return each layer's features by unit, (U, M), in a wide type, since squaring halves the number of digits."""
    return seen.derived(
        "features by unit", lambda seen: {role: bounded(a).to(wide_type(a)) for role, a in seen.activations.items()}
    )


def _gram(a_UM: Tensor) -> Tensor:
    """Return the smaller of the two Gram matrices: both have the same eigenvalues, except zeros."""
    num_units, num_values = a_UM.shape
    gram: Tensor = a_UM @ a_UM.T if num_units <= num_values else a_UM.T @ a_UM
    return gram


def _grams(seen: Observation) -> Named:
    return seen.derived("grams", lambda seen: {role: _gram(a_UM) for role, a_UM in _features(seen).items()})


def _centered_gram(a_UM: Tensor, gram: Tensor, mean_U: Tensor) -> Tensor:
    num_units, num_values = a_UM.shape
    if num_units > num_values:
        return _gram(a_UM - mean_U[:, None])
    return gram - num_values * torch.outer(mean_U, mean_U)  # saves a product; its rounding is below `NOISE`


def spectra(seen: Observation) -> Named:
    """Return, per layer, its features' squared singular values as shares of their sum, rising; not centered.

    Rows are images (for a convolution images and positions, at most 4,096 of them), columns units. All 0 if the layer
    gives only zeros.
    """
    odd = zero_or_nan(seen)
    return seen.derived(
        "spectra", lambda seen: {role: _spectrum(gram)[0] + odd[role] for role, gram in _grams(seen).items()}
    )


class EffectiveRank(OfActivations):
    """The number of directions that a layer's features use.

        rank = exp(-sum p_i log p_i),    p_i = s_i^2 / sum s^2

    with s the singular values of the features, one row per image (for a convolution per image and position, at most
    4,096 of them), one column per unit; not centered.

    Unit:
        Directions, from 1 to the number of units; 0 for a layer that gives nothing but zeros.

    Reading:
        Near 1: the features of all images lie on one line, and later layers can hardly tell the images apart. Without
        a norm, it falls towards 1 with depth in a relu network at its initial weights.

    Cost:
        No pass of its own, but an eigenvalue problem per layer: 0.7 ms at 100 units, growing with their cube.

    Blind spots:
        Features are not centered: a large common mean counts as a direction and hides the others. The outputs of a
        sigmoid have such a mean: a healthy layer has a value near 2.5. The value cannot exceed the number of images.
        Squared singular values give large directions more weight than singular values, which other authors use.

    Source:
        Roy & Vetterli 2007, "The effective rank", with p from squared singular values. Depth: Daneshmand et al. 2020.
    """

    name = "effective_rank"
    unit = "directions"
    cost = "extra"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (1.5, 1e9)}
    too_low = "the features of all images lie along one line: the layer hardly tells them apart"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rank per layer."""
        # a sum of 0 is a layer of zeros, whose entropy of 0 would look like one direction
        return {role: torch.exp(torch.special.entr(p).sum()) * p.sum().round() for role, p in spectra(seen).items()}


class StableRank(OfActivations):
    """The number of directions that a layer's features use, relative to the largest of them.

        rank = ||A||_F^2 / ||A||_2^2 = sum s^2 / max s^2

    with s the singular values of the features, as in `effective_rank`; not centered.

    Unit:
        Directions, from 1 to the number of units; 0 for a layer that gives nothing but zeros.

    Reading:
        Like `effective_rank`, but usually smaller; it shows how much the first direction dominates the others.

    Cost:
        Shared with `effective_rank`.

    Blind spots:
        Those of `effective_rank`, but stronger: one large direction hides all others.

    Source:
        The usual definition; Lubana et al. 2021 track it for norms.
    """

    name = "stable_rank"
    unit = "directions"
    cost = "extra"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rank per layer."""
        return {role: torch.where(p[-1] == 0, 0.0, 1 / p[-1]) for role, p in spectra(seen).items()}


class IntrinsicDimRatio(OfActivations):
    """The share of a layer's dimensions that explains 99% of its variance.

        ratio = k / U,    the k largest eigenvalues of the covariance of the features sum to 99% of all

    Delve calls this "layer saturation"; in bnlab, saturation is something else.

    Unit:
        Share of dimensions, 0 to 1; 0 if the layer gives the same for every image.

    Reading:
        Low: the layer is wider than these data need. High: every dimension is used.

    Cost:
        No pass of its own, but an eigenvalue problem per layer: 0.7 ms at 100 units, growing with their cube.

    Blind spots:
        The value cannot exceed the number of images over the number of units. It changes in steps of 1 / U.

    Source:
        Richter et al. 2020 and their package Delve.
    """

    name = "intrinsic_dim_ratio"
    unit = "share of dimensions"
    cost = "extra"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per layer."""
        odd, grams = zero_or_nan(seen), _grams(seen)
        return {role: _dim_ratio(a_UM, grams[role]) + odd[role] for role, a_UM in _features(seen).items()}


def _dim_ratio(a_UM: Tensor, gram: Tensor) -> Tensor:
    num_units, num_values = a_UM.shape
    mean_U = a_UM.mean(1)
    p, variance = _spectrum(_centered_gram(a_UM, gram, mean_U))
    num_left_out = (p.cumsum(0) <= 1 - EXPLAINED).sum()  # the smallest ones, which together are not needed
    least = NOISE * num_values * mean_U.square().sum()
    return torch.where(variance > least, len(p) - num_left_out, 0) / num_units + 0 * variance


class MeanCosine(OfActivations):
    """The mean cosine between the features of two different images: how similar a layer makes them.

        mean over i != j of <a_i, a_j> / (||a_i|| ||a_j||) = (||sum_i u_i||^2 - N) / (N (N - 1)),    u_i = a_i / ||a_i||

    with a_i all features of an image, positions included. An image whose features are all zero counts as a cosine of 0.

    Unit:
        Cosine, -1 to 1; never negative for an activation that is never negative.

    Reading:
        Near 1: the features of all images point in nearly the same direction, and only small differences carry
        information.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Features are not centered: sigmoid outputs have a common mean of about 0.5, which alone gives a high value.

    Source:
        Lubana et al. 2021 track it as their measure of collapse.
    """

    name = "mean_cosine"
    unit = "cosine"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (-1.0, 0.99)}
    too_high = "the features of nearly all images point in the same direction"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean cosine per layer."""
        odd = zero_or_nan(seen)
        return {role: _mean_cosine(a.flatten(1)) + odd[role] for role, a in seen.activations.items() if len(a) > 1}


def _mean_cosine(a_ND: Tensor) -> Tensor:
    num_images = len(a_ND)
    largest = torch.maximum(a_ND.amax(), -a_ND.amin())
    scale = torch.where(
        largest > 0, largest, 1.0
    )  # else the squares of small features would be 0, and those of large ones infinite
    common_D, num_nonzero = torch.zeros_like(a_ND[0]), torch.zeros_like(largest)
    for part_ND in torch.split(a_ND, max(1, PART // a_ND.shape[1])):
        scaled_ND = part_ND / scale
        length_N = torch.linalg.vector_norm(scaled_ND, dim=1)
        is_nonzero_N = length_N > 0
        common_D = common_D + torch.where(is_nonzero_N, 1 / length_N, 0.0) @ scaled_ND
        num_nonzero = num_nonzero + is_nonzero_N.sum()
    mean: Tensor = (common_D.to(wide_type(a_ND)).square().sum() - num_nonzero) / (num_images * (num_images - 1))
    return mean
