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
