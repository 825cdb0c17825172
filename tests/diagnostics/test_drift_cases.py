"""How distributions move, held against NumPy's percentiles and SciPy's distance on stored activations."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pairs import every_pair
from scipy.stats import wasserstein_distance
from stacked import looked_at_together
from watched import by_unit, images, network, probe, seen, stored

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.by_unit import MOST_PER_UNIT
from bnlab.diagnostics.diagnostic import ProbeBatch
from bnlab.diagnostics.measuring import measure_all
from bnlab.models.blocks import ACTIVATIONS
from bnlab.training.checkpoint import read_checkpoint, write_checkpoint
from bnlab.training.stacked.runs import StackedRuns

NAMES = ["preactivation_drift", "drift_from_start", "wasserstein_drift"]
DRIFT = {"normalized", "raw"}
FACETS = {"preactivation_drift": DRIFT, "drift_from_start": {*DRIFT, "spread_growth"}}
FACETS["wasserstein_drift"] = {"since_last", "since_start"}

SETTINGS = {
    "model": ["mlp", "cnn"],
    "norm": ["batch", "layer", "none"],
    "placement": ["before", "after", "input"],
    "activation": list(ACTIVATIONS),
}


def look(net, batch, memories, names=NAMES):
    """Return what the diagnostics say of a network, as floats; what they remember goes into memories."""
    values = measure_all(build_diagnostics(names), net, net, batch, memories=memories)
    return {name: {role: v.item() for role, v in of.items()} for name, of in values.items()}


def move(net, seed):
    """Move all parameters at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))


def look_at_each(zs, activation="tanh"):
    """Look at one layer, called x, whose pre-activations are these, one step after another."""
    memories = {name: {} for name in NAMES}
    said = []
    for z in zs:
        said.append({})
        for diagnostic in build_diagnostics(NAMES):
            here = seen(activation, z, memory=memories[diagnostic.name])
            values = diagnostic.measure(here)
            memories[diagnostic.name] = diagnostic.remember(here)
            said[-1] |= {f"{diagnostic.name}/{key.removeprefix('x/')}": v.item() for key, v in values.items()}
    return said


def normal(num_values, num_units=1, seed=0):
    return torch.randn((num_values, num_units), generator=torch.Generator().manual_seed(seed))


def drift_by_hand(then, now):
    """Return normalized and raw drift and the growth of the spread, for values by unit."""
    q_then, q_now = (np.array([np.percentile(unit, [15, 50, 85]) for unit in units]) for units in (then, now))
    raw = np.mean([abs(q_now[j, p] - q_then[j, p]) for j in range(len(now)) for p in range(3)])
    spread_then, spread_now = (np.mean(q[:, 2] - q[:, 0]) for q in (q_then, q_now))
    return raw / np.mean([spread_then, spread_now]), raw, spread_now / spread_then


def distance_by_hand(then, now):
    return np.mean([wasserstein_distance(a, b) for a, b in zip(then, now, strict=True)])


def test_at_the_first_step_nothing_has_moved_and_nothing_is_said():
    assert look(network(), probe(), {}) == {name: {} for name in NAMES}


@pytest.mark.parametrize(list(SETTINGS), [tuple(case[key] for key in SETTINGS) for case in every_pair(SETTINGS)])
def test_all_are_those_of_percentiles_and_distances_by_hand(model, norm, placement, activation):
    net, batch, memories = network(model, activation, norm, placement), probe(activation), {}
    kept = []
    for step in range(3):
        said = look(net, batch, memories)
        kept.append({role: by_unit(z) for role, (z, _) in stored(net, batch.inputs).items()})
        move(net, seed=step)
    start, last, now = kept
    assert len(now) >= 2
    assert {name: set(values) for name, values in said.items()} == {
        name: {f"{role}/{facet}" for role in now for facet in facets} for name, facets in FACETS.items()
    }
    for role in now:
        normalized, raw, _ = drift_by_hand(last[role], now[role])
        assert raw > 1e-4  # or nothing was compared
        assert said["preactivation_drift"][f"{role}/normalized"] == pytest.approx(normalized, rel=1e-4)
        assert said["preactivation_drift"][f"{role}/raw"] == pytest.approx(raw, rel=1e-4)
        normalized, raw, growth = drift_by_hand(start[role], now[role])
        assert said["drift_from_start"][f"{role}/normalized"] == pytest.approx(normalized, rel=1e-4)
        assert said["drift_from_start"][f"{role}/raw"] == pytest.approx(raw, rel=1e-4)
        assert said["drift_from_start"][f"{role}/spread_growth"] == pytest.approx(growth, rel=1e-4)
        for facet, then in (("since_last", last), ("since_start", start)):
            expected = distance_by_hand(then[role], now[role])
            assert said["wasserstein_drift"][f"{role}/{facet}"] == pytest.approx(expected, rel=1e-4)


