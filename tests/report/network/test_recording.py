import json
import shlex
from pathlib import Path

import pytest

from bnlab.config.compose import compose_run
from bnlab.report.network.recording import command_that_records


@pytest.mark.slow
@pytest.mark.parametrize("diagnostics", ["cheap", "none"])
def test_the_command_measures_other_diagnostics_in_the_same_way(tmp_path: Path, diagnostics: str) -> None:
    words = ["schedule.name=cosine", f"diagnostics={diagnostics}", "diagnostics.probe_size=17"]
    config = compose_run([*words, "data=digits", "norm=group", "diagnostics.schedule.every=5"])
    (tmp_path / "manifest.json").write_text(json.dumps({"config": config.as_dict()}))
    command = command_that_records(tmp_path, ["sharpness"])
    assert command.count("diagnostics") == 3
    again = compose_run(shlex.split(command)[2:])
    assert (again.diagnostics.probe_size, again.diagnostics.schedule.every) == (17, 5)
    assert "sharpness" in again.diagnostics.names
    assert {**again.as_dict(), "diagnostics": 0} == {**config.as_dict(), "diagnostics": 0}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["npz", "own_data:splits", "folder"])
def test_the_command_can_be_typed_for_data_of_ones_own(tmp_path: Path, data: str) -> None:
    words = [f"data={data}", "data.limit=50", *([] if ":" in data else ["data.path=somewhere"])]
    config = compose_run(words)
    (tmp_path / "manifest.json").write_text(json.dumps({"config": config.as_dict()}))
    typed = shlex.split(command_that_records(tmp_path, ["sharpness"]))[2:]
    assert compose_run(typed).as_dict()["data"] == config.as_dict()["data"]
    assert not [word for word in typed if word.startswith(("data.size", "data.padding_value"))]
