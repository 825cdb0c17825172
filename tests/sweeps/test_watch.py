"""A sweep's watch goes on whatever it meets, since it is by this watch that workers are told to stop."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from bnlab.sweeps import watch as watching
from bnlab.sweeps.parts import HALT, STOP
from bnlab.sweeps.watch import Watch
from bnlab.training.interruption import Interruption


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.01)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def write(watch: Watch, text: str) -> None:
    folder = watch.folder / "progress"
    folder.mkdir(exist_ok=True)
    with (folder / "worker-1.jsonl").open("a") as file:
        file.write(text + "\n")


def test_a_line_that_is_damaged_costs_that_line_alone(tmp_path: Path) -> None:
    told: list[object] = []
    watch = Watch(tmp_path, told.append, Interruption())
    watch.make_folder()
    with watch.watching():
        for text in ('{"steps": 1}', "{half a li", '{"steps": 2}'):
            write(watch, text)
        wait_until(lambda: len(told) == 2)
    assert told == [{"steps": 1}, {"steps": 2}]


def test_workers_are_told_to_stop_after_the_watch_has_met_what_it_cannot_take(tmp_path: Path) -> None:
    seen: list[object] = []

    def take(line: object) -> None:
        seen.append(line)
        raise ZeroDivisionError

    interruption = Interruption()
    watch = Watch(tmp_path, take, interruption)
    watch.make_folder()
    with watch.watching():
        write(watch, json.dumps({"steps": 1}))
        wait_until(lambda: bool(seen))
        interruption.is_asked = True
        wait_until(lambda: (watch.folder / STOP).exists() and (watch.folder / HALT).exists())
    assert not watch.folder.exists()


def test_a_view_that_breaks_is_shown_nothing_more_and_the_line_is_taken_all_the_same(tmp_path: Path) -> None:
    told: list[object] = []
    shown: list[object] = []

    class View:
        def take(self, line: object) -> None:
            shown.append(line)
            raise KeyError("arm")

    watch = Watch(tmp_path, told.append, Interruption(), View())
    watch.take({"steps": 1})
    watch.take({"steps": 2})
    assert told == [{"steps": 1}, {"steps": 2}]
    assert shown == [{"steps": 1}]


def test_what_lasts_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(tmp_path, print, Interruption())
    watch.make_folder()
    (watch.folder / "progress" / "worker-1.jsonl").mkdir(parents=True)
    for _ in range(5):
        watch.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_what_a_sweep_that_was_killed_left_is_cleared_away_by_the_next_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    left = Watch(tmp_path, print, Interruption())
    script = (
        "import os; from pathlib import Path; from bnlab.sweeps.watch import Watch;"
        "from bnlab.training.interruption import Interruption;"
        f"Watch(Path({str(tmp_path)!r}), print, Interruption()).make_folder(); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=False, env=environment)
    (killed,) = (path for path in left.folder.parent.iterdir() if path.is_dir())
    living = Watch(tmp_path, print, Interruption())
    living.folder = living.folder.with_name("living")
    living._owned = FileLock(f"{living.folder}.lock")
    living.make_folder()
    with left.watching():
        left.make_folder()
        left.make_folder()
        assert not killed.exists()
        assert living.folder.exists()
        assert left.folder.exists()
    with living.watching():
        pass
    assert list(tmp_path.iterdir()) == []