def test_a_bias_that_is_moved_is_the_drift_that_is_seen():
    net, batch, memories = network(norm="none", depth=2), probe(), {}
    look(net, batch, memories)
    shifts = torch.linspace(-3, 1, 12)
    with torch.no_grad():
        net.blocks["hidden1"].linear.bias.add_(shifts)
    said = look(net, batch, memories)
    for key in ("preactivation_drift", "drift_from_start"):
        assert said[key]["hidden1/raw"] == pytest.approx(shifts.abs().mean().item(), rel=1e-5)
    for facet in ("since_last", "since_start"):
        assert said["wasserstein_drift"][f"hidden1/{facet}"] == pytest.approx(shifts.abs().mean().item(), rel=1e-5)
    assert said["drift_from_start"]["hidden1/spread_growth"] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("factor", [0.25, 1.0, 66.0])
def test_a_layer_that_is_made_wider_is_seen_to_be_wider_by_as_much(factor):
    net, batch, memories = network(norm="none"), probe(), {}
    look(net, batch, memories)
    z = by_unit(stored(net, batch.inputs)["hidden1"][0])
    with torch.no_grad():  # its bias is 0 at the start
        net.blocks["hidden1"].linear.weight.mul_(factor)
    said = look(net, batch, memories)
    assert said["drift_from_start"]["hidden1/spread_growth"] == pytest.approx(factor, rel=1e-4)
    moved = abs(factor - 1) * abs(z).mean()
    assert said["wasserstein_drift"]["hidden1/since_start"] == pytest.approx(moved, rel=1e-4)
    assert (said["drift_from_start"]["hidden1/raw"] > 0) == (factor != 1)


def test_a_spread_without_end_tends_to_two_thirds_of_itself():
    """Its blind spot: normalized by the mean of both spreads, it saturates where spread_growth does not."""
    z = normal(1001)
    z = torch.cat([z, -z])
    _, wide = look_at_each([z, 1e6 * z])
    assert wide["drift_from_start/normalized"] == pytest.approx(2 / 3, rel=1e-4)
    assert wide["drift_from_start/spread_growth"] == pytest.approx(1e6, rel=1e-4)


def test_a_standard_normal_that_is_shifted_by_one_drifts_by_half_its_spread():
    z = torch.special.ndtri(torch.linspace(0, 1, 4003)[1:-1])[:, None]
    _, moved = look_at_each([z, z + 1])
    spread = 2 * 1.036433  # between the 15th and the 85th percentile
    assert moved["preactivation_drift/normalized"] == pytest.approx(1 / spread, rel=1e-3)
    assert moved["preactivation_drift/raw"] == pytest.approx(1, rel=1e-5)
    assert moved["wasserstein_drift/since_last"] == pytest.approx(1, rel=1e-5)


def test_there_and_back_is_no_way_from_the_start():
    z = normal(200, 3)
    first, there, back = look_at_each([z, z + 2, z])
    assert first == {}
    for said in (there, back):
        assert [said["preactivation_drift/raw"], said["wasserstein_drift/since_last"]] == pytest.approx([2, 2])
    assert [there["drift_from_start/raw"], there["wasserstein_drift/since_start"]] == pytest.approx([2, 2])
    assert (
        back["drift_from_start/raw"]
        == back["drift_from_start/normalized"]
        == back["wasserstein_drift/since_start"]
        == 0
    )
    assert back["drift_from_start/spread_growth"] == 1


