"""Arms by instrument, over seeds, against means and ratios computed apart."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from fake_sweep import run_folder, sweep_of
from scipy import stats

from bnlab.cli.instrument_table import print_instruments
from bnlab.pages.drawn.layer_lines import draw_layer_lines
from bnlab.pages.words import Words
from bnlab.records import DiagnosticRecord
from bnlab.report.instrument_figure import draw_instruments
from bnlab.report.instrument_rows import InstrumentRow, _against, instrument_rows
from bnlab.results.arms import Arm
from bnlab.results.instruments import asked_instruments, last_values
from bnlab.results.sweep import read_sweep
from bnlab.runfolder.json_lines import record_line

RATIOS = {"batch": [2.0, 3.0, 2.5, 2.2], "none": [1e-5, 2e-5, 1.5e-5, 0.8e-5]}
SHARES = {"batch": [0.1, 0.2, 0.15, 0.12], "none": [0.6, 0.9, 0.95, 0.7]}


def write(folder: Path, words: Sequence[str] = ("diagnostics.names=[gradient_ratio,dead_fraction]",)) -> Path:
    runs = []
    for norm in ("batch", "none"):
        for seed in range(4):
            run_id = run_folder(folder, norm, 0.1, seed, [2.3, 1.0, 0.5])
            records = [
                DiagnosticRecord(20, "gradient_ratio", {"network": RATIOS[norm][seed]}),
                DiagnosticRecord(20, "dead_fraction", {"hidden1": 0.5, "hidden2": SHARES[norm][seed]}),
            ]
            path = folder / run_id / "metrics.jsonl"
            *lines, end = path.read_text().splitlines()
            path.write_text("\n".join([*lines, *map(record_line, records), end]) + "\n")
            manifest = folder / run_id / "manifest.json"
            facts = json.loads(manifest.read_text())
            facts["config"]["diagnostics"] = {"names": ["gradient_ratio", "dead_fraction"]}
            manifest.write_text(json.dumps(facts))
            runs.append(run_id)
    return sweep_of(folder, runs, words)


def arms_of(folder: Path) -> Mapping[str, Arm]:
    return {arm.label: arm for arm in read_sweep(folder).read_arms().arms}


def test_instruments_are_shown_where_the_words_of_a_sweep_ask_for_them(tmp_path: Path) -> None:
    assert asked_instruments(read_sweep(write(tmp_path / "a"))) == ["gradient_ratio", "dead_fraction"]
    assert asked_instruments(read_sweep(write(tmp_path / "b", ["norm=batch,none"]))) == []


def test_last_values_are_those_of_each_seed(tmp_path: Path) -> None:
    arm = arms_of(write(tmp_path / "a"))["none"]
    found = last_values(arm, ["gradient_ratio", "dead_fraction"])
    assert found["gradient_ratio/network"] == dict(enumerate(RATIOS["none"]))
    assert list(found) == ["gradient_ratio/network", "dead_fraction/hidden1", "dead_fraction/hidden2"]


def test_ratios_have_geometric_means_and_shares_plain_ones_in_the_layer_that_differs(tmp_path: Path) -> None:
    arms = arms_of(write(tmp_path / "a"))
    ratio, dead = instrument_rows([arms["batch"], arms["none"]], ["gradient_ratio", "dead_fraction"])
    assert (ratio.name, ratio.layer, ratio.scale) == ("gradient_ratio", "", "log")
    logs = np.log(RATIOS["none"])
    half = stats.t.ppf(0.975, 3) * logs.std(ddof=1) / 2
    mean = ratio.means[1]
    assert mean is not None
    assert [mean.value, mean.low, mean.high] == pytest.approx(
        [math.exp(logs.mean()), math.exp(logs.mean() - half), math.exp(logs.mean() + half)]
    )
    against = ratio.against[1]
    assert against is not None
    paired = np.log(RATIOS["none"]) - np.log(RATIOS["batch"])
    assert against.difference.value == pytest.approx(math.exp(paired.mean()))
    assert against.is_apart
    assert (dead.name, dead.layer, dead.scale, dead.is_share) == ("dead_fraction", "hidden2", "plain", True)
    points = dead.against[1]
    assert points is not None
    assert points.difference.value == pytest.approx(np.mean(np.subtract(SHARES["none"], SHARES["batch"])))
    ends = [end for mean in dead.means if mean is not None for end in (mean.low, mean.high) if end is not None]
    assert len(ends) == 4
    assert all(0 <= end <= 1 for end in ends)


def test_values_whose_ratio_is_no_float_are_compared_all_the_same() -> None:
    found = _against({0: 1e-320, 1: 1e-310}, {0: 1e10, 1: 1e12}, is_log=True, is_share=False, level=0.95)
    assert found is not None
    assert found.difference.value == pytest.approx(0.0, abs=1e-300)


def rows_of(monkeypatch: pytest.MonkeyPatch, name: str, *arms: Mapping[str, float]) -> list[InstrumentRow]:
    """Return the rows of arms with one seed: layer -> value of one instrument."""
    values = iter([{f"{name}/{layer}": {0: value} for layer, value in of_arm.items()} for of_arm in arms])
    monkeypatch.setattr("bnlab.report.instrument_rows.last_values", lambda *_: next(values))
    return instrument_rows([mock.Mock() for _ in arms], [name])


def test_values_that_have_a_sign_somewhere_are_compared_by_differences_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ratio of 3 in one layer is no more and no less than a difference of 1 in another."""
    first, second = {"hidden1/q15": -2.0, "hidden1/q85": 0.1}, {"hidden1/q15": -1.0, "hidden1/q85": 0.3}
    (row,) = rows_of(monkeypatch, "preactivation_quantiles", first, second)
    assert (row.layer, row.scale) == ("hidden1/q15", "plain")
    (row,) = rows_of(monkeypatch, "preactivation_quantiles", {**first, "hidden1/q15": -1.1}, second)
    assert (row.layer, row.scale) == ("hidden1/q85", "plain")


