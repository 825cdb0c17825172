"""Saturation inside dyt and derf, held against NumPy on the inputs of the norms."""

import math

import numpy as np
import pytest
import torch
from watched import measured, network, probe

from bnlab.norms.catalog import build_norm


def stored_inputs(net, inputs):
    kept = {}
    hooks = [
        norm.register_forward_pre_hook(lambda _, args, role=role: kept.__setitem__(role, args[0].detach().numpy()))
        for role, norm in net.norms.items()
    ]
    net.train()(inputs)
    for hook in hooks:
        hook.remove()
    return kept


@pytest.mark.parametrize("placement", ["before", "after", "input"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_it_is_the_share_that_numpy_counts(model, placement):
    for norm, bound in {"dyt": 2.0, "derf": math.sqrt(2 * math.log(math.cosh(2)))}.items():
        net, batch = network(model, norm=norm, placement=placement, init_std=0.5), probe()
        with torch.no_grad():
            for number, layer in enumerate(net.norms.values()):
                if norm in type(layer).__module__:  # placement=input has layers that do nothing beside it
                    layer.alpha.fill_(1.5 + number)
                    if norm == "derf":
                        layer.shift.fill_(0.5 - number)
        found, inputs = measured("norm_saturation", net, batch), stored_inputs(net, batch.inputs)
        assert set(found) == ({"input"} if placement == "input" else set(net.blocks))
        assert max(found.values()) > 0
        for role, share in found.items():
            layer = net.norms[role]
            shift = layer.shift.item() if norm == "derf" else 0.0
            expected = np.mean(np.abs(layer.alpha.item() * inputs[role].astype(np.float64) + shift) > bound)
            assert share == pytest.approx(expected, abs=1e-3)


def test_both_bounds_are_where_the_slope_is_the_same_share_of_its_largest():
    for name, slope in {"dyt": lambda u: 1 / math.cosh(u) ** 2, "derf": lambda u: math.exp(-(u**2))}.items():
        assert slope(build_norm(name, 1).flat_beyond) == pytest.approx(1 / math.cosh(2) ** 2, rel=1e-3)


@pytest.mark.parametrize("norm", ["batch", "none", "layer", "rms"])
def test_norms_that_squash_nothing_have_no_value(norm):
    assert measured("norm_saturation", network(norm=norm), probe()) == {}


def test_an_argument_that_is_no_number_shows():
    net = network(norm="dyt")
    with torch.no_grad():
        net.norms["hidden2"].alpha.fill_(torch.nan)
    found = measured("norm_saturation", net, probe())
    assert found["hidden1"] >= 0
    assert math.isnan(found["hidden2"])