def test_what_happens_in_the_tails_only_the_distance_sees():
    z = normal(200)
    tail = z.clone()
    tail[z.argmax()] += 100
    _, said = look_at_each([z, tail])
    assert said["preactivation_drift/raw"] == 0
    assert said["wasserstein_drift/since_last"] == pytest.approx(100 / 200, rel=1e-4)


def test_units_that_move_apart_are_seen_though_the_layer_stays():
    z = normal(200, 2)
    z[:, 1] = z[:, 0]
    _, said = look_at_each([z, z + torch.tensor([1.0, -1.0])])
    assert [said["preactivation_drift/raw"], said["wasserstein_drift/since_last"]] == pytest.approx([1, 1], rel=1e-5)


def test_behind_a_batch_norm_the_scale_of_weights_is_no_drift():
    net, batch, memories = network(norm="batch", depth=1), probe(), {}
    look(net, batch, memories)
    with torch.no_grad():
        net.blocks["hidden1"].linear.weight.mul_(50)
    said = look(net, batch, memories)
    assert said["preactivation_drift"]["hidden1/normalized"] < 1e-3
    assert said["drift_from_start"]["hidden1/spread_growth"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("shape", [(9000, 2), (100, 2, 9, 9)])
def test_of_many_values_a_fixed_part_is_looked_at_and_remembered(shape):
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    other = torch.randn(shape, generator=torch.Generator().manual_seed(1)) ** 3
    _, said = look_at_each([z, other])
    then, now = by_unit(z.double().numpy()), by_unit(other.double().numpy())
    stride = math.ceil(then.shape[1] / MOST_PER_UNIT)
    assert stride > 1
    then, now = then[:, ::stride], now[:, ::stride]
    normalized, raw, growth = drift_by_hand(then, now)
    assert said["preactivation_drift/normalized"] == pytest.approx(normalized, rel=1e-4)
    assert said["drift_from_start/raw"] == pytest.approx(raw, rel=1e-4)
    assert said["drift_from_start/spread_growth"] == pytest.approx(growth, rel=1e-4)
    assert said["wasserstein_drift/since_last"] == pytest.approx(distance_by_hand(then, now), rel=1e-4)
    memory = build_diagnostics(["wasserstein_drift"])[0].remember(seen("tanh", z))
    assert {value.shape for value in memory.values()} == {(2, then.shape[1])}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_no_number_shows_now_and_at_the_next_step(odd):
    z = normal(200, 3)
    broken = z.clone()
    broken[7, 1] = odd
    _, now, after = look_at_each([z, broken, z])
    assert all(math.isnan(value) for value in now.values())
    assert len(now) == 7
    since_last = {key for key, value in after.items() if math.isnan(value)}
    assert since_last == {"preactivation_drift/normalized", "preactivation_drift/raw", "wasserstein_drift/since_last"}


def test_one_value_per_unit_has_no_spread():
    _, said = look_at_each([torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 5.0]])])
    assert said == {
        "preactivation_drift/raw": 2,
        "drift_from_start/raw": 2,
        "wasserstein_drift/since_last": 2,
        "wasserstein_drift/since_start": 2,
    }


def test_a_layer_that_does_not_vary_has_infinite_drift_once_it_moves():
    z = torch.ones(50, 3)
    _, still, moved, varied = look_at_each([z, z, z + 1, normal(50, 3)])
    assert (still["preactivation_drift/normalized"], still["drift_from_start/spread_growth"]) == (0, 1)
    assert (moved["preactivation_drift/normalized"], moved["preactivation_drift/raw"]) == (math.inf, 1)
    assert varied["drift_from_start/spread_growth"] == math.inf
    assert math.isfinite(varied["drift_from_start/normalized"])


def test_layers_whose_norm_brings_its_own_nonlinearity_are_left_out():
    net, batch, memories = network("cnn", norm="frn"), probe(), {}
    look(net, batch, memories)
    move(net, 0)
    assert look(net, batch, memories) == {name: {} for name in NAMES}


