"""Running, population and batch statistics, held against networks whose buffers NumPy and PyTorch set by hand."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import by_unit, images, measured, network, probe

from bnlab.diagnostics import statistics_comparison
from bnlab.diagnostics.diagnostic import Batch
from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.norms.precise import precise_batch_stats

SIZE, COUNT = 10, 4
KEEPING = {  # name -> options
    "batch": {},
    "batch_torch": {},
    "batch_bias_only": {},
    "batch_center_only": {},
    "batch_devices": {"num_devices": 3},
    "batch_noisy": {},
    "batch_population": {},
    "batch_renorm": {"warmup_steps": 0},
    "batch_scale_only": {},
    "ghost": {"ghost_size": 4},
    "l1_batch": {},
    "switchable": {},
}
CUT = ["ghost", "batch_devices"]


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


def in_eval_mode(net, inputs, labels):
    """Return accuracy and loss in eval mode."""
    with torch.no_grad():
        logits = net.eval()(inputs)
    return (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item(), logits.argmax(1)


def set_to(net, batches):
    twin = copy.deepcopy(net)
    precise_batch_stats(twin, batches)
    return twin


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", [n for n in KEEPING if n not in {"batch_noisy", *CUT}])
def test_each_output_is_that_of_a_network_with_those_statistics(model, norm):
    net, cut = trained(norm, model, **KEEPING[norm]), population()
    batch = probe("relu", num_images=40, training_batches=cut)
    accuracy, loss, flips = (
        measured(name, net, batch) for name in ("accuracy_by_statistics", "loss_by_statistics", "prediction_flips")
    )
    pooled = set_to(net, [one.inputs for one in cut])
    trained_on = torch.cat([one.inputs for one in cut]), torch.cat([one.labels for one in cut])
    for prefix, (inputs, labels) in {"": (batch.inputs, batch.labels), "train_": trained_on}.items():
        for name, twin in (("running", net), ("population", pooled)):
            expected = in_eval_mode(twin, inputs, labels)
            assert accuracy[f"network/{prefix}{name}"] == pytest.approx(expected[0], abs=1e-6)
            assert loss[f"network/{prefix}{name}"] == pytest.approx(expected[1], rel=1e-4)
        parts = [
            in_eval_mode(set_to(net, [part]), part, answers)
            for part, answers in zip(inputs.split(SIZE), labels.split(SIZE), strict=True)
        ]
        assert accuracy[f"network/{prefix}batch"] == pytest.approx(np.mean([part[0] for part in parts]), abs=1e-6)
        assert loss[f"network/{prefix}batch"] == pytest.approx(np.mean([part[1] for part in parts]), rel=1e-3)
        if not prefix:
            running = in_eval_mode(net, inputs, labels)[2]
            by_batch = torch.cat([part[2] for part in parts])
            assert flips["network/running_batch"] == pytest.approx((running != by_batch).double().mean().item())
            by_population = in_eval_mode(pooled, inputs, labels)[2]
            assert flips["network/running_population"] == pytest.approx(
                (running != by_population).double().mean().item()
            )
    assert len(set(loss.values())) == 6  # or nothing was compared


@pytest.mark.parametrize("norm", ["batch", "batch_torch"])
def test_batch_statistics_give_what_training_mode_gives(norm):
    net, batch = trained(norm), probe("relu", num_images=SIZE, training_batches=population())
    with torch.no_grad():
        expected = F.cross_entropy(copy.deepcopy(net).train()(batch.inputs), batch.labels).item()
    assert measured("loss_by_statistics", net, batch)["network/batch"] == pytest.approx(expected, rel=1e-5)


def test_the_catalog_has_no_other_norm_that_keeps_running_statistics():
    keeping = [name for name in NORMS if build_norm(name, 32).keeps_running_statistics]
    assert sorted(keeping) == sorted(KEEPING)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", CUT)
def test_ghosts_and_devices_cut_a_batch_as_in_training(model, norm):
    net = trained(norm, model, **KEEPING[norm])
    batch = probe("relu", num_images=3 * SIZE, training_batches=population())
    with torch.no_grad():
        parts = [copy.deepcopy(net).train()(part) for part in batch.inputs.split(SIZE)]
        whole = [set_to(net, [part]).eval()(part) for part in batch.inputs.split(SIZE)]
    found = measured("loss_by_statistics", net, batch)["network/batch"]
    assert found == pytest.approx(F.cross_entropy(torch.cat(parts), batch.labels).item(), rel=1e-5)
    assert (torch.cat(parts) - torch.cat(whole)).abs().max() > 0.1  # or the cut did not matter


@pytest.mark.parametrize("num_images", [SIZE + 3, SIZE, 7])
def test_each_image_counts_once_though_the_last_do_not_fill_a_batch(num_images):
    net, batch = trained(), probe("relu", num_images=num_images, training_batches=population())
    groups = [(batch.inputs[:SIZE], slice(0, SIZE)), (batch.inputs[-SIZE:], slice(2 * SIZE - num_images, SIZE))]
    with torch.no_grad():
        rows = [copy.deepcopy(net).train()(part)[own] for part, own in groups[: 2 if num_images > SIZE else 1]]
    logits = torch.cat(rows)
    assert len(logits) == num_images
    found = measured("loss_by_statistics", net, batch)
    assert found["network/batch"] == pytest.approx(F.cross_entropy(logits, batch.labels).item(), rel=1e-5)


def test_many_images_go_through_in_pieces_and_come_out_the_same(monkeypatch):
    net, batch = trained(), probe("relu", num_images=64, training_batches=population())
    whole = measured("loss_by_statistics", net, batch)
    monkeypatch.setattr(statistics_comparison, "MOST_AT_ONCE", 12)
    assert measured("loss_by_statistics", net, batch) == pytest.approx(whole, rel=1e-5)


def test_dropout_and_noise_are_off_with_all_statistics():
    """Else batch statistics would do worse for another reason than that they are a batch's."""
    net, batch = trained("batch_noisy"), probe("relu", num_images=4 * SIZE, training_batches=population())
    same = [measured("loss_by_statistics", net, batch)["network/batch"] for _ in range(2)]
    assert same[0] == same[1]
    quiet = copy.deepcopy(net)
    for norm in quiet.norms.values():
        norm.__class__ = BatchNorm
    assert measured("loss_by_statistics", quiet, batch)["network/batch"] == pytest.approx(same[0], rel=1e-5)


