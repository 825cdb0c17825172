import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from measured_runs import write_measured_run

from bnlab.diagnostics.cards import Card
from bnlab.report.network.panel import LETTERS, panel_rows, sparkline
from bnlab.report.network.read import Curve, Key, read_measured_run
from bnlab.runfolder.folder import RunFolder


def curve(*values: float) -> Curve:
    return Curve(np.arange(float(len(values))), np.array(values))


def shown_key(folder: Path, curves: dict[str, list[float]], card: Card | None = None) -> Key:
    run = read_measured_run(RunFolder(write_measured_run(folder / "run", {"d": curves})))
    (row,) = panel_rows(replace(run, measured={"d": replace(run.measured["d"], card=card)}))
    return row.key


def test_a_course_goes_from_the_least_value_to_the_most() -> None:
    assert sparkline(curve(0, 1, 2, 3, 4, 5, 6, 7), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline(curve(7, 0), 8) == "█▁"
    assert sparkline(curve(3, 3, 3), 8) == "▁▁▁"
    assert sparkline(curve(0, 7), 8, LETTERS) == "_#"


def test_a_long_course_is_thinned_and_keeps_its_ends() -> None:
    assert sparkline(curve(*range(1000)), 5)[::4] == "▁█"
    assert len(sparkline(curve(*range(1000)), 5)) == 5


def test_a_course_over_many_powers_of_ten_is_logarithmic() -> None:
    assert sparkline(curve(1e-6, 1e-3, 1), 3) == "▁▅█"


def test_what_is_not_a_number_is_an_x() -> None:
    assert sparkline(curve(0, math.nan, math.inf, 7), 8) == "▁xx█"
    assert sparkline(curve(math.nan, math.nan), 8) == "xx"


def test_without_a_range_the_layer_that_moved_most_is_shown(tmp_path: Path) -> None:
    curves = {"hidden1": [5.0] * 5, "hidden2": [1.0, 1, 1, 1, 8], "hidden3": [100.0, 1, 1, 1, 300]}
    assert shown_key(tmp_path, curves) == Key("hidden2")


def test_with_a_range_the_layer_nearest_to_its_end_or_farthest_out_is_shown(tmp_path: Path) -> None:
    card = Card("d", "", healthy={"any": (0.0, 10.0)})
    inside = {"hidden1": [9.0] * 5, "hidden2": [0.0, 0, 0, 0, 8], "hidden3": [0.0] * 5}
    assert shown_key(tmp_path / "1", inside, card) == Key("hidden1")
    assert shown_key(tmp_path / "2", {**inside, "hidden4": [20.0] * 5, "hidden5": [30.0] * 5}, card) == Key("hidden5")


@pytest.mark.parametrize("facets", [["q15", "q50", "q85"], ["q50"]])
def test_of_quantiles_the_median_speaks(tmp_path: Path, facets: list[str]) -> None:
    assert shown_key(tmp_path, {f"hidden1/{facet}": [1.0, 1, 1, 1, 2] for facet in facets}).facet == "q50"
