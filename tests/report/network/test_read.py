import math
from pathlib import Path

import numpy as np
import pytest
from measured_runs import write_measured_run

from bnlab.errors import ConfigError
from bnlab.report.network.absent import absent_of
from bnlab.report.network.comparison import say_what_measures
from bnlab.report.network.read import Key, read_measured_run
from bnlab.runfolder.folder import RunFolder

NAN = math.nan


def test_records_become_curves_by_layer_and_facet(tmp_path: Path) -> None:
    points = {
        "saturation": {"hidden1": [0.1, 0.2, 0.3], "stage2.conv1": [0.4, NAN, math.inf]},
        "fan": {"hidden1/q15": [1, 2, 3], "hidden1/q85": [4, 5, 6]},
        "odd_one": {"network": [7, 8, 9]},
    }
    run = read_measured_run(RunFolder(write_measured_run(tmp_path / "run", points, steps=[0, 5, 50])))
    assert list(run.measured) == ["saturation", "fan", "odd_one"]
    saturation = run.measured["saturation"]
    assert (saturation.roles, saturation.facets) == (["hidden1", "stage2.conv1"], [""])
    np.testing.assert_array_equal(saturation.steps, [0, 5, 50])
    np.testing.assert_array_equal(saturation.matrix(), [[0.1, 0.2, 0.3], [0.4, NAN, math.inf]])
    assert run.measured["fan"].facets == ["q15", "q85"]
    np.testing.assert_array_equal(run.measured["fan"].matrix("q85"), [[4, 5, 6]])
    assert run.measured["odd_one"].curves[Key("network")].last == 9
    assert (run.run_id, run.activation) == ("run", "sigmoid")
    assert saturation.unit() == "share of activations"
    assert run.measured["odd_one"].unit() == ""


def test_a_diagnostic_that_said_nothing_is_not_there_and_one_that_never_moves_is_constant(tmp_path: Path) -> None:
    points = {"zero_fraction": {}, "still": {"hidden1": [3, 3], "hidden2": [NAN, 4]}, "moves": {"hidden1": [3, 4]}}
    run = read_measured_run(RunFolder(write_measured_run(tmp_path / "run", points, steps=[0, 1])))
    assert {name: measured.is_constant() for name, measured in run.measured.items()} == {"still": True, "moves": False}


def test_what_begins_late_is_missing_before(tmp_path: Path) -> None:
    folder = write_measured_run(tmp_path / "run", {"d": {"hidden1": [1, 2]}}, steps=[0, 1])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "diagnostic", "step": 2, "split": null, "name": "d", "values": {"hidden2": 5}}\n')
    np.testing.assert_array_equal(
        read_measured_run(RunFolder(folder)).measured["d"].matrix(), [[1, 2, NAN], [NAN, NAN, 5]]
    )


def test_a_run_without_diagnostics_is_told_how_to_get_some(tmp_path: Path) -> None:
    run = read_measured_run(RunFolder(write_measured_run(tmp_path / "bare", {})))
    assert (run.measured, run.empty) == ({}, ())
    said = say_what_measures([run])
    assert said.startswith("No diagnostic is recorded in bare. This measures all of them: ")
    assert said.endswith("diagnostics=full")


def test_an_unknown_diagnostic_is_answered_with_its_nearest_neighbors(tmp_path: Path) -> None:
    run = read_measured_run(RunFolder(write_measured_run(tmp_path / "run", {"saturation": {"hidden1": [0] * 5}})))
    assert absent_of(run, ["saturation"]) == []
    with pytest.raises(ConfigError, match=r"run has no diagnostic satration\. Did you mean saturation"):
        absent_of(run, ["satration"])
