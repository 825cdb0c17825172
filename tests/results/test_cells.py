"""The table of a sweep counts what diverged, and names the best learning rate that the study of it names."""

import math
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.report.lr_sensitivity.summary import read_sensitivity
from bnlab.results.cells import arms_of
from bnlab.results.curves import read_sweep_arms
from bnlab.results.responses import read_responses
from bnlab.results.sweep import read_sweep
from bnlab.stats.estimate import mean_over_seeds


def one_of_three_diverges_at_1(_: str, lr: float, seed: int) -> dict[str, Any]:
    """At 0.1 all end with 0.5; at 1 two with 0.1, and one diverges: (0.1 + 0.1 + 2.3) / 3 = 0.83."""
    if lr == 1.0 and seed == 0:
        return {"status": "diverged", "loss": float("nan"), "accuracy": 0.6, "start_loss": 2.3, "start_accuracy": 0.1}
    return {"loss": {0.01: 1.0, 0.1: 0.5, 1.0: 0.1}[lr], "accuracy": 0.7}


def test_a_run_that_diverged_counts_as_what_it_started_with(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, one_of_three_diverges_at_1, lrs=(0.01, 0.1, 1.0))
    cell = arms_of(read_sweep(folder))[0].cells[-1]
    assert (cell.num_runs, cell.num_diverged, cell.num_lacking) == (3, 1, 0)
    assert cell.validation_loss is not None
    assert cell.validation_loss.value == pytest.approx((0.1 + 0.1 + 2.3) / 3)
    assert cell.validation_accuracy is not None
    assert cell.validation_accuracy.value == pytest.approx((0.7 + 0.7 + 0.1) / 3)


def test_the_best_learning_rate_is_that_of_the_study(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, one_of_three_diverges_at_1, lrs=(0.01, 0.1, 1.0))
    best = arms_of(read_sweep(folder))[0].best
    figures = read_sensitivity(folder).arms[0].figures
    assert best is not None
    assert figures is not None
    assert best.settings["optim.lr"] == figures.best_by_loss.value == 0.1


def test_a_cell_that_mostly_does_better_can_be_the_best_though_one_of_its_runs_diverged(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
        return {**one_of_three_diverges_at_1("", lr, seed), **({"loss": 0.9} if lr == 0.1 else {})}

    best = arms_of(read_sweep(write_runs(tmp_path, outcome, lrs=(0.01, 0.1, 1.0))))[0].best
    assert best is not None
    assert best.settings["optim.lr"] == 1.0
    assert read_sensitivity(tmp_path).arms[0].figures.best_by_loss.value == 1.0  # type: ignore[union-attr]


def test_a_cell_without_all_of_its_results_is_not_the_best(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
        return {"status": "failed"} if (lr, seed) == (0.1, 0) else {"loss": {0.01: 1.0, 0.1: 0.1}[lr]}

    arm = arms_of(read_sweep(write_runs(tmp_path, outcome, lrs=(0.01, 0.1))))[0]
    assert arm.cells[1].lacking == {"failed": 1}
    assert arm.best is arm.cells[0]


def test_failed_and_missing_runs_are_counted_apart(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any] | None:
        if lr == 0.1 and seed == 2:
            return None
        return {"status": "failed"} if lr == 0.1 and seed == 1 else {"loss": lr}

    arm = arms_of(read_sweep(write_runs(tmp_path, outcome, norms=("batch",), lrs=(0.01, 0.1))))[0]
    assert [cell.lacking for cell in arm.cells] == [{}, {"failed": 1, "missing": 1}]
    assert [cell.num_runs for cell in arm.cells] == [3, 3]
    assert arm.best is arm.cells[0]


def test_a_run_whose_records_are_damaged_is_counted_among_the_diverged_and_in_no_mean(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, one_of_three_diverges_at_1, lrs=(0.01, 0.1, 1.0))
    (folder / "batch-mlp-digits-lr1-s0-00000000" / "metrics.jsonl").write_text("{\n{}\n")
    cell = arms_of(read_sweep(folder))[0].cells[-1]
    assert cell.num_diverged == 1
    assert cell.validation_loss is not None
    assert cell.validation_loss.value == pytest.approx(0.1)


def test_dashboard_table_and_study_count_the_same_runs_as_the_same(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
        kinds: list[dict[str, Any]] = [
            {"loss": 0.4, "accuracy": 0.8},
            {"loss": 9.0, "accuracy": 0.05},  # worse than its start
            {"loss": 9.0, "accuracy": 0.3},  # in one figure only
            {"loss": math.nan, "accuracy": 0.6},  # finished, and yet lost
            {"loss": 0.1, "accuracy": 0.9, "status": "diverged"},
            {"loss": 0.5, "accuracy": math.nan},
        ]
        return {**kinds[(seed + (lr > 1)) % 6], "start_loss": 2.3 + seed / 10, "start_accuracy": 0.1 + seed / 100}

    sweep = read_sweep(write_runs(tmp_path, outcome, norms=("none",), lrs=(0.1, 10.0), seeds=range(6)))
    (curve,) = (arm.curve for arm in read_responses(tmp_path).arms)
    (seen,), (printed,) = read_sweep_arms(sweep), arms_of(sweep)
    assert curve is not None
    assert curve.counted("loss")[:, 0] == pytest.approx([0.4, 2.4, 2.5, 2.6, 2.7, 0.5])
    assert curve.counted("accuracy")[:, 0] == pytest.approx([0.8, 0.11, 0.3, 0.13, 0.14, 0.15])
    for place, (response, cell) in enumerate(zip(seen.responses, printed.cells, strict=True)):
        assert response.loss == cell.validation_loss == mean_over_seeds(curve.counted("loss")[:, place].tolist())
        accuracies = curve.counted("accuracy")[:, place].tolist()
        assert response.accuracy == cell.validation_accuracy == mean_over_seeds(accuracies)
        assert response.num_diverged == cell.num_diverged == curve.lost()[:, place].sum() == 2
