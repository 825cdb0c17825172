"""Saturation and dead units, held against NumPy on stored activations, and slopes against autograd."""

import functools
import math

import numpy as np
import pytest
import torch
from pairs import every_pair

from bnlab.diagnostics.dead_units import DeadFraction
from bnlab.diagnostics.diagnostic import Observation, ProbeBatch
from bnlab.diagnostics.measuring import looking_at, measure_all, observe
from bnlab.diagnostics.saturation import Saturation
from bnlab.models.blocks import ACTIVATIONS
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import build_norm
from bnlab.schema_models import CNNConfig, MLPConfig

NUM_IMAGES = 40
SETTINGS = {
    "model": ["mlp", "cnn"],
    "activation": list(ACTIVATIONS),
    "norm": ["batch", "none"],
    "placement": ["before", "after"],
}


def config_of(model, activation, init_std=None):
    shared = {"activation": activation, "dropout": 0.0, "init": "auto", "init_std": init_std}
    if model == "mlp":
        return MLPConfig(name="mlp", depth=3, width=12, **shared)
    return CNNConfig(name="cnn", depth=2, width=4, num_stages=2, **shared)


def network(model, activation, norm="batch", placement="before", init_std=None):
    config = config_of(model, activation, init_std)
    net = build_model(config, (2, 6, 6), 5, functools.partial(build_norm, norm), placement)
    seed_weights(net, config, 0)
    return net


def probe(activation, seed=0):
    inputs = torch.randn((NUM_IMAGES, 2, 6, 6), generator=torch.Generator().manual_seed(seed))
    return ProbeBatch(inputs=inputs, labels=torch.arange(NUM_IMAGES) % 5, activation=activation)


def stored_activations(net, inputs):
    """Run a network in training mode and keep, per role, what goes into and comes out of each activation."""
    kept = {}

    def keep(role):
        return lambda _, args, output: kept.__setitem__(role, (args[0].detach(), output.detach()))

    hooks = [module.register_forward_hook(keep(role)) for role, module in net.activations.items()]
    net.train()(inputs)
    for hook in hooks:
        hook.remove()
    return kept


def slope(activation, z):
    """Return the derivative of the module itself at z, in float64, by autograd."""
    leaf = z.double().requires_grad_()
    (derivative,) = torch.autograd.grad(ACTIVATIONS[activation]()(leaf).sum(), leaf)
    return derivative.numpy()


def brute_saturation(activation, z, a):
    values = a.double().numpy()
    if activation == "sigmoid":
        flat = (values < 0.05) | (values > 0.95)
    elif activation == "tanh":
        flat = np.abs(values) > 0.9
    elif activation == "relu":
        flat = values == 0
    else:
        flat = np.abs(slope(activation, z)) < 0.1
    return flat.sum() / flat.size


def brute_dead(activation, a):
    units = [np.take(a.double().numpy(), unit, axis=1).ravel() for unit in range(a.shape[1])]
    dead = [u.max() <= 0 if activation == "relu" else u.var() < 1e-6 for u in units]
    return sum(dead) / len(dead)


def seen(activation, z):
    a = ACTIVATIONS[activation]()(z)
    return Observation(preactivations={"x": z}, activations={"x": a}, weight_gradients={}, activation=activation)


def saturation_at(activation, z):
    return Saturation().measure(seen(activation, z))["x"].item()


def dead_at(activation, z):
    return DeadFraction().measure(seen(activation, z))["x"].item()


@pytest.mark.parametrize(list(SETTINGS), [tuple(case.values()) for case in every_pair(SETTINGS)])
def test_both_shares_are_those_counted_by_hand(model, activation, norm, placement):
    net, batch = network(model, activation, norm, placement, init_std=1.0), probe(activation)
    with torch.no_grad():  # or a norm would keep a sigmoid's inputs out of its flat regions
        for parameter in (norm.weight for norm in net.norms.values() if norm.keeps_running_statistics):
            parameter.fill_(3.0)
    measured = measure_all([Saturation(), DeadFraction()], net, net, batch)
    kept = stored_activations(net, batch.inputs)
    assert list(measured["saturation"]) == list(measured["dead_fraction"]) == list(net.activations) == list(kept)
    for role, (z, a) in kept.items():
        assert math.isclose(measured["saturation"][role], brute_saturation(activation, z, a), abs_tol=1e-6)
        assert math.isclose(measured["dead_fraction"][role], brute_dead(activation, a), abs_tol=1e-6)
    assert 0 < measured["saturation"][role] < 1  # or nothing was compared


def normal(num_values=200_000):
    return torch.randn((num_values, 1), generator=torch.Generator().manual_seed(0))


def normal_share_beyond(bound):
    return math.erfc(bound / math.sqrt(2))


