"""What training must show before a release: gates H6 to H11, on digits and MNIST-5k.

Speed, learning rates, initial weights, small batches, running statistics.
"""

import math

import pytest
from gate_sweeps import SEEDS, Swept, diagnostic, differences, ratios, swept, told, validations

from bnlab.report.lr_sensitivity.summary import read_sensitivity

pytestmark = [pytest.mark.slow, pytest.mark.science]


def steps_to(target, budget):
    """Return what takes the first step with a validation accuracy of the target; a run without one counts with all."""

    def value_of(curves):
        found = validations(curves)
        reached = found[found["value"] >= target]["step"]
        return float(reached.min()) if len(reached) else float(budget)

    return value_of


def test_h6_batch_norm_reaches_95_percent_of_digits_in_less_than_two_fifths_of_the_steps(tmp_path):
    words = ("data=digits", "model.activation=sigmoid", "train.steps=800", "train.eval_every=10", "diagnostics=none")
    sweep = swept(tmp_path, "norm=batch,none", "optim.lr=1,3", *words)
    by_rate = {
        norm: [sweep.by_seed(steps_to(0.95, 800), norm=norm, optim__lr=lr) for lr in (1.0, 3.0)]
        for norm in ("batch", "none")
    }
    batch, none = ([min(at_rates) for at_rates in zip(*by_rate[norm], strict=True)] for norm in ("batch", "none"))
    told("H6", batch=batch, none=none)
    assert max(batch) < 800  # else the ratio would be none
    assert max(ratios(batch, none)) < 0.4


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """Learning rates by activation, half a decade apart."""
    words = ("norm=batch,none", "optim.lr=logspace(0.1,31.6227766,6)", "train.steps=1000", "train.eval_every=1000")
    runs = tmp_path_factory.mktemp("rates")
    return {
        activation: read_sensitivity(
            swept(runs, *words, "diagnostics=none", f"model.activation={activation}", f"name={activation}").folder,
            by="accuracy",
        )
        for activation in ("sigmoid", "relu")
    }


def figures_of(found, norm):
    (each,) = (each for each in found.arms if each.arm.settings["norm"] == norm)
    assert each.figures is not None
    assert len(found.grid.seeds) == len(SEEDS)
    return each.figures


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_h7_batch_norm_trains_at_three_times_the_learning_rate(rates, activation):
    batch, none = (figures_of(rates[activation], norm).trainable for norm in ("batch", "none"))
    least = [lr if lr is not None else math.nan for lr in batch.max_lr_by_seed]
    # where the other arm trains at no rate of the grid, or up to its last one, no ratio is known
    most = [
        lr if lr is not None and side == "exact" else math.inf
        for lr, side in zip(none.max_lr_by_seed, none.max_side_by_seed, strict=True)
    ]
    told(f"H7 {activation}", batch=least, none=most)
    assert min(ratios(least, most)) >= 3


def test_h8_batch_norm_is_less_than_half_as_sensitive_to_the_learning_rate(rates):
    batch, none = (figures_of(rates["sigmoid"], norm).accuracy_sensitivity.value for norm in ("batch", "none"))
    told("H8", batch=[batch], none=[none])
    assert batch < 0.5 * none


def test_h9_batch_norm_trains_from_weights_far_too_small_and_too_large(tmp_path):
    words = ("model.activation=relu", "optim.lr=0.3", "train.steps=1000", "train.eval_every=1000", "diagnostics=none")
    sweep = swept(tmp_path, "norm=batch,none", "model.init_std=0.001,1", *words)
    for std in (0.001, 1.0):
        batch, none = (sweep.accuracies(norm=norm, model__init_std=std) for norm in ("batch", "none"))
        told(f"H9 std {std:g}", batch=batch, none=none)
        assert max(none) < 0.3
        assert min(batch) > 0.7


def best_over_rates(sweep: Swept, norm: str, rates) -> list[float]:
    """Return, for each seed, the test accuracy at the rate that is best for all seeds by validation."""

    def validated(lr):
        return sum(sweep.by_seed(lambda curves: validations(curves)["value"].iloc[-1], norm=norm, optim__lr=lr))

    return sweep.accuracies(norm=norm, optim__lr=max(rates, key=validated))


@pytest.mark.parametrize(("batch_size", "steps"), [(2, 5000), (32, 600)])
def test_h10_layer_norm_beats_batch_norm_at_batches_of_two_alone(tmp_path, batch_size, steps):
    grid = (0.01, 0.03, 0.1) if batch_size == 2 else (0.1, 0.3)
    words = (f"train.steps={steps}", f"train.eval_every={steps}", "diagnostics=none", f"train.batch_size={batch_size}")
    sweep = swept(tmp_path, "norm=batch,layer", f"optim.lr={','.join(map(str, grid))}", *words)
    batch, layer = (best_over_rates(sweep, norm, grid) for norm in ("batch", "layer"))
    told(f"H10 batch {batch_size}", batch=batch, layer=layer)
    gained = differences(layer, batch)
    assert min(gained) > 0.1 if batch_size == 2 else max(map(abs, gained)) < 0.03


def test_h11_running_statistics_lag_behind_after_20_steps_and_not_after_500(tmp_path):
    words = ("norm=batch", "norm.momentum=0.99", "optim.lr=0.1", "train.steps=500", "accept=[statistics_not_settled]")
    measured = ("diagnostics.names=[accuracy_by_statistics]", "diagnostics.heavy_schedule.evenly=0")
    sweep = swept(tmp_path, *words, *measured, "diagnostics.heavy_schedule.at=[20]", "diagnostics.probe_size=500")
    lag = {}
    for step in (20, 500):
        running, population = (
            sweep.by_seed(diagnostic("accuracy_by_statistics", f"network/{kind}", step), norm="batch")
            for kind in ("running", "population")
        )
        lag[step] = differences(population, running)
        told(f"H11 step {step}", running=running, population=population)
    assert min(lag[20]) > 0.05
    assert max(map(abs, lag[500])) < 0.01
