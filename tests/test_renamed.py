"""Diagnostics' names of earlier versions: runs, configs and commands with them keep their meaning."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import bnlab
from bnlab.config.compose import compose_run
from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.cards import read_card
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.identity.run_id import run_id
from bnlab.renamed import DIAGNOSTICS as RENAMED
from bnlab.renamed import FACETS
from bnlab.report.network.read import Key, read_measured_run
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

OLD = {
    "saturation_rho": {"hidden1": 0.3},
    "statistic_noise": {"hidden1/mean": 0.1},
    "accuracy_by_statistics": {"network/running": 0.7, "network/precise": 0.8, "network/train_precise": 0.9},
    "prediction_flips": {"network/running_precise": 0.2},
    "loss_range": {"network/fixed": 1.0, "network/own_relative": 2.0, "network/fixed_low": 0.5},
    "effective_lr": {"hidden1": 0.1, "hidden1/row": 0.2},
}


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """Return the folder of a run as an earlier version wrote it."""
    folder = tmp_path / "old"
    folder.mkdir()
    diagnostics = {"name": "full", "names": list(OLD), "tensorboard": ["saturation_rho"]}
    config = {"seed": 0, "norm": {"name": "batch"}, "optim": {"lr": 0.1}, "diagnostics": diagnostics}
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "status": "finished", "config": config}))
    (folder / "summary.json").write_text(json.dumps({"run_id": "old", "status": "finished"}))
    facts = [{"kind": "diagnostic", "step": 5, "split": None, "name": n, "values": v} for n, v in OLD.items()]
    facts += [{"kind": "diagnostic", "step": 6, "split": None, "name": "loss_range", "values": {"network/own": None},
               "nonfinite": {"network/own": "inf"}}]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in facts))
    return folder


def test_an_old_run_is_read_by_the_names_of_today(old_run: Path) -> None:
    run = read_measured_run(RunFolder(old_run))
    assert list(run.measured)[:3] == ["saturation_degree", "batch_statistics_noise", "accuracy_by_statistics"]
    assert run.measured["accuracy_by_statistics"].facets == ["running", "population", "train_population"]
    assert run.measured["prediction_flips"].facets == ["running_population"]
    assert run.measured["loss_range"].facets == ["fixed_step", "lr_step_relative", "fixed_step_low", "lr_step"]
    assert run.measured["loss_range"].curves[Key("network", "lr_step")].last == float("inf")
    assert run.measured["effective_lr"].facets == ["", "median_row"]
    assert run.measured["saturation_degree"].unit() == "distance from the middle, share of the half range"


def test_a_diagnostic_of_a_run_is_found_by_both_names(old_run: Path) -> None:
    run = read_measured_run(RunFolder(old_run))
    assert run.pick("saturation_rho") is run.pick("saturation_degree")


def test_data_frames_and_the_dashboard_have_the_names_of_today(old_run: Path) -> None:
    frame = bnlab.read_curves(old_run)
    assert {"saturation_degree", "batch_statistics_noise"} <= set(frame["name"])
    assert not set(RENAMED) & set(frame["name"])
    (row,) = read_run_rows(old_run)
    assert row["diagnostics.names"][:2] == ["saturation_degree", "batch_statistics_noise"]
    assert row["diagnostics.tensorboard"] == ["saturation_degree"]


def test_every_old_name_still_names_a_diagnostic() -> None:
    for old, new in RENAMED.items():
        assert (old in DIAGNOSTICS, new in DIAGNOSTICS) == (False, True)
        assert read_card(old) == read_card(new)
        assert [diagnostic.name for diagnostic in build_diagnostics([old])] == [new]
    assert set(FACETS) <= set(DIAGNOSTICS)


@pytest.mark.parametrize(
    ("words", "digest"),
    [
        ([], "fce622ce"),
        (["diagnostics=full"], "643ce3ca"),
        (["diagnostics=none"], "28d64c64"),
        (["diagnostics.names=[saturation_rho,statistic_noise]"], "d6b82fc2"),
        (["diagnostics.names=[saturation_degree,batch_statistics_noise]"], "d6b82fc2"),
    ],
)
def test_the_ids_of_runs_are_those_of_the_version_with_the_old_names(words: Sequence[str], digest: str) -> None:
    assert run_id(compose_run(words)) == f"batch-mlp-mnist_5k-lr0.1-s0-{digest}"


def test_a_config_with_an_old_name_measures_the_diagnostic_of_today() -> None:
    words = ["diagnostics.names=[statistic_noise]", "diagnostics.tensorboard=[statistic_noise]"]
    config = compose_run(words).diagnostics
    assert (config.names, config.tensorboard) == (["batch_statistics_noise"], ["batch_statistics_noise"])