@pytest.mark.parametrize(
    ("activation", "share"),
    [
        ("tanh", normal_share_beyond(math.atanh(0.9))),
        ("sigmoid", normal_share_beyond(math.log(19))),
        ("relu", 0.5),
    ],
)
def test_a_standard_normal_input_gives_the_known_share(activation, share):
    z = normal()
    assert abs(saturation_at(activation, z) - share) < 5 * math.sqrt(share * (1 - share) / len(z))


def test_that_share_is_about_14_percent_for_tanh():
    """experiments.md, section 3: what makes BatchNorm raise this number while it helps."""
    assert abs(saturation_at("tanh", normal()) - 0.14) < 0.005


@pytest.mark.parametrize(("activation", "bound"), [("sigmoid", math.log(19)), ("tanh", math.atanh(0.9))])
def test_a_bounded_activation_is_flat_beyond_its_bound_and_not_before(activation, bound):
    beyond = torch.tensor([[bound + 1e-3], [-bound - 1e-3], [50.0], [-50.0]])
    assert saturation_at(activation, beyond) == 1
    assert saturation_at(activation, torch.tensor([[bound - 1e-3], [1e-3 - bound], [0.0]])) == 0
    largest = slope(activation, torch.zeros(1)).item()
    assert (slope(activation, beyond) < 0.19 * largest).all()


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_flat_region_of_gelu_and_silu_is_where_autograds_slope_is_small(activation):
    z = torch.linspace(-12, 12, 24_001).view(-1, 1)
    one_by_one = Saturation().measure(seen(activation, z))["x"].item()
    assert math.isclose(one_by_one, (np.abs(slope(activation, z)) < 0.1).mean(), abs_tol=2 / len(z))
    assert saturation_at(activation, torch.tensor([[1.0], [8.0], [80.0]])) == 0
    assert saturation_at(activation, torch.tensor([[-8.0], [-80.0]])) == 1


def test_relu_counts_zeros():
    assert saturation_at("relu", torch.tensor([[-1.0, 0.0, 1.0, 2.0]])) == 0.5


def test_a_relu_unit_is_dead_only_if_no_image_and_no_position_wakes_it():
    z = -torch.ones(5, 3, 2, 2)
    z[4, 1, 1, 0] = 0.1
    assert math.isclose(dead_at("relu", z), 2 / 3, rel_tol=1e-6)
    assert dead_at("relu", torch.zeros(5, 2)) == 1


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "silu"])
def test_another_unit_is_dead_if_it_says_the_same_for_every_image(activation):
    z = torch.linspace(-1, 1, 20).view(10, 2).repeat(1, 2)
    z[:, 0] = 0.5
    z[:, 1] = 0.5 + 1e-4 * z[:, 2]
    assert dead_at(activation, z) == 0.5


def test_a_saturated_unit_is_not_dead_while_it_says_both():
    z = torch.tensor([[30.0], [-30.0]])
    assert (saturation_at("sigmoid", z), dead_at("sigmoid", z)) == (1, 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_full_of_nan_does_not_look_healthy(activation):
    z = torch.zeros(4, 3)
    z[1, 1] = math.nan
    assert math.isnan(saturation_at(activation, z))
    assert math.isnan(dead_at(activation, z))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_it_is_measured_with_the_batchs_own_statistics(activation):
    """At step 0 running statistics know nothing: absurd ones must not show, in whatever mode the network is."""
    net, batch = network("mlp", activation), probe(activation)
    expected = measure_all([Saturation(), DeadFraction()], net, net, batch)
    for norm in net.norms.values():
        norm.running_mean.fill_(1e6)
        norm.running_var.fill_(1e-12)
    assert measure_all([Saturation(), DeadFraction()], net.eval(), net, batch) == expected
    absurd = {role: brute_saturation(activation, *kept) for role, kept in eval_activations(net, batch.inputs).items()}
    assert absurd["hidden1"] == 1 > expected["saturation"]["hidden1"]


def eval_activations(net, inputs):
    kept, x = {}, inputs.flatten(1)
    for role, block in net.eval().blocks.items():
        z = block.norm(block.linear(x)).detach()
        x = block.activation(z)
        kept[role] = (z, x)
    return kept


def test_values_are_scalars_that_hold_no_graph():
    net = network("cnn", "relu")
    measured = measure_all([Saturation(), DeadFraction()], net, net, probe("relu"))
    for values in measured.values():
        for value in values.values():
            assert value.shape == ()
            assert not value.requires_grad


def test_one_observation_serves_all():
    net, batch = network("mlp", "tanh"), probe("tanh")
    with looking_at(net) as passes:
        observation = observe(passes, net, batch, set())
    both = measure_all([Saturation(), DeadFraction()], net, net, batch)
    assert both["saturation"] == Saturation().measure(observation)
    assert both["dead_fraction"] == DeadFraction().measure(observation)
