from pathlib import Path

import numpy as np
import pytest
from fake_sweep import run_folder, sweep_of

from bnlab.results.outcomes import Cell
from bnlab.results.sweep import read_sweep
from bnlab.results.versus import against_first, versus
from bnlab.stats.mean_interval import interval_of_means

LOSSES = {"batch": [0.5, 0.6, 0.9, 0.7, 0.55], "none": [1.5, 1.4, 2.1, 1.6, 1.45], "layer": [0.5, 0.65, 0.8, 0.75, 0.5]}


@pytest.fixture
def arms(tmp_path: Path) -> dict[str, int]:
    runs = [
        run_folder(tmp_path / "s", norm, 0.1, seed, [2.3, 1.0, loss])
        for norm, losses in LOSSES.items()
        for seed, loss in enumerate(losses)
    ]
    sweep_of(tmp_path / "s", runs)
    return {"n": len(runs)}


@pytest.mark.usefixtures("arms")
def test_arms_are_compared_with_the_first_seed_by_seed(tmp_path: Path) -> None:
    found = read_sweep(tmp_path / "s").read_arms().arms
    labels = [arm.label for arm in found]
    against = dict(zip(labels, against_first(found), strict=True))
    first = labels[0]
    assert against[first] == {}
    for label in labels[1:]:
        own = np.array(LOSSES[label]) - np.array(LOSSES[first])
        low, high = interval_of_means(own[None])
        got = against[label]["loss"].difference
        assert got.value == pytest.approx(own.mean())
        assert (got.low, got.high) == (pytest.approx(low[0]), pytest.approx(high[0]))
        assert "test_accuracy" not in against[label]  # none was tested
    assert against["none"]["loss"].is_apart == (against["none"]["loss"].difference.low > 0)


def test_apart_asks_for_all_comparisons_together() -> None:
    differences = [0.1, 0.14, 0.12, 0.16, 0.13, 0.11, 0.15, 0.1, 0.14, 0.05]
    one, many = versus(differences, (-1, 1), 0.95), versus(differences, (-1, 1), 1 - 1e-7)
    assert (one.is_apart, many.is_apart) == (True, False)
    assert one.difference == many.difference  # the interval that is shown is each one's own


ROUNDED = [0.9 - 0.8, 0.91 - 0.81, 0.92 - 0.82]  # as accuracies on a grid of images are: not equal in floats


@pytest.mark.parametrize("differences", [[0.1, 0.2], [0.002, 0.002, 0.002, 0.002], ROUNDED])
def test_two_seeds_and_seeds_that_agree_exactly_are_never_apart(differences: list[float]) -> None:
    assert not versus(differences, (-1, 1), 0.95).is_apart


@pytest.mark.parametrize("accuracies", [[0.02, 0.99], [0.0, 1.0, 0.99]])
def test_an_accuracy_never_leaves_what_can_be(tmp_path: Path, accuracies: list[float]) -> None:
    runs = [run_folder(tmp_path / "s", "batch", 0.1, k, [10.0, 10 - 10 * a]) for k, a in enumerate(accuracies)]
    sweep_of(tmp_path / "s", runs)
    (arm,) = read_sweep(tmp_path / "s").read_arms().arms
    cell: Cell = arm.cells[0]
    found = cell.mean("accuracy")
    assert found.low is not None
    assert found.high is not None
    assert (found.low, found.high) == (0.0, 1.0)
