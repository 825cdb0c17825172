"""Means, variances and quantiles of layers, held against NumPy on stored activations."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from watched import by_unit, measured, network, probe, seen, stored

from bnlab.diagnostics.by_unit import MOST_PER_UNIT
from bnlab.diagnostics.distributions import (
    ActivationMean,
    ActivationQuantiles,
    ActivationVariance,
    PreactivationQuantiles,
    quantiles_of_sorted,
    sorted_preactivations,
    unit_moments,
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


def test_quantiles_of_a_large_layer_are_those_of_a_fixed_part_of_it():
    z = torch.randn((300, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    found = PreactivationQuantiles().measure(seen("tanh", z))["x/q85"].item()
    part = by_unit(z.double().numpy())[:, ::5]
    assert part.shape[1] <= MOST_PER_UNIT
    assert found == pytest.approx(np.percentile(part, 85), abs=1e-5)
    assert found == pytest.approx(np.percentile(z.numpy(), 85), abs=0.05)


def test_units_are_sorted_once_for_all():
    z = torch.randn((30, 4), generator=torch.Generator().manual_seed(0))
    look = seen("tanh", z)
    first = sorted_preactivations(look)
    assert sorted_preactivations(look) is first
    np.testing.assert_array_equal(first["x"].numpy(), np.sort(z.numpy(), axis=0).T)


@folded("odd", [math.nan, math.inf, -math.inf])
@folded("kind", [PreactivationQuantiles, ActivationQuantiles, ActivationMean, ActivationVariance])
@folded("shape", [(40, 3), (300, 3, 8, 8)])
def test_one_value_that_is_not_finite_shows_wherever_it_stands(shape, kind, odd):
    z = torch.zeros(shape)
    z[(1,) * len(shape)] = odd  # in the larger one, between those that quantiles are taken of
    look = seen("tanh", z)
    look.activations["x"] = z
    assert not any(math.isfinite(value) for value in kind().measure(look).values())


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_it_shows_in_quantiles_of_what_is_sorted_too(odd):
    x = torch.zeros(2, 50)
    x[1, 7] = odd
    quantiles = quantiles_of_sorted(x.sort(1).values, (2, 50, 98))
    assert quantiles[:, 1].isnan().all()
    assert not quantiles[:, 0].any()


@pytest.mark.parametrize("mean", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("shape", [(500, 2), (50, 2, 4, 4)])
def test_a_variance_is_told_to_its_digits_beside_a_large_mean(shape, mean):
    a = mean + 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    a[0] = mean + 2.0  # the value that distances are taken from lies far out
    (mean_U, var_U), values = unit_moments(a), by_unit(a.double().numpy())
    np.testing.assert_allclose(mean_U.numpy(), values.mean(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var_U.numpy(), values.var(1), rtol=1e-4)


def test_a_variance_over_units_counts_what_lies_between_them():
    a = torch.tensor([[0.0, 10.0], [1.0, 11.0]])
    look = seen("relu", a)
    assert ActivationVariance().measure(look)["x"].item() == pytest.approx(25.25)
    assert ActivationMean().measure(look)["x"].item() == pytest.approx(5.5)
