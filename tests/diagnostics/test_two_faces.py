"""Running, precise and batch statistics, held against networks whose buffers NumPy and PyTorch set by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import Batch
from bnlab.norms.precise import precise_batch_stats

SIZE, COUNT = 10, 4
KEEPING = ["batch", "batch_torch", "ghost", "batch_renorm", "batch_population", "l1_batch", "batch_noisy"]


def population(num_batches=COUNT, size=SIZE):
    return tuple(Batch(images(size, 100 + i) * 2 + 1, (torch.arange(size) + i) % 5) for i in range(num_batches))


def trained(norm="batch", model="mlp", steps=5, **options):
    """Return a network whose running statistics have moved, and not settled."""
    net = network(model, "relu", norm, **options)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for step in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net.train()(images(SIZE, step)), torch.arange(SIZE) % 5).backward()
        optimizer.step()
    return net


def face(net, inputs, labels):
    """Return accuracy and loss in eval mode."""
    with torch.no_grad():
        logits = net.eval()(inputs)
    return (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item(), logits.argmax(1)


def set_to(net, batches):
    twin = copy.deepcopy(net)
    precise_batch_stats(twin, batches)
    return twin


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", [n for n in KEEPING if n != "batch_noisy"])
def test_each_face_is_that_of_a_network_with_those_statistics(model, norm):
    net, cut = trained(norm, model), population()
    batch = probe("relu", num_images=40, training_batches=cut)
    accuracy, loss, flips = (
        measured(name, net, batch) for name in ("accuracy_by_statistics", "loss_by_statistics", "prediction_flips")
    )
    pooled = set_to(net, [one.inputs for one in cut])
    trained_on = torch.cat([one.inputs for one in cut]), torch.cat([one.labels for one in cut])
    for prefix, (inputs, labels) in {"": (batch.inputs, batch.labels), "train_": trained_on}.items():
        for name, twin in (("running", net), ("precise", pooled)):
            expected = face(twin, inputs, labels)
            assert accuracy[f"network/{prefix}{name}"] == pytest.approx(expected[0], abs=1e-6)
            assert loss[f"network/{prefix}{name}"] == pytest.approx(expected[1], rel=1e-4)
        parts = [
            face(set_to(net, [part]), part, answers)
            for part, answers in zip(inputs.split(SIZE), labels.split(SIZE), strict=True)
        ]
        assert accuracy[f"network/{prefix}batch"] == pytest.approx(np.mean([part[0] for part in parts]), abs=1e-6)
        assert loss[f"network/{prefix}batch"] == pytest.approx(np.mean([part[1] for part in parts]), rel=1e-3)
        if not prefix:
            running = face(net, inputs, labels)[2]
            by_batch = torch.cat([part[2] for part in parts])
            assert flips["network/running_batch"] == pytest.approx((running != by_batch).double().mean().item())
            precise = face(pooled, inputs, labels)[2]
            assert flips["network/running_precise"] == pytest.approx((running != precise).double().mean().item())
    assert len(set(loss.values())) == 6  # or nothing was compared


@pytest.mark.parametrize("norm", ["batch", "batch_torch"])
def test_batch_statistics_give_what_training_mode_gives(norm):
    net, batch = trained(norm), probe("relu", num_images=SIZE, training_batches=population())
    with torch.no_grad():
        expected = F.cross_entropy(copy.deepcopy(net).train()(batch.inputs), batch.labels).item()
    assert measured("loss_by_statistics", net, batch)["network/batch"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", ["none", "layer", "group", "rms"])
def test_norms_without_running_statistics_have_one_face(norm):
    batch = probe("relu", training_batches=population())
    for name in ("accuracy_by_statistics", "loss_by_statistics", "prediction_flips", "running_mean_distance"):
        assert measured(name, network("mlp", "relu", norm), batch) == {}
    assert measured("statistic_noise", network("mlp", "relu", norm), batch) == {}


def test_distances_are_those_that_we_put_in():
    net, cut = trained(), population()
    net = set_to(net, [one.inputs for one in cut])
    batch = probe("relu", training_batches=cut)
    near = measured("running_mean_distance", net, batch), measured("running_variance_distance", net, batch)
    assert max(*near[0].values(), *near[1].values()) < 1e-4
    for norm in net.norms.values():
        norm.running_mean += 3 * (norm.running_var + 1e-5).sqrt()
        norm.running_var.copy_(4 * (norm.running_var + 1e-5) - 1e-5)
    means, variances = measured("running_mean_distance", net, batch), measured("running_variance_distance", net, batch)
    assert means == pytest.approx(dict.fromkeys(net.norms, 3.0), rel=1e-3)
    assert variances == pytest.approx(dict.fromkeys(net.norms, np.log(4)), rel=1e-3)


def test_an_own_norm_whose_statistics_cannot_be_pooled_is_left_out():
    class Odd(torch.nn.Module):
        keeps_running_statistics = True
        subtracts_mean = mixes_samples = False
        invariances = frozenset()

        def __init__(self):
            super().__init__()
            self.register_buffer("remembered", torch.zeros(12))

        def forward(self, x):
            return x

    net = network("mlp", "relu", "none")
    for block in net.blocks.values():
        block.norm = Odd()
    assert measured("accuracy_by_statistics", net, probe("relu", training_batches=population())) == {}


def test_without_training_images_there_is_nothing_to_compare_with():
    assert measured("accuracy_by_statistics", trained(), probe("relu")) == {}
