"""Ranks and cosines of features, held against NumPy's singular values and a loop over pairs."""

import math

import numpy as np
import pytest
import torch
from watched import by_unit, measured, network, probe, seen, stored

from bnlab.diagnostics.features import EffectiveRank, IntrinsicDimRatio, MeanCosine, StableRank

CASES = [(m, n, a) for m in ("mlp", "cnn") for n in ("batch", "layer", "none") for a in ("relu", "sigmoid")]


def at(kind, a):
    """Return what a diagnostic says of a layer that gives a: relu of itself, where nothing is negative."""
    look = seen("relu", a)
    look.activations["x"] = a
    return kind().measure(look)["x"].item()


@pytest.mark.parametrize(("model", "norm", "activation"), CASES)
def test_all_are_those_of_stored_activations(model, norm, activation):
    net, batch = network(model, activation, norm), probe(activation)
    names = ("effective_rank", "stable_rank", "intrinsic_dim_ratio", "mean_cosine")
    rank, stable, dims, cosine = (measured(name, net, batch) for name in names)
    for role, (_, a) in stored(net, batch.inputs).items():
        rows = by_unit(a)
        squares = np.linalg.svd(rows, compute_uv=False) ** 2
        p = squares / squares.sum()
        assert rank[role] == pytest.approx(np.exp(-(p * np.log(np.maximum(p, 1e-300))).sum()), rel=1e-4)
        assert stable[role] == pytest.approx(squares.sum() / squares.max(), rel=1e-4)
        eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(rows, bias=True)))[::-1]
        needed = np.searchsorted(np.cumsum(eigenvalues) / eigenvalues.sum(), 0.99) + 1
        assert dims[role] == pytest.approx(needed / len(rows), rel=1e-6)
        assert cosine[role] == pytest.approx(brute_cosine(a.reshape(len(a), -1)), abs=1e-5)


def brute_cosine(rows):
    lengths = np.linalg.norm(rows, axis=1)
    cosines = [
        0.0 if lengths[i] * lengths[j] == 0 else rows[i] @ rows[j] / (lengths[i] * lengths[j])
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j
    ]
    return np.mean(cosines)


@pytest.mark.parametrize("num_directions", [1, 2, 5])
def test_directions_of_equal_strength_are_counted(num_directions):
    a = torch.zeros(20, 8)
    for image in range(20):
        a[image, image % num_directions] = 3.0
    assert at(EffectiveRank, a) == pytest.approx(num_directions, rel=1e-6)
    assert at(StableRank, a) == pytest.approx(num_directions, rel=1e-6)


def test_more_units_than_images_have_no_more_directions_than_images():
    a = torch.rand((4, 100), generator=torch.Generator().manual_seed(0)) - 0.5
    assert 1 < at(EffectiveRank, a) <= 4 + 1e-9


def test_a_layer_that_gives_every_image_the_same_has_one_direction_and_cosine_1():
    a = torch.rand(6, generator=torch.Generator().manual_seed(0)).expand(10, 6)
    assert at(EffectiveRank, a) == pytest.approx(1, abs=1e-6)
    assert at(MeanCosine, a) == pytest.approx(1, abs=1e-6)


def test_orthogonal_features_have_cosine_0_and_those_that_are_zero_too():
    assert at(MeanCosine, torch.eye(5)) == pytest.approx(0, abs=1e-7)
    half_dark = torch.zeros(4, 3)
    half_dark[:2] = 1.0
    assert at(MeanCosine, half_dark) == pytest.approx(2 / 12)


@pytest.mark.parametrize("kind", [EffectiveRank, StableRank, IntrinsicDimRatio, MeanCosine])
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_shows_and_does_not_raise(kind, odd):
    a = torch.rand(6, 4)
    a[2, 1] = odd
    assert not math.isfinite(at(kind, a))


def test_a_layer_that_is_dark_has_no_direction_and_does_not_raise():
    a = torch.zeros(6, 4)
    assert math.isfinite(at(EffectiveRank, a))
    assert at(MeanCosine, a) == 0
