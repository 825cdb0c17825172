"""The folder of a sweep's parts: progress is read whatever stands in it, and workers can be told to stop."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnlab.sweeps.parts import HALT, STOP
from bnlab.sweeps.parts_folder import PartsFolder


def write(folder: PartsFolder, text: str) -> None:
    progress = folder.path / "progress"
    progress.mkdir(exist_ok=True)
    with (progress / "worker-1.jsonl").open("a") as file:
        file.write(text + "\n")


def test_a_line_that_is_damaged_costs_that_line_alone(tmp_path: Path) -> None:
    told: list[object] = []
    with PartsFolder(tmp_path, told.append) as folder:
        for text in ('{"steps": 1}', "{half a li", '{"steps": 2}'):
            write(folder, text)
        folder.look()
        assert told == [{"steps": 1}, {"steps": 2}]
        write(folder, '{"steps": 3}')
    assert told[2:] == [{"steps": 3}]  # there is a last look
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_lasts_is_logged_once_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def take(_: object) -> None:
        raise ZeroDivisionError

    with PartsFolder(tmp_path, take) as folder:
        for number in range(3):
            write(folder, json.dumps({"steps": number}))
            folder.look()
        assert folder.halt()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_view_that_breaks_is_shown_nothing_more_and_the_line_is_taken_all_the_same(tmp_path: Path) -> None:
    told: list[object] = []
    shown: list[object] = []

    class View:
        def take(self, line: object) -> None:
            shown.append(line)
            raise KeyError("arm")

    folder = PartsFolder(tmp_path, told.append, View())
    folder.take({"steps": 1})
    folder.take({"steps": 2})
    assert told == [{"steps": 1}, {"steps": 2}]
    assert shown == [{"steps": 1}]


@pytest.mark.parametrize("tell", [PartsFolder.stop, PartsFolder.halt])
def test_on_a_full_disk_workers_are_told_to_stop_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[PartsFolder], bool | None]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with PartsFolder(tmp_path, print) as folder:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", refuse)
            assert not tell(folder)
        assert folder.is_stopped
        assert tell(folder) is (True if tell is PartsFolder.halt else None)
        assert (folder.path / STOP).exists()
        assert (folder.path / HALT).exists() == (tell is PartsFolder.halt)


@pytest.mark.slow
def test_the_folder_of_a_sweep_that_was_killed_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    script = (
        "import os; from pathlib import Path; from bnlab.sweeps.parts_folder import PartsFolder;"
        f"PartsFolder(Path({str(tmp_path)!r}), print).__enter__(); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=False, env=environment)
    (killed,) = (path for path in (tmp_path / ".parts").iterdir() if path.is_dir())
    living = PartsFolder(tmp_path, print)
    living.path = living.path.with_name("living")
    living._owned = type(living._owned)(f"{living.path}.lock")
    with living:
        assert not killed.exists()
        with PartsFolder(tmp_path, print) as other:
            assert living.path.exists()
            assert other.path.exists()
    assert list(tmp_path.iterdir()) == []
