"""How gradients change from layer to layer, held against autograd in float64 and closed forms."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from pairs import every_pair
from torch import nn
from watched import images, in_float64, measured, network, probe

from bnlab.diagnostics.diagnostic import Observation, ProbeBatch
from bnlab.diagnostics.gradients import GradientGrowth, GradientRatio, RelativeGradientNorm, length
from bnlab.models.blocks import ACTIVATIONS, Block
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.network import Network
from bnlab.norms.catalog import build_norm
from bnlab.schema_models import MLPConfig

SETTINGS = {
    "model": ["mlp", "cnn"],
    "activation": list(ACTIVATIONS),
    "norm": ["batch", "layer", "none"],
    "placement": ["before", "after"],
}


def float64_gradients(net, batch):
    """Return the norms of dL/dz per layer, and of dL/dW and W, by autograd on a float64 copy."""
    kept = {}

    def keep(role):
        def hook(_, args):
            args[0].retain_grad()
            kept[role] = args[0]

        return hook

    wide = net.double().train()
    hooks = [module.register_forward_pre_hook(keep(role)) for role, module in wide.activations.items()]
    F.cross_entropy(wide(batch.inputs.double()), batch.labels).backward()
    for hook in hooks:
        hook.remove()
    to_z = {role: z.grad.norm().item() for role, z in kept.items()}
    to_w = {role: weight.grad.norm().item() for role, weight in wide.weights.items()}
    sizes = {role: weight.detach().norm().item() for role, weight in wide.weights.items()}
    return to_z, to_w, sizes


@pytest.mark.parametrize(list(SETTINGS), [tuple(case.values()) for case in every_pair(SETTINGS)])
def test_all_are_those_of_a_float64_backward_pass(model, activation, norm, placement):
    net, batch = network(model, activation, norm, placement), probe(activation)
    names = ("preactivation_gradient_norm", "relative_gradient_norm", "gradient_ratio", "gradient_growth")
    to_z, relative, ratio, growth = (measured(name, net, batch) for name in names)
    expected_z, expected_w, sizes = float64_gradients(net, batch)
    assert to_z == pytest.approx(expected_z, rel=1e-4)
    assert relative == pytest.approx({role: expected_w[role] / sizes[role] for role in sizes}, rel=1e-4)
    hidden = list(expected_w.values())[:-1]
    assert ratio == {"network": pytest.approx(hidden[0] / hidden[-1], rel=1e-4)}
    slope = np.polyfit(range(len(expected_z)), 2 * np.log(list(expected_z.values())), 1)[0]
    assert growth["network/slope"] == pytest.approx(slope, abs=1e-3)
    assert growth["network/rate"] == pytest.approx(math.exp(-slope), rel=1e-3)


def test_a_network_of_one_hidden_layer_has_neither_ratio_nor_growth():
    net, batch = network(depth=1), probe()
    assert measured("gradient_ratio", net, batch) == measured("gradient_growth", net, batch) == {}


def growth_of(gradients):
    seen = Observation({}, {}, {}, "relu", preactivation_gradients={f"hidden{i}": g for i, g in enumerate(gradients)})
    return {facet: value.item() for facet, value in GradientGrowth().measure(seen).items()}


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_growth_is_the_factor_that_we_put_in(factor):
    found = growth_of([torch.full((4, 4), factor ** (-i / 2)) for i in range(6)])
    assert found["network/rate"] == pytest.approx(factor, rel=1e-5)
    assert found["network/slope"] == pytest.approx(-math.log(factor), abs=1e-5)


def seen_weights(gradients, weights=None):
    return Observation({}, {}, gradients, "relu", weights=weights or {})


def test_ratio_leaves_the_output_layer_out():
    seen = seen_weights({"hidden1": torch.ones(2, 2), "hidden2": 4 * torch.ones(2, 2), "output": torch.zeros(2)})
    assert GradientRatio().measure(seen)["network"].item() == 0.25


def test_a_gradient_that_is_broken_or_missing_does_not_look_healthy():
    one, zero = torch.ones(2, 2), torch.zeros(2, 2)
    broken = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    for first, last, expected in ((broken, one, math.nan), (zero, one, 0.0), (one, zero, math.inf)):
        seen = seen_weights({"hidden1": first, "hidden2": last, "output": one})
        assert GradientRatio().measure(seen)["network"].item() == pytest.approx(expected, nan_ok=True)
        low = growth_of([first, last])["network/rate"]
        assert math.isnan(low) if math.isnan(expected) else low == expected
    relative = RelativeGradientNorm().measure(seen_weights({"x": broken, "y": one}, {"x": one, "y": zero}))
    assert math.isnan(relative["x"].item())
    assert relative["y"].item() == math.inf


@folded("exponent", range(-30, 18, 4))
@folded("shape", [(7,), (1, 1), (50, 40), (6, 5, 3, 3)])
def test_a_length_is_exact_where_squares_are_not(shape, exponent):
    g = 10.0**exponent * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert length(g).item() == pytest.approx(np.linalg.norm(g.double().numpy().ravel()), rel=1e-6)


def test_a_length_is_exact_over_millions_of_values():
    """Torch's own norm, all at once, is 2% off."""
    g = torch.full((512, 64, 32, 32), 1 / 3)
    truth = 2**12.5 * g[0, 0, 0, 0].item()
    assert length(g).item() == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_length_of_what_has_none(value):
    assert length(torch.tensor([[value, 0.0], [0.0, 0.0]])).item() == pytest.approx(abs(value), nan_ok=True)


