"""How gradients change from layer to layer, held against autograd in float64 and closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import ProbeBatch
from bnlab.diagnostics.gradients import GradientGrowth, GradientRatio
from bnlab.models.network import ACTIVATIONS

CASES = [
    (m, a, n, p)
    for m in ("mlp", "cnn")
    for a in ACTIVATIONS
    for n in ("batch", "layer", "none")
    for p in ("before", "after")
]


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


@pytest.mark.parametrize(("model", "activation", "norm", "placement"), CASES)
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


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_growth_is_the_factor_that_we_put_in(factor):
    seen = type("Seen", (), {})()
    seen.preactivation_gradients = {f"hidden{i}": torch.full((4, 4), factor ** (-i / 2)) for i in range(6)}
    found = GradientGrowth().measure(seen)
    assert found["network/rate"].item() == pytest.approx(factor, rel=1e-6)


def test_ratio_leaves_the_output_layer_out():
    seen = type("Seen", (), {})()
    seen.weight_gradients = {"hidden1": torch.ones(2, 2), "hidden2": 4 * torch.ones(2, 2), "output": torch.zeros(2)}
    assert GradientRatio().measure(seen)["network"].item() == 0.25


@pytest.mark.parametrize("seed", range(3))
def test_relu_behind_batch_norm_explodes_by_pi_over_pi_minus_1_per_layer(seed):
    """Yang et al. 2019: the gate H3, at its own width, depth and batch."""
    from bnlab.models.catalog import build_model, seed_weights  # noqa: PLC0415
    from bnlab.norms.catalog import build_norm  # noqa: PLC0415
    from bnlab.schema import MLPConfig  # noqa: PLC0415

    config = MLPConfig(name="mlp", depth=30, width=500, activation="relu", dropout=0.0, init="auto", init_std=None)
    net = build_model(config, (2, 6, 6), 10, lambda channels: build_norm("batch", channels), "before")
    seed_weights(net, config, seed)
    batch = ProbeBatch(images(256, seed), torch.arange(256) % 10, "relu")
    assert measured("gradient_growth", net, batch)["network/rate"] == pytest.approx(math.pi / (math.pi - 1), rel=0.05)
