"""What the loss does along the gradient, held against networks that are moved by hand in float64."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import Batch, Moment

NAMES = ("loss_range", "gradient_predictiveness", "effective_beta")
NORMS = ["batch", "batch_torch", "layer", "group", "none", "ghost", "batch_renorm"]


def gradient_of(net, batch):
    twin = copy.deepcopy(net).train()
    loss = F.cross_entropy(twin(batch.inputs.double()), batch.labels)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    return loss.item(), torch.cat([g.flatten() for g in gradients]).numpy()


def moved(net, by):
    twin, start = copy.deepcopy(net), 0
    with torch.no_grad():
        for value in twin.parameters():
            value.add_(torch.from_numpy(by[start : start + value.numel()]).view(value.shape))
            start += value.numel()
    return twin


def by_hand(net, batch, eta):
    net = copy.deepcopy(net).double()
    loss, g = gradient_of(net, batch)
    theta = torch.cat([value.detach().flatten() for value in net.parameters()]).numpy()
    losses, changes, betas = [], [], []
    for m in (0.5, 1, 2, 4):
        there = moved(net, -m * eta * g)
        loss_m, g_m = gradient_of(there, batch)
        losses.append(loss_m)
        changes.append(np.linalg.norm(g_m - g))
        betas.append(changes[-1] / np.linalg.norm(m * eta * g))
    size = np.linalg.norm(g)
    return {
        "loss_range": (max(losses) - min(losses), (max(losses) - min(losses)) / loss, min(losses), max(losses)),
        "gradient_predictiveness": (max(changes), max(changes) / size),
        "effective_beta": (max(betas), max(betas) * np.linalg.norm(theta) / size),
    }


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", NORMS)
def test_all_are_those_of_networks_moved_by_hand(model, norm):
    net = network(model, norm=norm, **({"num_groups": 2} if norm == "group" else {}))
    batch = Batch(images(20, 3), torch.arange(20) % 5)
    look = probe(step_size=0.3)
    moment = Moment(None, batch, torch.tensor(0.05))
    expected = {"fixed_step": by_hand(net, batch, 0.3), "lr_step": by_hand(net, batch, 0.05)}
    for name in NAMES:
        found = measured(name, net, look, moment=moment)
        assert len(found) == (8 if name == "loss_range" else 4)
        for kind, figures in expected.items():
            assert found[f"network/{kind}"] == pytest.approx(figures[name][0], rel=5e-3), (name, kind)
            assert found[f"network/{kind}_relative"] == pytest.approx(figures[name][1], rel=5e-3), (name, kind)
            if name == "loss_range":
                assert found[f"network/{kind}_low"] == pytest.approx(figures[name][2], rel=1e-4)
                assert found[f"network/{kind}_high"] == pytest.approx(figures[name][3], rel=1e-4)


def test_before_the_first_step_a_training_batch_stands_in():
    net, cut = network(), (Batch(images(10, 1), torch.arange(10) % 5), Batch(images(10, 2), torch.arange(10) % 5))
    found = measured("loss_range", net, probe(training_batches=cut, step_size=0.2))
    assert found["network/fixed_step"] == pytest.approx(by_hand(net, cut[0], 0.2)["loss_range"][0], rel=5e-3)
    assert not any("lr_step" in key for key in found)
    assert measured("loss_range", net, probe()) == {}


def test_scaling_weights_before_batch_norm_scales_beta_and_not_its_relative_change_of_loss():
    """Why relative figures are needed: the function is the same, and the absolute beta a hundred times smaller."""
    batch = Batch(images(20, 3), torch.arange(20) % 5)
    betas = []
    for factor in (1.0, 10.0):
        net = network(depth=1)
        with torch.no_grad():
            net.blocks["hidden1"].linear.weight.mul_(factor)
            net.output.weight.zero_()  # its own gradient would drown the other
            net.output.weight[:, 0] = 1e-3
        betas.append(
            measured("effective_beta", net, probe(step_size=1e-3), moment=Moment(None, batch))["network/fixed_step"]
        )
    assert betas[0] > betas[1] > 0


def test_where_the_gradient_is_zero_nothing_changes_along_it():
    net = network(norm="none")
    with torch.no_grad():
        net.output.weight.zero_()
        net.output.bias[0] = 1e4  # sure of class 0, and right
    moment = Moment(None, Batch(images(20, 3), torch.zeros(20, dtype=torch.long)), torch.tensor(0.05))
    for name in NAMES:
        found = measured(name, net, probe(), moment=moment)
        assert len(found) >= 4
        assert set(found.values()) == {0.0}


def test_what_is_not_a_number_shows():
    net = network(norm="none")
    with torch.no_grad():
        net.output.weight[0, 0] = float("nan")
    for name in NAMES:
        found = measured(name, net, probe(), moment=Moment(None, Batch(images(20, 3), torch.arange(20) % 5)))
        assert all(np.isnan(value) for value in found.values()), (name, found)