def stack(depth, width, linear, norm, activation):
    """Return a network of equal layers, with a random output layer that nothing is divided by."""
    body = OrderedDict((f"hidden{i + 1}", Block(linear(width), norm(width), activation())) for i in range(depth))
    return Network(body, nn.Linear(width, 10), None)


def gaussian(num_images, width, seed=0):
    inputs = torch.randn((num_images, width), generator=torch.Generator().manual_seed(seed))
    return ProbeBatch(inputs, torch.arange(num_images) % 10, "none")


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_through_rotations_the_squared_gradient_grows_by_the_square_of_their_factor(factor):
    def rotation(width):
        layer = nn.Linear(width, width, bias=False)
        nn.init.orthogonal_(layer.weight, gain=factor)
        return layer

    torch.manual_seed(0)
    net = stack(12, 20, rotation, lambda channels: build_norm("none", channels), nn.Identity)
    found = measured("gradient_growth", net, gaussian(30, 20))
    assert found["network/rate"] == pytest.approx(factor**2, rel=1e-4)
    norms = list(measured("preactivation_gradient_norm", net, gaussian(30, 20)).values())
    assert norms[0] / norms[-1] == pytest.approx(factor**11, rel=1e-4)


def random_matrix(width):
    layer = nn.Linear(width, width, bias=False)
    nn.init.normal_(layer.weight, std=width**-0.5)
    return layer


@pytest.mark.parametrize("seed", range(3))
def test_linear_layers_behind_batch_norm_explode_by_b_minus_2_over_b_minus_3(seed):
    """Yang et al. 2019: without an activation, the factor is (B - 2) / (B - 3); here B = 8."""
    torch.manual_seed(seed)
    net = stack(30, 500, random_matrix, lambda channels: build_norm("batch", channels, eps=1e-12), nn.Identity)
    found = measured("gradient_growth", net, gaussian(8, 500, seed))
    assert found["network/rate"] == pytest.approx(6 / 5, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "init_std"), [(0, None), (1, None), (2, None), (0, 1.0)])
def test_relu_behind_batch_norm_explodes_by_pi_over_pi_minus_1_per_layer(seed, init_std):
    """Yang et al. 2019: with relu the factor is pi / (pi - 1) in wide networks, whatever the weights' scale."""
    config = MLPConfig(name="mlp", depth=30, width=500, activation="relu", dropout=0.0, init="auto", init_std=init_std)
    net = build_model(config, (2, 6, 6), 10, lambda channels: build_norm("batch", channels), "before")
    seed_weights(net, config, seed)
    batch = ProbeBatch(images(256, seed), torch.arange(256) % 10, "relu")
    assert measured("gradient_growth", net, batch)["network/rate"] == pytest.approx(math.pi / (math.pi - 1), rel=0.05)


def test_a_gradient_that_vanishes_over_thirty_layers_is_measured_as_in_float64():
    """Squares of what arrives at the first layer are below float32's least number."""
    names = ("gradient_ratio", "gradient_growth", "gradient_norm", "preactivation_gradient_norm")
    net, batch = network(activation="sigmoid", norm="none", depth=34), probe("sigmoid")
    narrow = [measured(name, net, batch) for name in names]
    with in_float64():
        exact = ProbeBatch(batch.inputs.double(), batch.labels, "sigmoid")
        wide = [measured(name, net.double(), exact) for name in names]
    assert narrow[0]["network"] < 1e-15
    assert narrow[3]["hidden1"] < 1e-19
    for one, other in zip(narrow, wide, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_deep_sigmoid_network_vanishes_and_batch_norm_mends_it():
    """On random images; a trial on digits gave ratios of 4e-6 without and 3.0 with BatchNorm."""
    found = {}
    for norm in ("none", "batch"):
        config = MLPConfig(
            name="mlp", depth=10, width=100, activation="sigmoid", dropout=0.0, init="auto", init_std=None
        )
        net = build_model(config, (2, 6, 6), 10, lambda channels, norm=norm: build_norm(norm, channels), "before")
        seed_weights(net, config, 0)
        found[norm] = measured("gradient_ratio", net, ProbeBatch(images(256), torch.arange(256) % 10, "sigmoid"))
    assert found["none"]["network"] < 1e-3
    assert 0.1 < found["batch"]["network"] < 100


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences():
    """Of the loss, by single weights and by single pre-activations, in float64."""
    with in_float64():
        net, batch = network(activation="tanh", norm="batch"), probe()

        def loss():
            return F.cross_entropy(net.train()(batch.inputs), batch.labels).item()

        weight = net.blocks["hidden2"].linear.weight
        differences = torch.zeros_like(weight)
        with torch.no_grad():
            for i in range(weight.numel()):
                kept = weight.view(-1)[i].item()
                sides = []
                for step in (1e-5, -1e-5):
                    weight.view(-1)[i] = kept + step
                    sides.append(loss())
                weight.view(-1)[i] = kept
                differences.view(-1)[i] = (sides[0] - sides[1]) / 2e-5
        assert measured("gradient_norm", net, batch)["hidden2"] == pytest.approx(differences.norm().item(), rel=1e-6)

        shift = torch.zeros(len(batch.inputs), 12)
        hook = net.activations["hidden2"].register_forward_pre_hook(lambda _, args: (args[0] + shift,))
        to_z = torch.zeros_like(shift)
        for i in range(shift.numel()):
            sides = []
            for step in (1e-5, -1e-5):
                shift.view(-1)[i] = step
                sides.append(loss())
            shift.view(-1)[i] = 0.0
            to_z.view(-1)[i] = (sides[0] - sides[1]) / 2e-5
        hook.remove()
        found = measured("preactivation_gradient_norm", net, batch)["hidden2"]
        assert found == pytest.approx(to_z.norm().item(), rel=1e-6)
