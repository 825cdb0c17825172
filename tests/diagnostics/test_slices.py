"""Slices of the loss, held against networks that are moved by hand; and directions, against what they promise."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from watched import images, network

from bnlab.diagnostics.diagnostic import Batch
from bnlab.diagnostics.measuring import looking_at
from bnlab.diagnostics.slices import _random, slice_1d, slice_2d

NORMS = ["batch", "layer", "group", "none", "batch_torch"]


def build(model="mlp", norm="batch"):
    return network(model, norm=norm, **({"num_groups": 2} if norm == "group" else {}))


def batches(count=3, size=12):
    return [Batch(images(size, i), torch.arange(size) % 5) for i in range(count)]


def directions_of(net, seed=0):
    with looking_at(net) as passes, torch.no_grad():
        return _random(passes, seed, "first"), _random(passes, seed, "second")


def loss_at(net, steps, cut, training):
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for step, direction in zip(steps, directions_of(net), strict=True):
            for name, value in direction.items():
                twin.get_parameter(name).add_(step * value)
        twin = twin.double()
        return np.mean([
            F.cross_entropy(copy.deepcopy(twin).train(training)(b.inputs.double()), b.labels).item() for b in cut
        ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", NORMS)
def test_losses_are_those_of_networks_moved_by_hand(model, norm):
    net, cut = build(model, norm), batches()
    line, plane = slice_1d(net, cut, num_points=5), slice_2d(net, cut, span=0.5, num_points=3)
    assert line.steps == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert line.train_loss.shape == line.eval_loss.shape == (5, 1)
    for place, step in enumerate(line.steps):
        assert line.train_loss[place, 0] == pytest.approx(loss_at(net, (step, 0.0), cut, True), rel=1e-4)
        assert line.eval_loss[place, 0] == pytest.approx(loss_at(net, (step, 0.0), cut, False), rel=1e-4)
    assert plane.train_loss.shape == (3, 3)
    for i, a in enumerate(plane.steps):
        for j, b in enumerate(plane.other_steps):
            assert plane.train_loss[i, j] == pytest.approx(loss_at(net, (a, b), cut, True), rel=1e-4)
            assert plane.eval_loss[i, j] == pytest.approx(loss_at(net, (a, b), cut, False), rel=1e-4)
    np.testing.assert_allclose(plane.train_loss[:, 1], slice_1d(net, cut, span=0.5, num_points=3).train_loss[:, 0])


@folded("model", ["mlp", "cnn"])
@folded("norm", NORMS)
def test_every_filter_of_a_direction_is_as_long_as_the_weights_and_vectors_stand_still(model, norm):
    """Also where beta is 0 and gamma 1, as they are at the start, which other tools divide by."""
    net = build(model, norm)
    for direction in directions_of(net):
        assert set(direction) == {name for name, value in net.named_parameters() if value.dim() > 1}
        for name, value in direction.items():
            own, theirs = (x.detach().flatten(1).norm(dim=1) for x in (value, net.get_parameter(name)))
            torch.testing.assert_close(own, theirs)


def test_a_filter_of_zeros_stands_still():
    net = build()
    with torch.no_grad():
        net.blocks["hidden1"].linear.weight[3] = 0
    found = slice_1d(net, batches(), num_points=3)
    assert np.isfinite(found.train_loss).all()
    name = next(n for n, p in net.named_parameters() if p is net.blocks["hidden1"].linear.weight)
    assert directions_of(net)[0][name][3].abs().max() == 0


def test_seeds_give_directions():
    net, cut = build(), batches()
    one, same, other = (slice_1d(net, cut, num_points=3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train_loss, same.train_loss)
    assert abs(one.train_loss[0, 0] - other.train_loss[0, 0]) > 1e-6


def test_along_the_gradient_the_loss_rises_ahead_and_falls_behind():
    net, cut = build(norm="none"), batches()
    found = slice_1d(net, cut, span=0.01, num_points=3, direction="gradient")
    behind, here, ahead = found.train_loss[:, 0]
    assert behind < here < ahead


def test_the_gradients_slice_weighs_images_alike_however_they_are_cut():
    net, whole = build(norm="none"), Batch(images(30), torch.arange(30) % 5)
    cut = [Batch(whole.inputs[:4], whole.labels[:4]), Batch(whole.inputs[4:], whole.labels[4:])]
    one, other = (slice_1d(net, batches, num_points=5, direction="gradient") for batches in ([whole], cut))
    np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-4)


def test_in_eval_mode_it_does_not_matter_how_images_are_cut():
    net, whole = build(), Batch(images(1300), torch.arange(1300) % 5)
    cut = [Batch(*part) for part in zip(whole.inputs.split(200), whole.labels.split(200), strict=True)]
    one, other = (slice_1d(net, batches, num_points=3) for batches in ([whole], cut))
    np.testing.assert_allclose(one.eval_loss, other.eval_loss, rtol=1e-5)
    assert np.abs(one.train_loss - other.train_loss).max() > 1e-5


def test_scaling_weights_before_batch_norm_changes_no_slice():
    net, cut = build(), batches()
    for block in net.blocks.values():
        block.norm.eps = 1e-10
    before = slice_1d(net, cut, num_points=5)
    with torch.no_grad():
        for block in net.blocks.values():
            block.linear.weight.mul_(7)
    np.testing.assert_allclose(slice_1d(net, cut, num_points=5).train_loss, before.train_loss, rtol=1e-3)


def test_the_model_is_left_as_it_was():
    net = build("cnn").eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    slice_2d(net, batches(), num_points=3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not net.training