def test_values_are_scalars_that_hold_no_graph_and_so_is_what_is_remembered():
    net, batch, memories = network(), probe(), {}
    for _ in range(2):
        values = measure_all(build_diagnostics(NAMES), net, net, batch, memories=memories)
    assert all(value.shape == () and not value.requires_grad for of in values.values() for value in of.values())
    assert not any(value.requires_grad for of in memories.values() for value in of.values())


@pytest.mark.parametrize(("model", "norm"), [("mlp", "none"), ("mlp", "batch"), ("cnn", "batch"), ("cnn", "layer")])
def test_together_they_say_what_each_says_alone_also_after_one_is_dropped(model, norm):
    nets = [network(model, norm=norm, seed=seed) for seed in range(3)]
    batch = probe()
    alone, together = [{} for _ in nets], [{} for _ in nets]
    for step in range(4):
        if step == 2:
            del nets[1], alone[1], together[1]
        expected = [look(net, batch, memory) for net, memory in zip(nets, alone, strict=True)]
        found = looked_at_together(NAMES, copy.deepcopy(nets), batch, [], together)
        for said, wanted in zip(found, expected, strict=True):
            assert said.keys() == wanted.keys()
            for name in NAMES:
                assert said[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6)
        for net in nets:
            move(net, seed=step)
    assert all(said[name] for said in found for name in NAMES)


def test_what_is_remembered_survives_a_checkpoint(tmp_path):
    net, batch, memories = network("cnn"), probe(), {}
    for step in range(2):
        look(net, batch, memories)
        move(net, seed=step)
    write_checkpoint(tmp_path / "state.pt", 2, net.state_dict(), {"diagnostics": memories})
    restored = read_checkpoint(tmp_path / "state.pt")["training"]["diagnostics"]
    assert look(net, batch, restored) == look(net, batch, memories)


@pytest.mark.slow
def test_runs_that_are_trained_together_resume_after_a_stop_and_a_loss(tmp_path: Path):
    words = ["data=digits", "data.limit=120", "model.width=16", "train.batch_size=20", "train.steps=50"]
    words += [f"diagnostics.names=[{','.join(NAMES)}]", "diagnostics.probe_size=100"]
    configs = [compose_run([*words, f"seed={seed}"]) for seed in range(3)]
    data = open_data(configs[0].data)
    run = StackedRuns(configs, data, torch.device("cpu"), 50)
    said = [run.measure(0, heavy=True)]
    steps = run.steps()
    for step in range(1, 4):
        next(steps)
        said.append(run.measure(step, heavy=True))
    states = run.state()
    for row, state in enumerate(states):
        write_checkpoint(tmp_path / f"{row}.pt", 3, state["model"], {"state": state})
    kept = [read_checkpoint(tmp_path / f"{row}.pt")["training"]["state"] for row in (0, 2)]
    resumed = StackedRuns([configs[0], configs[2]], data, torch.device("cpu"), 50)
    resumed.load_state(kept)
    run.drop([1])
    ways_on = []
    for one in (run, resumed):
        next(one.steps(3))
        ways_on.append(one.measure(4, heavy=True))
    assert ways_on[0] == ways_on[1]
    assert said[0] == [{name: {} for name in NAMES}] * 3
    for values in (*said[1], *said[3], *ways_on[0]):
        for name, facets in FACETS.items():
            assert {key.split("/")[1] for key in values[name]} == facets
            assert all(math.isfinite(value) and value > 0 for value in values[name].values())


def test_dropout_is_drawn_anew_at_each_step_and_counts_as_drift():
    """A blind spot that the docstring names: the network has not moved, its noise has."""
    net, memories = network(norm="batch_noisy"), {}
    batch = ProbeBatch(images(), torch.arange(40) % 5, "tanh")
    torch.manual_seed(0)
    look(net, batch, memories)
    torch.manual_seed(1)
    assert look(net, batch, memories)["preactivation_drift"]["hidden1/raw"] > 0.01
    torch.manual_seed(1)
    assert look(net, batch, memories)["preactivation_drift"]["hidden1/raw"] == 0
