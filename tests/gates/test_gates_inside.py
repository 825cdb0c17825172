"""What diagnostics of real trainings must show before a release, on real data with three seeds each.

Exploding and vanishing gradients, drift, collapse of rank, and saturation: with batch normalization and without.
The bounds lie well away from what ten seeds gave (scripts/bench_results/pilot.json); the recipes stand in conf/sweep.
"""

import math

import pytest

from bnlab.results.frames import read_curves, read_runs
from bnlab.sweeps.execute import run_sweep

pytestmark = pytest.mark.slow


def values(sweep, name, key, *words, step=0):
    """Return, by norm, a diagnostic's values over three seeds; over all steps, their mean, where none is given."""
    result = run_sweep([f"sweep={sweep}", "norm=batch,none", "seed=range(3)", *words], jobs=1)
    curves, rows = read_curves(result.folder), read_runs(result.folder)
    chosen = curves[(curves["name"] == name) & (curves["key"] == key)]
    if step is not None:
        chosen = chosen[chosen["step"] == step]
    by_run = chosen.groupby("run_id")["value"].mean()
    found = {norm: [by_run[run_id] for run_id in ids] for norm, ids in rows.groupby("norm")["run_id"]}
    assert {len(own) for own in found.values()} == {3}
    return found


def test_relu_behind_batch_norm_explodes_at_the_rate_of_theory():
    rates = values("exploding-gradient", "gradient_growth", "network/rate")
    assert all(abs(rate / (math.pi / (math.pi - 1)) - 1) < 0.05 for rate in rates["batch"])
    assert all(abs(rate - 1) < 0.1 for rate in rates["none"])


def test_the_gradient_vanishes_behind_ten_sigmoid_layers_and_not_with_batch_norm():
    ratios = values("vanishing-gradient", "gradient_ratio", "network")
    assert max(ratios["none"]) < 1e-3
    assert all(0.1 < ratio < 100 for ratio in ratios["batch"])


def test_batch_norm_drifts_less_than_half_as_much():
    drifts = values("drift", "preactivation_drift", "hidden3/normalized", step=None)
    assert all(one / other < 0.5 for one, other in zip(drifts["batch"], drifts["none"], strict=True))


def test_features_behind_thirty_relu_layers_keep_their_rank_with_batch_norm():
    # to trace a program of thirty layers takes four times as long as the one step of three runs
    ranks = values("rank-collapse", "effective_rank", "hidden30", "sweep.engine=sequential")
    assert all(one / other > 5 for one, other in zip(ranks["batch"], ranks["none"], strict=True))


def test_wide_weights_saturate_sigmoids_and_not_with_batch_norm():
    shares = values("wide-weights", "saturation", "hidden3")
    assert min(shares["none"]) > 0.5
    assert max(shares["batch"]) < 0.05
