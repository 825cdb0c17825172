"""The cause of a gap between statistics: right on faults that are planted in real trainings, and by its rules."""

import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from folded import folded

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.data.splits import Split
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked
from bnlab.report.network.gap import (
    BRIEFEST_AVERAGE,
    LOSS_TOLERANCE,
    SMALL_START,
    Circumstances,
    circumstances_of,
    explain,
    explain_gap,
)
from bnlab.report.network.read import Curve, Key, Measured, MeasuredRun
from bnlab.runfolder.index import by_name, flatten
from bnlab.seeding import stream_seed
from bnlab.training.loop import Plan
from bnlab.training.precision import computing_with
from bnlab.training.probing import build_probe

NAMES = "diagnostics.names=[accuracy_by_statistics,loss_by_statistics]"
HEALTHY = ["train.steps=150"]
SLOW, FEW, SMALL = "momentum too slow for the steps made", "too few steps", "batch too small"
DATA, MODE = "shift between training and evaluation data", "shift between training and evaluation mode"
FAULTS = {  # words, what becomes of the held-out images, cause, what the sentence must say
    "a momentum of .999 for 100 steps": (
        ["norm.momentum=0.999", "train.steps=100"],
        None,
        SLOW,
        ["norm.momentum=0.999 is too slow for 100 steps", "90% of each running average still is its start"],
    ),
    "a momentum of .99 for 20 steps": (["norm.momentum=0.99", "train.steps=20"], None, SLOW, ["Lower it to 0.86"]),
    "5 steps": (["train.steps=5"], None, FEW, ["After 5 steps 59% of each running average still is its start"]),
    "a batch of 2": (
        ["train.batch_size=2", "optim.lr=0.03", "diagnostics.population_size=400", *HEALTHY],
        None,
        SMALL,
        ["Statistics of 2 images", "Raise train.batch_size"],
    ),
    "ghosts of 4": (["norm=ghost", "norm.ghost_size=4", *HEALTHY], None, SMALL, ["of 4 images", "norm.ghost_size"]),
    "brighter images": (HEALTHY, lambda x: x + 1, DATA, ["Held-out images are distributed differently"]),
    "paler images": (HEALTHY, lambda x: 0.4 * x, DATA, ["Look at how the two sets were made"]),
    "nothing": (HEALTHY, None, "no gap", ["do equally well"]),
    "nothing, in 100 steps": (["train.steps=100"], None, "no gap", []),
    "nothing, behind the activation": (["placement=after", *HEALTHY], None, "no gap", []),
    "nothing, torch's layer": (["norm=batch_torch", *HEALTHY], None, "no gap", []),
    "nothing, batches of 32": (["train.batch_size=32", *HEALTHY], None, "no gap", []),
    "nothing, other images of another brightness": (HEALTHY, lambda x: 1.02 * x + 0.02, "no gap", []),
}

SEEDS = {"relu": 0, "sigmoid": 2}
"""Two seeds of each fault, one for each activation."""

QUICK = {"5 steps"}
"""Faults of the shortest trainings, which the quick tests plant too, with relu."""


@functools.cache
def begun(words, seed):
    """Assemble a run on real images; return it with its config, its data and the number of steps made so far.

    Faults that differ in their held-out images alone share it: it is trained once.
    """
    config = compose_run(["data=digits", "diagnostics=full", NAMES, f"seed={seed}", *words])
    plan = Plan(config.train.steps, 60, 10, 50, frozenset(), frozenset(), False, None, 3.0, 100)
    data, cpu = open_data(config.data), torch.device("cpu")
    with computing_with(1, stream_seed(seed, "noise"), cpu):
        run, _ = assemble(config, Checked(data, cpu, 1, plan, []))
    return run, config, data, run.steps(), [0]


def trained(words, seed=0, change=None, at=()):
    """Train on real images; return, by step, accuracies and losses by statistics, and what the config says."""
    run, config, data, steps, done = begun(tuple(words), seed)
    if change is not None:
        held_out = data.validation
        data = dataclasses.replace(data, validation=Split(change(held_out.images), held_out.labels))
    run.probe = build_probe(config, data, "relu")
    found = {}
    with computing_with(1, stream_seed(seed, "noise"), torch.device("cpu")):
        for step in (*at, config.train.steps):
            list(itertools.islice(steps, step - done[0]))
            done[0] = step
            (measured,) = run.measure(step, heavy=True)
            found[step] = [
                {key.removeprefix("network/"): value for key, value in measured[f"{name}_by_statistics"].items()}
                for name in ("accuracy", "loss")
            ] + [circumstances_of(by_name(flatten(config.as_dict())), step)]
    return found


