"""What workers say reaches the sweep, but for what a full disk cut off."""

import errno
from pathlib import Path
from typing import IO, Any

import pytest

from bnlab.sweeps.progress import ProgressFile, ProgressReader


@pytest.mark.parametrize("is_in_a_new_part", [False, True])
def test_a_line_after_one_that_was_cut_off_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_a_new_part: bool
) -> None:
    reader = ProgressReader(tmp_path)
    worker = ProgressFile(tmp_path)
    worker.say({"steps": 1})
    whole = Path.open

    def cut_off(path: Path, *arguments: Any, **settings: Any) -> IO[Any]:
        with whole(path, *arguments, **settings) as file:
            file.write('{"steps"')
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", cut_off)
        worker.say({"steps": 2})  # the run itself tells of a full disk, if it must
    assert list(reader.new_lines()) == [{"steps": 1}]
    worker = ProgressFile(tmp_path) if is_in_a_new_part else worker
    worker.say({"steps": 3})
    worker.say({"steps": 4})
    assert list(reader.new_lines()) == [{"steps": 3}, {"steps": 4}]
