from pathlib import Path

import pytest

from bnlab.errors import ConfigError
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.writable import check_writable


def test_a_place_that_cannot_be_written_to_is_said_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    law = r"^runs cannot be written to .*file.s: Not a directory\. Choose another place by --runs or BNLAB_RUNS\.$"
    with pytest.raises(ConfigError, match=law):
        check_writable(tmp_path / "file" / "s")
    with pytest.raises(ConfigError, match=law):
        write_sweep(tmp_path / "file" / "s", [], [])
    check_writable(tmp_path / "new" / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