@pytest.mark.parametrize("broken", ["weight", "running_var"])
def test_a_broken_network_is_never_called_healthy(broken):
    net, batch = trained(), probe("relu", num_images=SIZE, training_batches=population())
    with torch.no_grad():
        getattr(net.norms["hidden2"], broken)[3] = math.nan
    accuracy, flips = measured("accuracy_by_statistics", net, batch), measured("prediction_flips", net, batch)
    assert math.isnan(accuracy["network/running"])
    assert all(math.isnan(value) for value in flips.values())
    assert math.isnan(accuracy["network/population"]) == (broken == "weight")
    if broken == "running_var":
        assert math.isnan(measured("running_variance_distance", net, batch)["hidden2"])
        assert not math.isnan(measured("running_variance_distance", net, batch)["hidden1"])


def inputs_by_norm(net, batches):
    """Return, by role, what each norm is given in training mode, (N, C, *S) per batch."""
    seen = {role: [] for role in net.norms}
    hooks = [
        norm.register_forward_pre_hook(lambda _, args, role=role: seen[role].append(args[0].detach().double().numpy()))
        for role, norm in net.norms.items()
    ]
    twin_state = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    for batch in batches:
        torch.set_rng_state(random_state)
        net.train()(batch.inputs)
    torch.set_rng_state(random_state)
    for hook in hooks:
        hook.remove()
    net.load_state_dict(twin_state)
    return {role: [by_unit(x) for x in inputs] for role, inputs in seen.items()}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", [n for n in KEEPING if n not in {"batch_population", "batch_renorm"}])
def test_distances_are_numpys(model, norm):
    """Two train by running statistics, which a precise pass replaces by the batch's: no plain training mode."""
    net, cut = trained(norm, model, **KEEPING[norm]), population()
    batch = probe("relu", training_batches=cut)
    means, variances = measured("running_mean_distance", net, batch), measured("running_variance_distance", net, batch)
    expected_means, expected_variances = {}, {}
    for role, units in inputs_by_norm(net, cut).items():
        values, own = np.concatenate(units, 1), dict(net.norms[role].named_buffers())
        if "running_mean" in own:
            apart = np.abs(own["running_mean"].numpy() - values.mean(1)) / np.sqrt(values.var(1) + 1e-5)
            expected_means[role] = apart.mean()
        if "running_var" in own:
            ratio = (own["running_var"].double().numpy() + 1e-5) / (values.var(1) + 1e-5)
            expected_variances[role] = np.abs(np.log(ratio)).mean()
        if "running_deviation" in own:
            deviation = np.mean([np.abs(u - u.mean(1)[:, None]).mean(1) for u in units], 0) * np.sqrt(np.pi / 2)
            ratio = (own["running_deviation"].double().numpy() ** 2 + 1e-5) / (deviation**2 + 1e-5)
            expected_variances[role] = np.abs(np.log(ratio)).mean()
    assert means == pytest.approx(expected_means, rel=1e-3)
    assert variances == pytest.approx(expected_variances, rel=1e-3)
    assert means or variances
    assert (norm != "batch_center_only") == bool(variances)
    assert (norm != "batch_scale_only") == bool(means)


@pytest.mark.parametrize("norm", ["none", "layer", "group", "rms"])
def test_norms_without_running_statistics_have_nothing_to_compare(norm):
    batch = probe("relu", training_batches=population())
    for name in ("accuracy_by_statistics", "loss_by_statistics", "prediction_flips", "running_mean_distance"):
        assert measured(name, network("mlp", "relu", norm), batch) == {}
    assert measured("batch_statistics_noise", network("mlp", "relu", norm), batch) == {}


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
