"""Means, variances and quantiles of layers, held against NumPy on stored activations."""

import math

import numpy as np
import pytest
import torch
from watched import measured, network, probe, seen, stored

from bnlab.diagnostics.distributions import (
    MOST_PER_LAYER,
    MOST_PER_UNIT,
    PreactivationQuantiles,
    bounded,
    quantiles_of_sorted,
    sorted_preactivations,
)

CASES = [(m, n, p) for m in ("mlp", "cnn") for n in ("batch", "layer", "none") for p in ("before", "after")]
PERCENTS = {"q02": 2, "q15": 15, "q50": 50, "q85": 85, "q98": 98}


@pytest.mark.parametrize(("model", "norm", "placement"), CASES)
def test_all_are_numpys(model, norm, placement):
    net, batch = network(model, "tanh", norm, placement), probe()
    mean, variance, fan, fan_before = (
        measured(name, net, batch)
        for name in ("activation_mean", "activation_variance", "activation_quantiles", "preactivation_quantiles")
    )
    kept = stored(net, batch.inputs)
    assert mean.keys() == variance.keys() == kept.keys()
    assert len(fan) == len(fan_before) == 5 * len(kept)
    for role, (z, a) in kept.items():
        assert mean[role] == pytest.approx(a.mean(), abs=1e-6)
        assert variance[role] == pytest.approx(a.var(), rel=1e-4)
        for facet, percent in PERCENTS.items():
            assert fan[f"{role}/{facet}"] == pytest.approx(np.percentile(a, percent), abs=1e-5)
            assert fan_before[f"{role}/{facet}"] == pytest.approx(np.percentile(z, percent), abs=1e-5)


@pytest.mark.parametrize("num_values", [1, 2, 3, 7, 100])
def test_quantiles_are_interpolated_as_numpy_does(num_values):
    x = torch.randn((4, num_values), generator=torch.Generator().manual_seed(num_values), dtype=torch.float64)
    found = quantiles_of_sorted(x.sort(1).values, (0, 2, 15, 50, 85, 98, 100))
    expected = np.percentile(x.numpy(), [0, 2, 15, 50, 85, 98, 100], axis=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_what_is_looked_at_is_bounded_and_spread_over_images_and_positions():
    x = torch.arange(300 * 2 * 8 * 8.0).view(300, 2, 8, 8)
    kept = bounded(x)
    assert kept.shape == (2, -(-300 * 64 // 5))
    assert kept.shape[1] <= MOST_PER_UNIT
    every = x.transpose(0, 1).flatten(1)
    assert torch.equal(kept, every[:, ::5])
    assert bounded(x, most=10**9).shape == (2, 300 * 64)


def test_quantiles_of_a_large_layer_are_those_of_a_fixed_part_of_it():
    z = torch.randn((1000, 50), generator=torch.Generator().manual_seed(0))
    found = PreactivationQuantiles().measure(seen("tanh", z))["x/q85"].item()
    part = z.T.flatten()[::4].double().numpy()
    assert len(part) <= MOST_PER_LAYER
    assert found == pytest.approx(np.percentile(part, 85), abs=1e-5)
    assert found == pytest.approx(np.percentile(z.numpy(), 85), abs=0.03)


def test_units_are_sorted_once_for_all():
    z = torch.randn((30, 4), generator=torch.Generator().manual_seed(0))
    look = seen("tanh", z)
    first = sorted_preactivations(look)
    assert sorted_preactivations(look) is first
    np.testing.assert_array_equal(first["x"].numpy(), np.sort(z.numpy(), axis=0).T)


def test_one_nan_shows_in_every_quantile():
    z = torch.zeros(40, 3)
    z[1, 1] = math.nan
    assert all(math.isnan(value) for value in PreactivationQuantiles().measure(seen("tanh", z)).values())