@pytest.mark.parametrize(
    ("fault", "activation"),
    [
        pytest.param(fault, activation, marks=() if activation == "relu" and fault in QUICK else pytest.mark.slow)
        for activation in ("relu", "sigmoid")
        for fault in FAULTS
    ],
)
def test_a_planted_fault_is_named(fault, activation):
    words, change, cause, said = FAULTS[fault]
    (found,) = trained([*words, f"model.activation={activation}"], SEEDS[activation], change).values()
    gap = explain(*found)
    assert gap.cause == cause, (gap, found)
    for phrase in said:
        assert phrase in gap.sentence


@pytest.mark.slow
def test_dropout_before_a_norm_is_a_shift_between_modes():
    """Variance shift (Li et al. 2019): what dropout thins in training mode comes whole in eval mode."""
    for seed in range(2):
        (found,) = trained(["model.dropout=0.5", "model.activation=sigmoid", *HEALTHY], seed).values()
        gap = explain(*found)
        assert gap.cause == MODE, (seed, gap, found)
        assert "dropout (0.5)" in gap.sentence


@pytest.mark.slow
def test_a_slow_average_costs_accuracy_after_20_steps_and_none_after_500():
    """At momentum 0.99 a running average still is 82% its start after 20 steps, 0.7% after 500."""
    found = trained(["data=mnist_5k", "norm.momentum=0.99", "train.steps=500"], at=(20,))
    early, late = found[20][0], found[500][0]
    assert early["population"] - early["running"] > 0.05
    assert abs(early["population"] - early["batch"]) < 0.03
    assert abs(late["population"] - late["running"]) < 0.01
    assert [explain(*one).cause for one in found.values()] == [SLOW, "no gap"]


# --- the rules ------------------------------------------------------------------------------------------------------


def figures(**changed):
    names = ["running", "population", "batch", "train_running", "train_population", "train_batch"]
    return {**dict.fromkeys(names, 0.9), **changed}


def told(accuracies, losses=None, *, updates=1000, momentum=0.9, batch_size=60, samples=None, dropout=0.0):
    return explain(accuracies, losses, Circumstances(updates, momentum, batch_size, samples or batch_size, dropout))


def test_equal_figures_are_no_gap():
    assert told(figures()).cause == "no gap"
    assert told(figures(), figures()).cause == "no gap"


@folded(
    ("updates", "momentum", "cause"),
    [
        (5, 0.9, FEW),
        (5, 0.999, FEW),
        (14, 0.99, FEW),
        (16, 0.99, SLOW),
        (1000, 0.999, SLOW),
        (10_000, 0.9, SLOW),
        (1000, None, SLOW),
        (5, None, FEW),
        (1000, 1.0, SLOW),
        (1000, 0.1, SMALL),
    ],
)
def test_a_wrong_average_is_laid_to_the_steps_or_to_the_momentum(updates, momentum, cause):
    gap = told(figures(train_running=0.5, running=0.5), updates=updates, momentum=momentum)
    assert gap.cause == cause
    if momentum is not None and 0.01 < momentum**updates < 1:
        assert f"{momentum**updates:.0%} of each running average still is its start" in gap.sentence
    if cause == SLOW and momentum not in {None, 1.0} and momentum**updates <= 0.01:
        assert "lags behind the weights" in gap.sentence


@pytest.mark.parametrize("updates", [16, 20, 28, 100, 5000])
def test_the_momentum_that_is_advised_forgets_its_start_and_averages_enough(updates):
    sentence = told(figures(train_running=0.5), updates=updates, momentum=0.999).sentence
    advised = float(sentence.split("Lower it to ")[1].split(",")[0])
    assert advised**updates <= SMALL_START
    assert advised >= BRIEFEST_AVERAGE - 0.01


def test_advice_never_is_the_momentum_that_is_set():
    assert "Lower it, or the learning rate" in told(figures(train_running=0.5), momentum=0.9).sentence


