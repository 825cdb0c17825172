"""The other ways to ask for saturation and for dead units, held against NumPy on stored activations."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from watched import by_unit, measured, network, probe, seen, stored

from bnlab.diagnostics.dead_units import DeadFraction, DeadFractionEval, SaturatedUnits
from bnlab.diagnostics.flatness import SLOPES
from bnlab.diagnostics.saturation import (
    Saturation,
    SaturationBySlope,
    SaturationDegree,
    SaturationSides,
    SaturationStrict,
    ZeroFraction,
)
from bnlab.models.blocks import ACTIVATIONS

CASES = [(m, a, p) for m in ("mlp", "cnn") for a in ACTIVATIONS for p in ("before", "after")]
BOUNDED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def slope(activation, z):
    leaf = torch.as_tensor(z).double().requires_grad_()
    (derivative,) = torch.autograd.grad(ACTIVATIONS[activation]()(leaf).sum(), leaf)
    return derivative.numpy()


def largest_slope(activation):
    return slope(activation, torch.linspace(-10, 10, 2_000_001)).max()


def brute_flat(activation, z, a):
    if activation == "sigmoid":
        return (a < 0.05) | (a > 0.95)
    if activation == "tanh":
        return np.abs(a) > 0.9
    return a == 0 if activation == "relu" else np.abs(slope(activation, z)) < 0.1


@pytest.mark.parametrize("activation", SLOPES)
def test_the_largest_slope_is_autograds(activation):
    assert SLOPES[activation][1] == pytest.approx(largest_slope(activation), rel=1e-6)


@pytest.mark.slow_but(8)
@pytest.mark.parametrize(("model", "activation", "placement"), CASES)
def test_shares_are_those_counted_by_hand(model, activation, placement):
    net, batch = network(model, activation, "none", placement, init_std=0.5), probe(activation)
    kept = stored(net, batch.inputs)
    by_slope, units = measured("saturation_by_slope", net, batch), measured("saturated_units", net, batch)
    assert by_slope.keys() == units.keys() == kept.keys()
    for role, (z, a) in kept.items():
        expected = (np.abs(slope(activation, z)) < 0.1 * largest_slope(activation)).mean()
        assert by_slope[role] == pytest.approx(expected, abs=1e-6)
        flat = by_unit(brute_flat(activation, z, a))
        assert units[role] == pytest.approx((flat.mean(1) > 0.95).mean(), abs=1e-6)
    assert any(0 < value < 1 for value in by_slope.values())  # or nothing was compared


@pytest.mark.parametrize(("model", "activation", "placement"), CASES)
def test_bounded_activations_have_sides_a_stricter_margin_and_rho(model, activation, placement):
    net, batch = network(model, activation, "none", placement, init_std=0.5), probe(activation)
    sides, strict, rho, all_of_it = (
        measured(name, net, batch)
        for name in ("saturation_sides", "saturation_strict", "saturation_degree", "saturation")
    )
    if activation not in BOUNDED:
        assert sides == strict == rho == {}
        return
    low, high = BOUNDED[activation]
    for role, (_, a) in stored(net, batch.inputs).items():
        place = (a - low) / (high - low)
        assert sides[f"{role}/low"] == pytest.approx((place < 0.05).mean(), abs=1e-6)
        assert sides[f"{role}/high"] == pytest.approx((place > 0.95).mean(), abs=1e-6)
        assert sides[f"{role}/low"] + sides[f"{role}/high"] == pytest.approx(all_of_it[role], abs=1e-6)
        assert strict[role] == pytest.approx(((place < 0.01) | (place > 0.99)).mean(), abs=1e-6)
        assert rho[role] == pytest.approx(brute_rho(a, low, high, 10), abs=1e-6)


def brute_rho(a, low, high, num_bins):
    """Return rho_B as the paper defines it, bin by bin."""
    edges = np.linspace(low, high, num_bins + 1)
    bins = np.clip(np.digitize(a.ravel(), edges) - 1, 0, num_bins - 1)
    total = 0.0
    for b in range(num_bins):
        inside = a.ravel()[bins == b]
        if len(inside):
            total += abs(2 * (inside.mean() - low) / (high - low) - 1) * len(inside)
    return total / a.size


@pytest.mark.parametrize("num_bins", [2, 10, 50])
def test_rho_does_not_depend_on_an_even_number_of_bins(num_bins):
    z = torch.randn((500, 3), generator=torch.Generator().manual_seed(1))
    found = SaturationDegree().measure(seen("tanh", z))["x"].item()
    assert found == pytest.approx(brute_rho(np.tanh(z.double().numpy()), -1.0, 1.0, num_bins), abs=1e-6)


def test_rho_is_half_where_outputs_are_spread_evenly_and_1_at_the_bounds():
    evenly = torch.logit(torch.linspace(0.0005, 0.9995, 1000)).view(-1, 1)
    assert SaturationDegree().measure(seen("sigmoid", evenly))["x"].item() == pytest.approx(0.5, abs=1e-3)
    assert SaturationDegree().measure(seen("sigmoid", 60 * torch.ones(4, 2)))["x"].item() == pytest.approx(1.0)
    assert SaturationDegree().measure(seen("tanh", torch.zeros(4, 2)))["x"].item() == 0


def test_relu_has_a_share_of_zeros_and_others_none():
    z = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])
    assert ZeroFraction().measure(seen("relu", z))["x"].item() == 0.5
    assert ZeroFraction().measure(seen("tanh", z)) == {}


def test_a_unit_that_swings_between_its_bounds_is_saturated_and_one_that_comes_back_is_not():
    z = 30 * torch.ones(100, 2)
    z[::2, 0] = -30.0
    z[:6, 1] = 0.0
    assert SaturatedUnits().measure(seen("sigmoid", z))["x"].item() == 0.5


@folded("activation", ACTIVATIONS)
@folded("odd", [math.nan, math.inf])
def test_one_activation_that_is_not_finite_shows(activation, odd):
    look = seen(activation, torch.zeros(4, 3))
    look.activations["x"][1, 1] = odd
    kinds = (Saturation, SaturationStrict, SaturatedUnits, SaturationBySlope, SaturationSides, SaturationDegree)
    for kind in (*kinds, ZeroFraction, DeadFraction):
        assert not any(math.isfinite(value) for value in kind().measure(look).values())
    assert Saturation().measure(look)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_by_slope_a_bounded_activation_is_flat_where_its_slope_is_a_tenth_and_not_before(activation):
    z = torch.linspace(-6, 6, 24_001).view(-1, 1)
    found = SaturationBySlope().measure(seen(activation, z))["x"].item()
    assert found == pytest.approx((slope(activation, z) < 0.1 * largest_slope(activation)).mean(), abs=2 / len(z))


@pytest.mark.parametrize(("spread", "is_dead"), [(0.95e-3, True), (1.05e-3, False)])
@pytest.mark.parametrize("center", [0.5, 0.99])
def test_a_bounded_unit_is_dead_by_a_variance_told_to_its_digits(spread, is_dead, center):
    a = center + spread * torch.tensor([1.0, -1.0]).repeat(500).view(-1, 1)  # of variance spread squared
    look = seen("sigmoid", torch.logit(a))
    look.activations["x"] = a
    assert DeadFraction().measure(look)["x"].item() == is_dead


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_dead_units_in_eval_mode_are_those_of_eval_mode(model, activation):
    net, batch = network(model, activation), probe(activation)
    for norm in net.norms.values():
        norm.running_mean[::2] = 1e4  # half of the units: far below zero, or at one bound, whatever the image
    alive, dead = measured("dead_fraction", net, batch), measured("dead_fraction_eval", net, batch)
    for role, (_, a) in stored(net, batch.inputs, training=False).items():
        rows = by_unit(a)
        expected = (rows.max(1) <= 0) if activation == "relu" else (rows.var(1) < 1e-6)
        assert dead[role] == pytest.approx(expected.mean())
    assert dead["hidden1" if model == "mlp" else "stage1.conv1"] == 0.5
    assert alive["hidden1" if model == "mlp" else "stage1.conv1"] == 0


def test_dead_in_eval_mode_needs_eval_mode():
    assert DeadFractionEval.needs == {"eval_mode"}