def test_a_size_of_nothing_is_as_far_from_any_other_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = rows_of(monkeypatch, "gradient_norm", {"in": 0.0, "out": 1.0}, {"in": 0.1, "out": 30.0})
    assert (row.layer, row.scale) == ("in", "plain")
    (row,) = rows_of(monkeypatch, "gradient_norm", {"in": 0.0, "out": 1.0}, {"in": 0.0, "out": 30.0})
    assert (row.layer, row.scale) == ("out", "log")


def test_figures_draw_the_means_of_the_table(tmp_path: Path) -> None:
    arms = list(arms_of(write(tmp_path / "a")).values())
    figure = draw_instruments(arms, ["gradient_ratio", "dead_fraction"])
    assert figure is not None
    ratio, dead = figure.get_axes()
    drawn = [line.get_ydata()[0] for line in ratio.lines if len(line.get_ydata()) == 1]
    assert drawn == pytest.approx([stats.gmean(RATIOS["batch"]), stats.gmean(RATIOS["none"])])
    assert dead.lines[1].get_ydata()[1] == pytest.approx(np.mean(SHARES["none"]))


def test_a_page_draws_the_means_of_the_table() -> None:
    arms = [("batch", {"in": {0: 1.0, 1: 100.0}, "out": {0: 0.0, 1: 3.0}}), ("none", {"in": {0: 4.0}, "out": {0: 2.0}})]
    picture = draw_layer_lines(arms, "gradient_norm", "", "m", Words("en"))
    assert picture is not None
    assert [[cell.text for cell in row] for row in picture.table.rows] == [["in", "10", "4"], ["out", "1.5", "2"]]


def test_the_table_names_each_arm_once_per_instrument(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arms = list(arms_of(write(tmp_path / "a")).values())
    print_instruments(arms, instrument_rows(arms, ["gradient_ratio", "dead_fraction"]))
    lines = [line.split() for line in capfd.readouterr().out.splitlines() if line.strip()]
    assert [line[:2] for line in lines[2:6:2]] == [["gradient_ratio", "batch"], ["dead_fraction", "batch"]]
    assert lines[5][:2] == ["hidden2", "none"]


def test_the_figure_has_a_panel_per_instrument(tmp_path: Path) -> None:
    arms = list(arms_of(write(tmp_path / "a")).values())
    figure = draw_instruments(arms, ["gradient_ratio", "dead_fraction"])
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.get_axes()]
    assert titles == ["gradient ratio", "dead fraction"]
    assert draw_instruments(arms, ["sharpness"]) is None
