"""Precise running statistics, compared with the exact moments of the whole data set in float64 NumPy."""

import copy
import itertools
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from torch import nn

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_ablations import BatchBiasOnly, BatchCenterOnly, BatchScaleOnly, L1BatchNorm
from bnlab.norms.batch_noisy import NoisyBatchNorm
from bnlab.norms.batch_renorm import BatchRenorm
from bnlab.norms.catalog import build_norm
from bnlab.norms.ghost import GhostBatchNorm
from bnlab.norms.group import LayerNorm
from bnlab.norms.names import NORMS
from bnlab.norms.population import PopulationBatchNorm
from bnlab.norms.precise import PooledStatistics, precise_batch_stats

KEEPING_MOMENTS = {
    "ours": lambda: BatchNorm(3, momentum=0.99),
    "ours, unbiased": lambda: BatchNorm(3, momentum=None, unbiased_running_var=True),
    "torch": lambda: nn.BatchNorm1d(3, momentum=0.01),
    "torch, plain average": lambda: nn.BatchNorm1d(3, momentum=None, affine=False),
    "torch, in synchrony": lambda: nn.SyncBatchNorm(3),
    "center only": lambda: BatchCenterOnly(3),
    "scale only": lambda: BatchScaleOnly(3),
    "bias only": lambda: BatchBiasOnly(3, scale=2.0),
    "ghost": lambda: GhostBatchNorm(3, ghost_size=2),
    "renorm": lambda: BatchRenorm(3, warmup_steps=0),
    "population": lambda: PopulationBatchNorm(3),
    "frozen population": lambda: PopulationBatchNorm(3, source="frozen"),
    "noisy": lambda: NoisyBatchNorm(3),
}
RELATIVES = {  # name -> options under which, in a precise pass, it normalizes as plain BatchNorm does
    "batch": {},
    "batch_torch": {},
    "batch_bias_only": {},
    "batch_population": {},
    "batch_renorm": {"warmup_steps": 0, "r_ramp_steps": 0, "d_ramp_steps": 0},
    "ghost": {"ghost_size": 1000},
}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uneven(*space):
    """Return batches of 2 to 40 samples with means and scales of their own."""
    return [draw(n, 3, *space, seed=n) * (1 + n / 10) + n for n in (40, 7, 2, 12, 3)]


def rows_of(batches):
    return np.concatenate([np.moveaxis(x.detach().numpy(), 1, -1).reshape(-1, x.shape[1]) for x in batches])


@folded("name", KEEPING_MOMENTS)
@folded("space", [(), (5,)])
def test_one_layer_gets_the_exact_moments_of_all_values(name, space, monkeypatch):
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", nn.BatchNorm1d.forward)  # torch's refuses the CPU
    monkeypatch.setattr(nn.SyncBatchNorm, "_check_input_dim", nn.BatchNorm1d._check_input_dim)
    norm, batches = KEEPING_MOMENTS[name]().double(), uneven(*space)
    norm(batches[0])  # what stood there before counts for nothing
    pooled = precise_batch_stats(norm, batches)
    found = {key: value for key, value in norm.named_buffers() if key.startswith("running")}
    assert found
    for key, value in found.items():
        rows = rows_of(batches)
        exact = rows.mean(0) if key == "running_mean" else rows.var(0)
        np.testing.assert_allclose(value, exact, rtol=1e-12)
    assert pooled == PooledStatistics(num_layers=1, num_batches=5, num_samples=64)


def test_deviations_are_averaged_by_number_of_values():
    norm, batches = L1BatchNorm(3).double(), uneven(4)
    precise_batch_stats(norm, batches)
    rows = [rows_of([x]) for x in batches]
    deviations = [np.sqrt(np.pi / 2) * abs(r - r.mean(0)).mean(0) for r in rows]
    np.testing.assert_allclose(norm.running_mean, np.concatenate(rows).mean(0), rtol=1e-12)
    expected = np.average(deviations, axis=0, weights=[len(r) for r in rows])
    np.testing.assert_allclose(norm.running_deviation, expected, rtol=1e-12)


def test_batch_boundaries_do_not_matter_to_the_first_layer():
    x, norms = draw(60, 3), [BatchNorm(3).double() for _ in range(2)]
    precise_batch_stats(norms[0], x.split(7))
    precise_batch_stats(norms[1], [x])
    torch.testing.assert_close(norms[0].state_dict(), norms[1].state_dict())


def test_a_large_offset_does_not_cancel():
    """At 1e4 float32 numbers are 1/1024 apart; E[x^2] - E[x]^2 would be off by several times the variance."""
    norm, x = BatchNorm(3), (draw(4000, 3) + 1e4).float()
    precise_batch_stats(norm, x.split(16))
    np.testing.assert_allclose(norm.running_var, x.double().var(0, correction=0), rtol=1e-4)


