"""Ranks and cosines of features, held against NumPy's singular values and a loop over pairs."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from watched import by_unit, measured, network, probe, seen, stored

from bnlab.diagnostics import features
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


@folded("kind", [EffectiveRank, StableRank, IntrinsicDimRatio, MeanCosine])
@folded("odd", [math.nan, math.inf])
@folded("shape", [(6, 4), (200, 3, 8, 8)])
def test_what_is_not_finite_shows_and_does_not_raise(kind, odd, shape):
    a = torch.rand(shape)
    a[(1,) * len(shape)] = odd  # in the larger one, between those that a rank is taken of
    assert math.isnan(at(kind, a))


@folded("kind", [EffectiveRank, StableRank, IntrinsicDimRatio, MeanCosine])
@folded("shape", [(6, 4), (3, 8), (6, 4, 2, 2)])
def test_a_layer_that_is_dark_has_no_direction(kind, shape):
    assert at(kind, torch.zeros(shape)) == 0


@pytest.mark.parametrize("shape", [(40, 8), (5, 8)])
def test_a_layer_that_is_constant_but_for_rounding_has_no_dimension(shape):
    a = 0.3 + torch.rand(8, generator=torch.Generator().manual_seed(0)).expand(shape)
    assert at(IntrinsicDimRatio, a) == 0
    assert at(IntrinsicDimRatio, torch.where(torch.rand(shape) < 0.5, a, a * (1 + 1.2e-7))) == 0


def test_dimensions_are_counted_without_the_common_mean():
    a = torch.full((40, 8), 100.0)
    a[:20, 0] += 1.0
    a[::2, 1] += 1.0
    assert at(IntrinsicDimRatio, a) == pytest.approx(2 / 8)
    assert at(EffectiveRank, a) == pytest.approx(1, abs=0.01)


def test_the_hundredth_of_variance_that_is_left_out_is_no_dimension():
    sizes = torch.tensor([1.0, 0.5, 0.08, 0.01])  # of variances 1, .25, .0064 and .0001: the first two are 99.5%
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1], [-1, 1, 1, -1]])
    signs = torch.cat([signs, -signs])
    exact = np.linalg.eigvalsh(np.cov((sizes * signs).double().numpy().T, bias=True))[::-1]
    needed = int(np.argmax(np.cumsum(exact) / exact.sum() >= 0.99)) + 1
    assert at(IntrinsicDimRatio, sizes * signs) == needed / 4 == 0.5


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_neither_cosine_nor_rank_depends_on_the_scale(scale):
    """Features of a deep network without norms may be as small, or as large; their squares fit no float32."""
    a = torch.rand((30, 6), generator=torch.Generator().manual_seed(0))
    for kind in (MeanCosine, EffectiveRank, StableRank, IntrinsicDimRatio):
        assert at(kind, scale * a) == pytest.approx(at(kind, a), rel=1e-5)


@pytest.mark.parametrize("part", [1, 7, 100])
def test_a_cosine_is_the_same_whatever_the_parts(part, monkeypatch):
    a = torch.rand((13, 2, 3, 3), generator=torch.Generator().manual_seed(0)) - 0.3
    monkeypatch.setattr(features, "PART", part * 18)
    assert at(MeanCosine, a) == pytest.approx(brute_cosine(a.flatten(1).double().numpy()), abs=1e-6)


def test_one_image_has_no_pair():
    look = seen("relu", torch.ones(1, 3))
    assert MeanCosine().measure(look) == {}
    assert at(EffectiveRank, torch.ones(1, 3)) == pytest.approx(1)
    assert at(EffectiveRank, torch.ones(5, 1)) == pytest.approx(1)
    assert at(IntrinsicDimRatio, torch.rand(5, 1)) == 1
