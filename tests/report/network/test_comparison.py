import math
from pathlib import Path

import pytest
from measured_runs import write_measured_run

from bnlab.errors import ConfigError
from bnlab.report.network.comparison import (
    ComparedRow,
    compared_as_dict,
    compared_diagnostics,
    compared_figures,
    find_compared,
    folder_of_comparison,
    say_what_measures,
)
from bnlab.report.network.labels import label_runs
from bnlab.report.network.read import Key
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.finding import find_run_folders
from bnlab.runfolder.index import read_run_rows

BATCH = {
    "gradient_norm": {"hidden1": [1.0] * 5, "hidden2": [1.0] * 5},
    "saturation": {"hidden1": [0.1] * 5, "hidden2": [0.2] * 5},
    "norm_scale": {"hidden1": [1.0] * 5},
}
NONE = {
    "gradient_norm": {"hidden1": [1e-3] * 5, "hidden2": [0.5] * 5},
    "saturation": {"hidden1": [0.15] * 5, "hidden2": [0.7] * 5},
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BNLAB_RUNS", str(tmp_path / "runs"))
    sweep = tmp_path / "runs" / "mine"
    write_measured_run(sweep / "batch-s0", BATCH, figures={"test_accuracy": 0.9, "test_loss": 0.3})
    write_measured_run(sweep / "none-s0", NONE, norm="none", figures={"test_accuracy": 0.5, "test_loss": None})
    return tmp_path / "runs"


@pytest.mark.usefixtures("runs")
def test_each_diagnostic_is_shown_where_the_runs_differ_most() -> None:
    rows = {row.name: row for row in compared_diagnostics(find_compared(["mine"]))}
    assert rows["gradient_norm"].key == Key("hidden1")
    assert rows["gradient_norm"].values == (1.0, 1e-3)
    assert rows["gradient_norm"].difference == "x 1e+03"
    assert rows["saturation"].key == Key("hidden2")
    assert rows["saturation"].difference == "50.0 points"
    assert rows["norm_scale"].values == (1.0, None)
    assert rows["norm_scale"].difference == ""
    assert [row.is_telling for row in rows.values()] == [True, True, False]


@pytest.mark.usefixtures("runs")
def test_final_figures_stand_beside_each_other() -> None:
    rows = {row.name: row.values for row in compared_figures(find_compared(["batch-s0", "none-s0"]))}
    assert rows["test_accuracy"] == (0.9, 0.5)
    assert rows["test_loss"] == (0.3, None)


@pytest.mark.parametrize(
    ("values", "unit", "difference", "is_telling"),
    [
        ((0.5, 0.55), "share of units", "5.0 points", False),
        ((0.5, 0.61), "share of units", "11.0 points", True),
        ((1.0, 1.5), "", "x 1.5", False),
        ((-1.0, 1.0), "", "2", False),
        ((1.0, math.nan), "", "", True),
        ((None, 1.0), "", "", False),
    ],
)
def test_a_difference_is_a_factor_or_points(
    values: tuple[float | None, ...], unit: str, difference: str, is_telling: bool
) -> None:
    row = ComparedRow("d", Key("hidden1"), unit, values)
    assert (row.difference, row.is_telling) == (difference, is_telling)


def test_a_run_named_twice_is_there_once_and_conditions_choose(runs: Path) -> None:
    assert [run.run_id for run in find_compared(["mine", "batch-s0"])] == ["batch-s0", "none-s0"]
    write_measured_run(runs / "mine" / "batch-s1", BATCH, seed=1)
    assert [run.run_id for run in find_compared(["mine"], ["norm=batch"])] == ["batch-s0", "batch-s1"]


def test_runs_that_a_sweep_does_not_name_are_left_out_with_a_word(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_measured_run(runs / "mine" / "old-s0", BATCH, seed=0)
    write_sweep(runs / "mine", ["norm=batch,none"], ["batch-s0", "none-s0"])
    assert [run.run_id for run in find_compared(["mine"])] == ["batch-s0", "none-s0"]
    assert "mine: 1 run is left out, since sweep.json does not name it: it is outdated" in caplog.text
    assert [run.run_id for run in find_compared(["mine", "old-s0"])] == ["batch-s0", "none-s0", "old-s0"]


def test_what_cannot_be_compared_is_said(runs: Path) -> None:
    with pytest.raises(ConfigError, match="compare needs 2 or more runs, batch-s0 gives 1"):
        find_compared(["batch-s0"])
    with pytest.raises(ConfigError, match="Did you mean norm"):
        find_compared(["mine"], ["nrom=batch"])
    for seed in range(13):
        write_measured_run(runs / "bare" / f"s{seed}", {}, seed=seed)
    with pytest.raises(ConfigError, match=r"at most 12 runs side by side, bare gives 13\. .*: name each by its folder"):
        find_compared(["bare"])  # of each seed there is one run, and one is not enough
    for seed in range(13):
        write_measured_run(runs / "bare" / f"none-s{seed}", {}, norm="none", seed=seed)
    with pytest.raises(ConfigError, match=r"at most 12 runs side by side, bare gives 26\. .*: --where seed=0$"):
        find_compared(["bare"])
    assert "diagnostics=full" in say_what_measures(find_compared(["bare"], ["seed<3"]))


def test_a_run_without_diagnostics_can_stand_beside_one_with_some(runs: Path) -> None:
    write_measured_run(runs / "single" / "bare", {}, norm="layer")
    found = find_compared(["batch-s0", "bare"])
    assert compared_diagnostics(found)[0].values == (1.0, None)


def test_figures_go_where_nobody_looks_for_runs(runs: Path) -> None:
    shown = label_runs(find_compared(["mine"]))
    folder = folder_of_comparison(["mine"], shown)
    assert folder.parent == runs / "comparisons"
    assert folder.name.startswith("mine-")
    assert folder_of_comparison(["batch-s0", "none-s0"], shown).name.startswith("batch-none-")
    folder.mkdir(parents=True)
    (folder / "saturation.svg").touch()
    assert len(find_run_folders(runs)) == len(read_run_rows(runs)) == 2
    with pytest.raises(ConfigError, match="Known: mine"):
        find_compared(["comparisons"])


@pytest.mark.usefixtures("runs")
def test_for_programs_all_last_values_are_there() -> None:
    found = compared_as_dict(label_runs(find_compared(["mine"])), [])
    assert found["runs"][1]["last"]["gradient_norm"] == {"hidden1": 1e-3, "hidden2": 0.5}
    assert (found["runs"][0]["label"], found["runs"][0]["test_accuracy"]) == ("batch", 0.9)