# --- networks -------------------------------------------------------------------------------------------------------


def network(build=lambda: BatchNorm(5), seed=0):
    torch.manual_seed(seed)
    blocks = [[nn.Linear(3 if i == 0 else 5, 5), build(), nn.ReLU()] for i in range(3)]
    return nn.Sequential(*itertools.chain(*blocks), nn.Linear(5, 2)).double()


def inputs_of_norms_by_hand(model, batches, eps=1e-5):
    """Compute the network in NumPy with batch statistics; return the inputs of the three norms."""
    seen = ([], [], [])
    for x in batches:
        z = x.numpy()
        for i in range(3):
            linear = model[3 * i]
            z = z @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            seen[i].append(z)
            z = np.maximum((z - z.mean(0)) / np.sqrt(z.var(0) + eps), 0)
    return [np.concatenate(part) for part in seen]


@pytest.mark.parametrize("name", RELATIVES)
def test_layers_of_a_network_meet_inputs_normalized_by_batch_statistics(name):
    """Also for norms that train with running statistics, which are far from the population's before."""
    model, batches = network(lambda: build_norm(name, 5, **RELATIVES[name])), uneven()
    for norm in (model[1], model[4], model[7]):
        norm.running_mean.fill_(100.0)
    pooled = precise_batch_stats(model, batches)
    for norm, rows in zip((model[1], model[4], model[7]), inputs_of_norms_by_hand(model, batches), strict=True):
        np.testing.assert_allclose(norm.running_mean, rows.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(norm.running_var, rows.var(0), rtol=1e-9, atol=1e-12)
    assert pooled.num_layers == 3


def test_eval_loss_after_a_short_training_falls_to_that_of_batch_statistics():
    """At momentum 0.99 and after 20 steps, 0.82 of the running statistics is still their initial value."""
    model = network(lambda: BatchNorm(5, momentum=0.99))
    x = 3 * draw(512, 3) + 2
    labels = (x[:, 0] > 2).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step in range(20):
        part = slice(32 * (step % 16), 32 * (step % 16) + 32)
        optimizer.zero_grad()
        F.cross_entropy(model(x[part]), labels[part]).backward()
        optimizer.step()
    with torch.no_grad():
        by_batch = F.cross_entropy(copy.deepcopy(model)(x), labels)
        by_average = F.cross_entropy(model.eval()(x), labels)
        precise_batch_stats(model, zip(x.split(32), labels.split(32), strict=True))
        by_population = F.cross_entropy(model(x), labels)
    assert by_average > 1.5 * by_batch
    assert abs(by_population - by_batch) < 0.1 * by_batch


def test_with_the_whole_population_in_one_batch_eval_mode_is_training_mode():
    model, x = network(), draw(64, 3)
    precise_batch_stats(model, [x])
    torch.testing.assert_close(copy.deepcopy(model).eval()(x), model.train()(x))


def test_a_layer_met_twice_pools_both_of_its_inputs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = BatchNorm(3)

        def forward(self, x):
            return self.norm(x) + self.norm(x[:2] * 10).sum()

    model, x = Twice().double(), draw(8, 3)
    assert precise_batch_stats(model, [x]).num_layers == 1
    np.testing.assert_allclose(model.norm.running_var, rows_of([x, x[:2] * 10]).var(0), rtol=1e-12)


def test_a_layer_that_is_not_reached_keeps_what_it_had():
    model = nn.Sequential(BatchNorm(3), nn.Identity())
    model[1].spare = BatchNorm(3)
    assert precise_batch_stats(model, [draw(8, 3).float()]).num_layers == 1
    assert torch.equal(model[1].spare.running_var, torch.ones(3))


# --- what stays as it was -------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A user's layer with a buffer of its own that training changes, and with noise."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.calls.add_(1)
        return F.dropout(x, 0.5, self.training)


def test_modes_counts_other_buffers_gradients_and_random_state_stay():
    model = nn.Sequential(Counting(), BatchNorm(3), nn.Sequential(nn.BatchNorm1d(3), Counting()))
    model[1](draw(8, 3).float())
    model[2].eval()
    model[2][1].train()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    random_state = torch.get_rng_state()
    precise_batch_stats(model, [draw(8, 3, seed=i).float() for i in range(3)])
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "2.0.running_mean", "2.0.running_var"}
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_error_on_the_way_leaves_the_model_as_it_was():
    model = network().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="more than one value per channel"):
        precise_batch_stats(model, [draw(8, 3), draw(1, 3)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())


def test_statistics_are_written_into_the_buffers_that_stand_there():
    model = network()
    places = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    precise_batch_stats(model, [draw(8, 3)])
    assert {name: buffer.data_ptr() for name, buffer in model.named_buffers()} == places
    assert not any(buffer.requires_grad for buffer in model.buffers())


def test_batches_are_read_once_and_none_is_kept():
    alive = []

    def one_by_one():
        for i in range(10):
            assert sum(ref() is not None for ref in alive) <= 1
            x = draw(8, 3, seed=i)
            alive.append(weakref.ref(x))
            yield x

    assert precise_batch_stats(network(), one_by_one()).num_batches == 10


def test_empty_batches_count_for_nothing():
    model, x = BatchNorm(3).double(), draw(8, 3)
    assert precise_batch_stats(model, [x, x[:0]]) == PooledStatistics(1, 2, 8)
    np.testing.assert_allclose(model.running_var, x.numpy().var(0), rtol=1e-12)


# --- who takes part -------------------------------------------------------------------------------------------------


class MeanSquare(nn.Module):
    """A user's layer with another kind of statistic."""

    keeps_running_statistics = True

    def __init__(self):
        super().__init__()
        self.register_buffer("running_ms", torch.ones(3))

    def forward(self, x):
        return x / self.running_ms.sqrt()


class DeclaredMeanSquare(MeanSquare):
    def batch_statistics(self, x):
        return {"running_ms": x.square().mean(0)}


def test_a_layer_may_declare_what_its_statistics_are():
    model, batches = DeclaredMeanSquare().double(), uneven()
    precise_batch_stats(model, batches)
    np.testing.assert_allclose(model.running_ms, (rows_of(batches) ** 2).mean(0), rtol=1e-12)


def test_a_layer_with_statistics_that_it_does_not_declare_is_named():
    with pytest.raises(ConfigError, match=r"MeanSquare keeps .*: running_ms\. Give it a method batch_statistics\(x\)"):
        precise_batch_stats(nn.Sequential(MeanSquare(), BatchNorm(3)), [draw(8, 3).float()])


@pytest.mark.parametrize("model", [nn.Linear(3, 3), LayerNorm(3), BatchNorm(3, track_running_stats=False)])
def test_a_model_without_running_statistics_is_refused(model):
    with pytest.raises(ConfigError, match=f"needs a layer with running statistics, got {type(model).__name__}"):
        precise_batch_stats(model, [torch.ones(4, 3)])


@pytest.mark.parametrize(
    ("batches", "what"), [([], "no batch"), (iter(()), "no batch"), ([torch.ones(0, 3)], "1 batch")]
)
def test_no_values_are_refused_and_change_nothing(batches, what):
    model = BatchNorm(3)
    with pytest.raises(ConfigError, match=f"at least one batch with values in it, got {what}"):
        precise_batch_stats(model, batches)
    assert torch.equal(model.running_mean, torch.zeros(3))


def test_statistics_of_single_samples_are_refused():
    """Their average is not a moment of the population."""
    with pytest.raises(ConfigError, match="InstanceNorm1d averages those of single samples"):
        precise_batch_stats(nn.InstanceNorm1d(3, track_running_stats=True), [torch.randn(4, 3, 5)])


def test_a_norm_that_is_called_by_keyword_is_heard():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(input=x)

    model, x = ByKeyword(), torch.randn(8, 3)
    precise_batch_stats(model, [x])
    torch.testing.assert_close(model.norm.running_mean, x.mean(0))


@folded("name", NORMS)
def test_every_norm_of_the_catalog_that_keeps_statistics_can_be_made_precise(name):
    norm = build_norm(name, 8)
    if not norm.keeps_running_statistics:
        return
    before = {key: value.clone() for key, value in norm.named_buffers()}
    precise_batch_stats(norm, [3 * draw(6, 8, 4, 4, seed=i).float() + 1 for i in range(3)])
    moved = {key for key, value in norm.named_buffers() if not torch.equal(value, before[key])}
    assert moved
    assert moved == {key for key in before if key.startswith("running")}


def test_after_averaging_weights_it_sets_what_torchs_update_bn_passes_over():
    data = [5 + torch.randn(64, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    averaged = torch.optim.swa_utils.AveragedModel(nn.Sequential(BatchNorm(3)))
    norm = averaged.module[0]
    torch.optim.swa_utils.update_bn(data, averaged)
    assert not norm.running_mean.any()  # findings/update-bn-own-layer.sh
    precise_batch_stats(averaged, data)
    torch.testing.assert_close(norm.running_mean, torch.cat(data).mean(0))
