"""Instruments of activations say the same of three replicas at once as of each alone, also where one has gone wrong."""

import math

import pytest
import torch
from watched import build_diagnostics, network, probe

from bnlab.diagnostics.diagnostic import Moment
from bnlab.diagnostics.measuring import measure_all
from bnlab.models.blocks import ACTIVATIONS
from bnlab.training.stacked.measure import StackedState, measure_stacked

NAMES = [
    "saturation",
    "saturation_strict",
    "saturation_sides",
    "saturation_by_slope",
    "saturated_units",
    "saturation_degree",
    "zero_fraction",
    "dead_fraction",
    "dead_fraction_eval",
    "activation_mean",
    "activation_variance",
    "activation_quantiles",
    "preactivation_quantiles",
    "effective_rank",
    "stable_rank",
    "intrinsic_dim_ratio",
    "mean_cosine",
]
BOUNDED_ONLY = {"saturation_strict", "saturation_sides", "saturation_degree"}


def healthy(net):
    """Leave a network as it is."""


def dark(net):
    """Let every hidden layer give the same for all images: zeros, for relu."""
    for linear in net.linears.values():
        linear.weight.data.zero_()


def diverged(net):
    """Let every hidden layer but the first see NaN."""
    list(net.linears.values())[1].weight.data.fill_(math.nan)


def three(model, activation, norm):
    nets = [network(model, activation, norm, init_std=0.3, seed=seed) for seed in range(3)]
    for net, change in zip(nets, (healthy, dark, diverged), strict=True):
        change(net)
    return nets


def stacked(nets):
    def stack(kind):
        rows = [dict(getattr(net, kind)()) for net in nets]
        return {name: torch.stack([row[name].detach() for row in rows]) for name in rows[0]}

    moment = Moment(lr=torch.ones(len(nets)))
    return StackedState(nets[0], stack("named_parameters"), stack("named_buffers"), {}, moment, [{}] * len(nets))


@pytest.mark.slow_but(8)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_three_at_once_are_each_alone(model, activation, norm):
    nets, batch, diagnostics = three(model, activation, norm), probe(activation), build_diagnostics(NAMES)
    assert all(diagnostic.vectorizable for diagnostic in diagnostics)
    found = measure_stacked(diagnostics, stacked(nets), batch)
    for net, (values, _) in zip(three(model, activation, norm), found, strict=True):
        expected = measure_all(diagnostics, net, net, batch)
        assert values.keys() == expected.keys() == set(NAMES)
        for name, by_role in expected.items():
            assert values[name].keys() == by_role.keys()
            for role, value in by_role.items():
                torch.testing.assert_close(
                    values[name][role], value, rtol=1e-4, atol=1e-5, equal_nan=True, msg=f"{name} {role}"
                )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_layer_that_sees_nan_has_no_healthy_value_and_the_layer_before_has(model, activation):
    _, _, net = three(model, activation, "none")
    measured = measure_all(build_diagnostics(NAMES), net, net, probe(activation))
    first, *others = net.activations
    for name, values in measured.items():
        assert all(value.isnan() == (role.split("/")[0] in others) for role, value in values.items()), (name, first)
        left_out = (name in BOUNDED_ONLY and activation not in {"sigmoid", "tanh"}) or (
            name == "zero_fraction" and activation != "relu"
        )
        assert (not values) is left_out
        assert {role.split("/")[0] for role in values} == (set() if left_out else {first, *others})
