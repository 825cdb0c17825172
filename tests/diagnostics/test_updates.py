"""What an update did to the weights, held against NumPy; and which weights have a length that means nothing."""

import math

import numpy as np
import pytest
import torch
from watched import images, in_float64, measured, network, probe

from bnlab.diagnostics.diagnostic import Moment
from bnlab.norms.catalog import NORMS

NEED_IMAGES = {"frn", "instance", "instance_torch", "switchable"}


def moved(net, seed=0, size=0.1):
    """Move a network's parameters at random; return them as they were."""
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(size * torch.randn(value.shape, generator=generator))
    return before


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["batch", "layer", "none", "weight_standardization"])
def test_the_ratio_is_numpys(model, norm):
    net = network(model, norm=norm, **({"num_groups": 2} if norm == "weight_standardization" else {}))
    names = {id(value): name for name, value in net.named_parameters()}
    before = moved(net)
    found = measured("update_ratio", net, probe(), moment=Moment(before))
    assert found.keys() == net.weights.keys()
    for role, weight in net.weights.items():
        old, new = before[names[id(weight)]].double().numpy(), weight.detach().double().numpy()
        assert found[role] == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-5)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_angle_and_effective_rate_are_numpys_row_by_row(model):
    net = network(model)
    old = {role: block.linear.weight.detach().double().numpy().copy() for role, block in net.blocks.items()}
    before = moved(net)
    moment = Moment(before, None, torch.tensor(0.3))
    angles, rates = (measured(name, net, probe(), moment=moment) for name in ("angular_update", "effective_lr"))
    assert angles.keys() == rates.keys() == net.blocks.keys()
    for role, block in net.blocks.items():
        u = old[role].reshape(len(old[role]), -1)
        v = block.linear.weight.detach().double().numpy().reshape(u.shape)
        cosines = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        assert angles[role] == pytest.approx(np.arccos(cosines).mean(), rel=1e-5)
        assert rates[role] == pytest.approx((0.3 / (v**2).sum(1)).mean(), rel=1e-5)


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 1.0, math.pi / 2, 3.0])
def test_an_angle_is_exact_however_small(angle):
    net = network(depth=1)
    weight = net.blocks["hidden1"].linear.weight
    with torch.no_grad():
        weight.zero_()
        weight[:, 0] = 2.0
        before = {name: value.detach().clone() for name, value in net.named_parameters()}
        weight[:, 0], weight[:, 1] = 5 * math.cos(angle), 5 * math.sin(angle)
    found = measured("angular_update", net, probe(), moment=Moment(before))
    assert found["hidden1"] == pytest.approx(angle, rel=1e-5 if angle > 1e-5 else 0.1)  # the weights are float32


def test_scaling_a_row_turns_it_by_nothing():
    net = network()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    with torch.no_grad():
        for block in net.blocks.values():
            block.linear.weight.mul_(7)
    assert measured("angular_update", net, probe(), moment=Moment(before)) == pytest.approx(
        dict.fromkeys(net.blocks, 0.0), abs=1e-7
    )


def test_without_an_update_there_is_nothing_to_say():
    from bnlab.diagnostics.building import build_diagnostics  # noqa: PLC0415
    from bnlab.diagnostics.diagnostic import measure_all  # noqa: PLC0415

    net = network()
    assert measure_all(build_diagnostics(["update_ratio", "angular_update"]), net, net, probe()) == {}


def scaled_by_row(norm, model, placement):
    """Return by how much the output moves when each row of a weight gets a scale of its own, by role, in float64."""
    with in_float64():
        groups = {"num_groups": 2} if norm in {"group", "group_torch", "weight_standardization"} else {}
        net = network(model, "relu", norm, placement, **groups).double()
        for module in net.modules():
            if hasattr(module, "eps"):
                module.eps = 1e-12 if not isinstance(module.eps, torch.Tensor) else module.eps
        inputs = images(16).double()
        torch.manual_seed(0)
        expected = net.train()(inputs).detach()
        moved_by = {}
        for role in net.blocks:
            weight = net.weights[role]
            kept = weight.detach().clone()
            scale = 0.5 + torch.rand(len(weight), generator=torch.Generator().manual_seed(1)).double()
            with torch.no_grad():
                weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
            torch.manual_seed(0)
            moved_by[role] = (net(inputs) - expected).abs().max().item()
            with torch.no_grad():
                weight.copy_(kept)
        return net, moved_by


@pytest.mark.parametrize("placement", ["before", "after", "input"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_weights_that_are_called_scale_invariant_are(model, norm, placement):
    if model == "mlp" and norm in NEED_IMAGES:
        pytest.skip("it needs more than one position per channel")
    net, moved_by = scaled_by_row(norm, model, placement)
    for role in net.scale_invariant_weights:
        assert moved_by[role] < 1e-6, role
    assert "output" not in net.scale_invariant_weights


@pytest.mark.parametrize("norm", ["batch", "batch_torch", "batch_bias_only", "ghost"])
def test_batch_norm_right_behind_makes_them_so_and_no_norm_does_not(norm):
    assert network(norm=norm).scale_invariant_weights == {"hidden1", "hidden2", "hidden3"}
    assert network(norm=norm, placement="after").scale_invariant_weights == set()
    for other in ("none", "layer", "rms", "dyt"):
        net, moved_by = scaled_by_row(other, "mlp", "before")
        assert net.scale_invariant_weights == set()
        assert max(moved_by.values()) > 1e-3