def test_the_larger_of_two_gaps_names_the_cause():
    assert told(figures(train_running=0.5, train_batch=0.8), updates=100, momentum=0.999).cause == SLOW
    assert told(figures(train_running=0.8, train_batch=0.5), updates=100, momentum=0.999).cause == SMALL


def test_running_statistics_that_do_better_are_no_fault():
    """A norm that trains with them (batch_population) has fitted its weights to them."""
    assert told(figures(train_population=0.5, train_batch=0.5, population=0.5, batch=0.5)).cause == "no gap"


def test_held_out_images_that_do_worse_by_their_own_statistics_are_not_shifted():
    """Small batches cost most where the fit is not perfect: that is no shift."""
    assert told(figures(batch=0.8)).cause == "no gap"


def test_held_out_images_that_gain_as_training_images_do_are_not_shifted():
    gains = figures(train_batch=0.95, batch=0.96)
    assert told(gains, dropout=0.5).cause == MODE
    assert told({**gains, "batch": 0.99, "population": 0.7}, dropout=0.5).cause == DATA


def test_a_gap_can_be_in_the_loss_alone():
    accuracies, losses = figures(), figures(train_running=0.9 + 2 * LOSS_TOLERANCE)
    assert told(accuracies, losses, updates=200, momentum=0.99).cause == SLOW
    assert told(accuracies, figures(train_running=0.9 + 0.9 * LOSS_TOLERANCE)).cause == "no gap"
    assert told(accuracies, figures(train_running=float("inf"))).cause == SLOW


def test_a_network_whose_outputs_are_no_numbers_has_no_cause():
    assert told(figures(train_population=float("nan"))) is None
    assert told({"running": 0.9}) is None


# --- what the config says -------------------------------------------------------------------------------------------


def said(*words):
    return circumstances_of(by_name(flatten(compose_run(["data=digits", *words]).as_dict())), 100)


def test_under_accumulation_a_norm_sees_a_part_of_a_batch():
    assert said("train.accumulation=3", "norm.momentum=0.99") == Circumstances(300, 0.99, 20, 20, 0.0)


@pytest.mark.slow
def test_circumstances_are_those_of_the_config():
    assert said() == Circumstances(100, 0.9, 60, 60, 0.0)
    assert said("norm=ghost", "model.dropout=0.2") == Circumstances(100, 0.9, 60, 16, 0.2)
    assert said("norm=ghost", "norm.ghost_size=100").samples_per_statistic == 60
    assert said("norm=batch_devices", "norm.num_devices=4").samples_per_statistic == 15
    assert said("norm=batch_devices", "norm.num_devices=4", "norm.sync=true").samples_per_statistic == 60
    assert said("norm=batch_population", "norm.source=frozen").momentum == 1.0
    assert said("norm.momentum=null").momentum is None
    assert said("norm=layer").momentum is None


def test_the_momentum_of_somebodys_own_layer_is_not_read_in_our_sense():
    assert circumstances_of({"norm": "torch.nn:BatchNorm1d", "norm.momentum": 0.1, "train.batch_size": 60}, 5) == (
        Circumstances(5, None, 60, 60, 0.0)
    )


def recorded(name, values):
    """Return what a run recorded of one diagnostic, at steps 0 and 100."""
    curves = {Key("network", facet): Curve(np.array([0.0, 100.0]), np.array([0.1, v])) for facet, v in values.items()}
    return Measured(name, None, curves)


def test_a_run_is_judged_by_the_last_step_at_which_it_was_measured():
    accuracy = recorded("accuracy_by_statistics", figures(train_running=0.5))
    loss = recorded("loss_by_statistics", figures())
    settings = {"norm": "batch", "norm.momentum": 0.999, "train.batch_size": 60}
    inside = MeasuredRun(Path("run"), settings, {"accuracy_by_statistics": accuracy, "loss_by_statistics": loss})
    gap = explain_gap(inside)
    assert gap.cause == SLOW
    assert "for 100 steps" in gap.sentence
    assert "(50% right, loss 0.90)" in gap.sentence


def test_a_run_without_such_figures_is_not_judged():
    assert explain_gap(MeasuredRun(Path("run"), {}, {})) is None
    loss = recorded("loss_by_statistics", figures())
    assert explain_gap(MeasuredRun(Path("run"), {}, {"loss_by_statistics": loss})) is None
