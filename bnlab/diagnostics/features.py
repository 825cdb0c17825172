"""How many directions a layer's features use, and how alike they make different images.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M values per unit,
D = U times positions.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.distributions import bounded
from bnlab.diagnostics.passes import Named

EXPLAINED = 0.99
"""Share of the variance that the intrinsic dimension explains, as in Delve."""


def _spectrum(a_UM: Tensor) -> Tensor:
    """Return the squared singular values of features, rising, as shares of their sum; NaN if a feature is not finite.

    Out of the smaller of the two Gram matrices, in float64: squaring halves the digits.
    """
    rows = a_UM.double() if a_UM.shape[0] <= a_UM.shape[1] else a_UM.double().T
    gram = rows @ rows.T
    is_finite = gram.isfinite().all()
    squares = torch.linalg.eigvalsh(torch.where(is_finite, gram, 0.0)).clamp_min(0.0)  # on NaN it would raise
    total = squares.sum()
    return torch.where(is_finite, squares / torch.where(total > 0, total, 1.0), torch.nan)


def spectra(seen: Observation) -> Named:
    """Return, per layer, its features' squared singular values as shares of their sum; not centered.

    Rows are images (for a convolution images and positions, at most 4,096 of them), columns units.
    """
    return seen.derived("spectra", lambda seen: {role: _spectrum(bounded(a)) for role, a in seen.activations.items()})


class EffectiveRank(Diagnostic):
    """How many directions a layer's features use.

        rank = exp(-sum p_i log p_i),    p_i = s_i^2 / sum s^2

    with s the singular values of the features, one row per image (for a convolution per image and position, at most
    4,096 of them), one column per unit; not centered.

    Unit:
        Directions, from 1 to the number of units.

    Reading:
        Near 1: all images get features along one line, and no linear layer behind can tell them apart. Without a norm
        it falls towards 1 with depth in a relu network at its initial weights.

    Cost:
        An eigenvalue problem per layer: 2 ms at 100 units, growing with their cube.

    Blind spots:
        Not centered: a large common mean counts as a direction and hides the others. Not more than the number of
        images. Squared singular values weigh large directions more than the s_i themselves do, which are in use too.

    Source:
        Roy & Vetterli 2007, "The effective rank", with p from squared singular values. Depth: Daneshmand et al. 2020.
    """

    name = "effective_rank"
    unit = "directions"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (1.5, 1e9)}
    too_low = "the features of all images lie along one line: the layer hardly tells them apart"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rank per layer."""
        return {role: torch.exp(torch.special.entr(p).sum()) for role, p in spectra(seen).items()}


class StableRank(Diagnostic):
    """How many directions a layer's features use, by the largest of them.

        rank = ||A||_F^2 / ||A||_2^2 = sum s^2 / max s^2

    with s the singular values of the features, as in `effective_rank`; not centered.

    Unit:
        Directions, from 1 to the number of units.

    Reading:
        As `effective_rank`, which it never exceeds by much; it says how far the first direction outweighs the rest.

    Cost:
        Shared with `effective_rank`.

    Blind spots:
        Those of `effective_rank`, more so: one large direction hides all others.

    Source:
        The usual definition; Lubana et al. 2021 track it for norms.
    """

    name = "stable_rank"
    unit = "directions"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the rank per layer."""
        return {role: 1 / p[-1] for role, p in spectra(seen).items()}


class IntrinsicDimRatio(Diagnostic):
    """What share of a layer's dimensions explains 99% of its variance.

        ratio = k / U,    the k largest eigenvalues of the covariance of the features sum to 99% of all

    What Delve calls "layer saturation"; in this project saturation is something else.

    Unit:
        Share of dimensions, 0 to 1.

    Reading:
        Low: the layer is wider than it needs to be on these data. High: every dimension is in use.

    Cost:
        An eigenvalue problem per layer: 2 ms at 100 units.

    Blind spots:
        Not more than the number of images over the number of units. Moves in steps of 1 / U.

    Source:
        Richter et al. 2020 and their package Delve.
    """

    name = "intrinsic_dim_ratio"
    unit = "share of dimensions"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per layer."""
        ratios = {}
        for role, a_NUS in seen.activations.items():
            a_UM = bounded(a_NUS).double()
            p = _spectrum(a_UM - a_UM.mean(1, keepdim=True)).flip(0)
            num_needed = (p.cumsum(0) < EXPLAINED).sum() + 1
            ratios[role] = torch.where(p.isnan().any(), torch.nan, num_needed / a_UM.shape[0])
        return ratios


class MeanCosine(Diagnostic):
    """How alike a layer makes different images: the mean cosine between the features of two of them.

        mean over i != j of <a_i, a_j> / (||a_i|| ||a_j||) = (||sum_i u_i||^2 - N) / (N (N - 1)),    u_i = a_i / ||a_i||

    with a_i all features of an image, positions included. An image whose features are all zero counts as a cosine of 0.

    Unit:
        Cosine, -1 to 1; never negative for an activation that is not.

    Reading:
        Near 1: the layer gives every image the same direction, and the signal is in the little that is left.

    Cost:
        Reads what the others read.

    Blind spots:
        Not centered: sigmoid outputs all have a common mean of 0.5, which alone makes it high.

    Source:
        Lubana et al. 2021 track it as their measure of collapse.
    """

    name = "mean_cosine"
    unit = "cosine"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (-1.0, 0.99)}
    too_high = "it gives nearly every image the same direction"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean cosine per layer."""
        return {role: _mean_cosine(a.flatten(1).float()) for role, a in seen.activations.items() if len(a) > 1}


def _mean_cosine(a_ND: Tensor) -> Tensor:
    length_N1 = torch.linalg.vector_norm(a_ND, dim=1, keepdim=True)
    unit_ND = a_ND / torch.where(length_N1 == 0, 1.0, length_N1)
    num_images, num_lit = len(a_ND), (length_N1 != 0).sum()
    common: Tensor = unit_ND.double().sum(0).square().sum()
    mean: Tensor = (common - num_lit) / (num_images * (num_images - 1))
    return mean
