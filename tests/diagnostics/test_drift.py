"""Drift, held against NumPy on stored pre-activations, and against answers that are planted."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from watched import by_unit, network, probe, seen, stored

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.drift import DriftFromStart, PreactivationDrift, WassersteinDrift
from bnlab.diagnostics.measuring import measure_all

CASES = [(m, n, p) for m in ("mlp", "cnn") for n in ("batch", "layer", "none") for p in ("before", "after")]
DRIFTS = ["preactivation_drift", "drift_from_start", "wasserstein_drift"]


def nudge(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))


def brute_drift(now, then):
    """Return raw and normalized drift and the growth of the spread, unit by unit, percentile by percentile."""
    moves, spreads_now, spreads_then = [], [], []
    for j in range(len(now)):
        q_now, q_then = np.percentile(now[j], [15, 50, 85]), np.percentile(then[j], [15, 50, 85])
        moves += list(np.abs(q_now - q_then))
        spreads_now.append(q_now[2] - q_now[0])
        spreads_then.append(q_then[2] - q_then[0])
    raw = np.mean(moves)
    return raw, raw / np.mean(spreads_now + spreads_then), np.mean(spreads_now) / np.mean(spreads_then)


@pytest.mark.parametrize(("model", "norm", "placement"), CASES)
def test_drift_over_three_looks_is_numpys(model, norm, placement):
    net, batch, memories = network(model, norm=norm, placement=placement), probe(), {}
    diagnostics, kept = build_diagnostics(DRIFTS), []
    for look in range(3):
        found = measure_all(diagnostics, net, net, batch, memories=memories)
        kept.append({role: by_unit(z) for role, (z, _) in stored(net, batch.inputs).items()})
        if look == 0:
            assert all(values == {} for values in found.values())
        nudge(net, look)
    for role in kept[0]:
        first, last, now = (one[role] for one in kept)
        raw, normalized, _ = brute_drift(now, last)
        assert found["preactivation_drift"][f"{role}/raw"].item() == pytest.approx(raw, rel=1e-4)
        assert found["preactivation_drift"][f"{role}/normalized"].item() == pytest.approx(normalized, rel=1e-4)
        raw, normalized, growth = brute_drift(now, first)
        assert found["drift_from_start"][f"{role}/raw"].item() == pytest.approx(raw, rel=1e-4)
        assert found["drift_from_start"][f"{role}/normalized"].item() == pytest.approx(normalized, rel=1e-4)
        assert found["drift_from_start"][f"{role}/spread_growth"].item() == pytest.approx(growth, rel=1e-4)
        for when, then in (("last", last), ("start", first)):
            work = np.mean([wasserstein_distance(now[j], then[j]) for j in range(len(now))])
            assert found["wasserstein_drift"][f"{role}/since_{when}"].item() == pytest.approx(work, rel=1e-4)


def after(kind, then, now):
    """Return what a diagnostic says of a layer that saw one thing and now sees another."""
    look = seen("tanh", then)
    memory = kind().remember(look)
    return {key.removeprefix("x/"): v.item() for key, v in kind().measure(seen("tanh", now, memory=memory)).items()}


def values():
    return torch.randn((50, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shift", [0.25, -3.0])
def test_a_shift_that_we_put_in_is_the_drift(shift):
    then, now = values(), values() + shift
    assert after(PreactivationDrift, then, now)["raw"] == pytest.approx(abs(shift), rel=1e-5)
    assert after(DriftFromStart, then, now)["raw"] == pytest.approx(abs(shift), rel=1e-5)
    assert after(DriftFromStart, then, now)["spread_growth"] == pytest.approx(1, rel=1e-5)
    assert after(WassersteinDrift, then, now) == pytest.approx(
        {"since_last": abs(shift), "since_start": abs(shift)}, rel=1e-5
    )


def test_the_normalized_drift_does_not_depend_on_the_unit_of_measure():
    small, large = (after(PreactivationDrift, s * values(), s * (values() + 1)) for s in (1e-3, 1e3))
    assert small["normalized"] == pytest.approx(large["normalized"], rel=1e-4)
    assert large["raw"] == pytest.approx(1e6 * small["raw"], rel=1e-4)


@pytest.mark.parametrize("factor", [0.1, 1.0, 7.0])
def test_a_factor_that_we_put_in_is_the_growth_of_the_spread(factor):
    assert after(DriftFromStart, values(), factor * values())["spread_growth"] == pytest.approx(factor, rel=1e-5)


def test_nothing_moved_is_no_drift():
    for kind in (PreactivationDrift, WassersteinDrift):
        assert set(after(kind, values(), values()).values()) == {0}


def test_the_order_of_images_does_not_matter():
    assert after(WassersteinDrift, values(), values().flip(0)) == {"since_last": 0, "since_start": 0}
