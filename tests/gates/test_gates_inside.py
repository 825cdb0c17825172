"""What the inside of networks must show before a release: gates H3 to H5 and H12 to H15, on real data.

Exploding and vanishing gradients, drift, collapse of rank, and saturation: with batch normalization and without. The
bounds lie well away from what ten seeds gave (scripts/bench_results/pilot.json); the recipes stand in conf/sweep.
"""

import math

import numpy as np
import pytest
import torch
from gate_sweeps import SEEDS, Swept, diagnostic, differences, mean_accuracy, ratios, swept, told
from torch import nn

from bnlab.norms.batch import BatchNorm

pytestmark = [pytest.mark.slow, pytest.mark.science]


def test_h3_relu_behind_batch_norm_explodes_at_the_rate_of_theory(tmp_path):
    sweep = swept(tmp_path, "sweep=exploding-gradient", "norm=batch,none")
    batch, none = (
        sweep.by_seed(diagnostic("gradient_growth", "network/rate"), norm=norm) for norm in ("batch", "none")
    )
    told("H3", batch=batch, none=none)
    assert all(abs(rate / (math.pi / (math.pi - 1)) - 1) < 0.05 for rate in batch)
    assert all(abs(rate - 1) < 0.1 for rate in none)


def growth_of_linear_layers(seed: int, norm: type[nn.Module] | None, *, width: int = 500, depth: int = 30) -> float:
    """Return the factor per layer of the squared gradient, on its way back through layers 25 to 5 of a linear net."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, width, generator=generator)
    outputs = []
    for _ in range(depth):
        x = x @ torch.randn(width, width, generator=generator) / math.sqrt(width)
        x = x.requires_grad_()
        x.retain_grad()
        outputs.append(x)
        x = x if norm is None else norm(width)(x)
    (x * torch.randn(x.shape, generator=generator)).sum().backward()
    logs = [math.log(float(z.grad.square().sum())) for z in outputs[5:26]]
    return math.exp(-np.polyfit(range(5, 26), logs, 1)[0])


def test_h4_linear_layers_behind_batch_norm_explode_at_the_rate_of_theory():
    batch, none = ([growth_of_linear_layers(seed, norm) for seed in SEEDS] for norm in (BatchNorm, None))
    told("H4", batch=batch, none=none)
    assert all(abs(rate / (6 / 5) - 1) < 0.06 for rate in batch)  # (B - 2) / (B - 3) at B = 8
    assert all(abs(rate - 1) < 0.1 for rate in none)


def test_h5_the_gradient_vanishes_behind_ten_sigmoid_layers_and_not_with_batch_norm(tmp_path):
    sweep = swept(tmp_path, "sweep=vanishing-gradient", "norm=batch,none")
    batch, none = (sweep.by_seed(diagnostic("gradient_ratio", "network"), norm=norm) for norm in ("batch", "none"))
    told("H5", batch=batch, none=none)
    assert max(none) < 1e-3
    assert all(0.1 < ratio < 100 for ratio in batch)


@pytest.fixture(scope="module")
def drift(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("drift"), "sweep=drift", "norm=batch,none,batch_noisy", "train.eval_every=20")


DRIFT = diagnostic("preactivation_drift", "hidden3/normalized", step=None)


def test_h12_batch_norm_drifts_less_than_half_as_much(drift: Swept):
    found = ratios(drift.by_seed(DRIFT, norm="batch"), drift.by_seed(DRIFT, norm="none"))
    told("H12", ratio=found)
    assert max(found) < 0.5


def test_h13_noisy_batch_norm_drifts_far_more_and_trains_as_well(drift: Swept):
    moved = ratios(drift.by_seed(DRIFT, norm="batch_noisy"), drift.by_seed(DRIFT, norm="batch"))
    batch, noisy, none = (drift.by_seed(mean_accuracy, norm=norm) for norm in ("batch", "batch_noisy", "none"))
    recovered = ratios(differences(noisy, none), differences(batch, none))
    told("H13", drift_ratio=moved, recovered=recovered, batch=batch, noisy=noisy, none=none)
    assert min(differences(batch, none)) > 0.05  # there is a gap to be recovered
    assert min(recovered) > 0.8
    assert min(moved) > 3


def test_h14_features_behind_thirty_relu_layers_keep_their_rank_with_batch_norm(tmp_path):
    # to trace a program of thirty layers takes four times as long as the one step of three runs
    sweep = swept(tmp_path, "sweep=rank-collapse", "norm=batch,none", "sweep.engine=sequential")
    batch, none = (sweep.by_seed(diagnostic("effective_rank", "hidden30"), norm=norm) for norm in ("batch", "none"))
    told("H14", batch=batch, none=none)
    assert min(ratios(batch, none)) > 5


def test_h15_wide_weights_saturate_sigmoids_and_not_with_batch_norm(tmp_path):
    sweep = swept(tmp_path, "sweep=wide-weights", "norm=batch,none")
    batch, none = (sweep.by_seed(diagnostic("saturation", "hidden3"), norm=norm) for norm in ("batch", "none"))
    told("H15", batch=batch, none=none)
    assert min(none) > 0.5
    assert max(batch) < 0.05
