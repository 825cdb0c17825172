"""The arms of a race, and what was measured of them."""

from pathlib import Path

import pytest
from judged_runs import Place, Written, rising, write_judged

from bnlab.results.curves import read_best_curves
from bnlab.results.race import cell_of, gain, read_race, saturated


def run(place: Place) -> Written | None:
    if place.norm == "none" and place.seed == 2:
        return None
    return rising(0.5 + 0.1 * place.seed, saturation=[0.8 - 0.1 * place.seed, 0.2, 0.1, 0.1, 0.3])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_judged(tmp_path / "mine", run, lrs=(0.1, 1.0), seeds=range(3))


def test_an_arm_is_what_its_ids_say_even_where_only_the_learning_rate_differs(folder: Path) -> None:
    parts = {f"lr={lr}": [f"batch-mlp-digits-lr{lr}-s{seed}-00000000" for seed in range(3)] for lr in ("0.1", "1")}
    arms = read_race(folder, parts)
    assert [arm.label for arm in arms] == ["lr=0.1", "lr=1"]
    assert [[run.seed for run in cell.runs] for arm in arms for cell in arm.cells] == [[0, 1, 2], [0, 1, 2]]
    cell = cell_of(arms[0])
    assert cell is not None
    assert cell.test_accuracies() == pytest.approx({0: 0.5, 1: 0.6, 2: 0.7})


def test_an_arm_of_which_no_run_is_there_has_no_cell(folder: Path) -> None:
    (arm,) = read_race(folder, {"gone": ["nothing"]})
    assert (cell_of(arm), gain(arm)) == (None, None)


def test_gain_and_saturation_are_means_over_seeds(folder: Path) -> None:
    (arm,) = read_race(folder, {"none": [f"none-mlp-digits-lr0.1-s{seed}-00000000" for seed in range(3)]})
    assert gain(arm) == pytest.approx((0.4 + 0.5) / 2)  # from 10% to 50 and 60%; seed 2 is not there
    found = saturated(read_best_curves(arm, every_diagnostic=True))
    assert found is not None
    assert found.start == pytest.approx((0.8 + 0.7) / 2 / 2)  # hidden1 and hidden2, which has 0
    assert found.most == pytest.approx((0.8 + 0.7) / 2)


def test_without_a_measurement_at_the_start_nothing_is_said_of_saturation() -> None:
    assert saturated({}) is None
