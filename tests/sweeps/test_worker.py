"""A worker hears of it when its sweep is gone."""

import errno
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest

from bnlab.config.compose import compose_run
from bnlab.errors import RunError
from bnlab.identity.own_parts import forget_own_code
from bnlab.identity.run_id import run_id
from bnlab.schema import RunConfig
from bnlab.sweeps import worker
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.parts import HALT, SURROUNDINGS, Part, write_surroundings
from bnlab.sweeps.worker import start_watch, train_cohorts, working

if TYPE_CHECKING:
    from bnlab.sweeps.checked_programs import CheckedPrograms

WORKER = """
import sys, time
from pathlib import Path
from bnlab.sweeps.worker import working
with working(Path("parts") / "part-0.json") as (_, interruption):
    Path("begun").touch()
    for _ in range(1000):
        if interruption.is_asked:
            Path("halted").touch()
            break
        time.sleep(0.02)
Path("idle").touch()
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_a_worker_whose_parent_had_gone_before_its_first_part_trains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    facts = json.loads((Path("parts") / SURROUNDINGS).read_text(encoding="utf-8"))
    (Path("parts") / SURROUNDINGS).write_text(json.dumps({**facts, "pid": facts["pid"] + 1}), encoding="utf-8")
    monkeypatch.setattr(worker, "_parents", {})
    worker.remember_parent(os.getppid() + 1)  # it started this process; another one has adopted it since
    with working(Path("parts") / "part-0.json") as (_, interruption):
        assert interruption.is_asked
    assert ended == [143]


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps its parent's number there")
def test_a_worker_halts_and_ends_when_its_parent_is_killed(started: Callable[..., "subprocess.Popen[str]"]) -> None:
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    Path("worker.py").write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    begin = "import subprocess, sys; subprocess.run([sys.executable, 'worker.py'])"
    parent = started(sys.executable, "-c", begin, env=environment)
    wait_for(Path("begun"))
    (worker,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    wait_for(Path("halted"))
    psutil.wait_procs([worker], timeout=30)
    assert not Path("idle").exists()


def test_the_sweep_itself_may_outlive_the_shell_that_began_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    with working(Path("parts") / "part-0.json") as (_, interruption):
        monkeypatch.setattr(os, "getppid", lambda: 1)
        time.sleep(0.7)
        assert not interruption.is_asked


def test_after_a_run_that_found_no_room_its_worker_begins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def run_cohort(members: list[Any], *_: object, **__: object) -> None:
        begun.append(members[0].folder.path.name)
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RunError("the run failed") from error

    monkeypatch.setattr("bnlab.experiment.cohort_run.run_cohort", run_cohort)
    configs = [compose_run(["data=digits", f"seed={seed}"]) for seed in (0, 1)]
    cohorts = [PlannedCohort("sequential", (config,)) for config in configs]
    said: list[dict[str, Any]] = []
    train_cohorts(Part(cohorts, Path("s"), [], again=False, stop_on_error=False), Path("parts"), said.append)
    assert said == [{"failed": [run_id(configs[0])], "reason": "there is no room in s", "no_room": True}]
    assert begun == [run_id(configs[0])]


def test_a_part_that_is_trained_in_this_process_leaves_no_environment_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_RUNS", "of-the-sweep")
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    monkeypatch.setenv("BNLAB_RUNS", "mine")
    with working(Path("parts") / "part-0.json"):
        assert os.environ["BNLAB_RUNS"] == "of-the-sweep"
        assert "BNLAB_COMMAND" in os.environ
    assert os.environ["BNLAB_RUNS"] == "mine"
    assert "BNLAB_COMMAND" not in os.environ


def test_no_part_waits_for_a_thread_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    start_watch()  # as a worker does, before it takes any memory

    def waits_for_ever(_: threading.Thread) -> None:
        raise AssertionError("at the limit of its memory, Thread.start may never return")

    monkeypatch.setattr(threading.Thread, "start", waits_for_ever)
    with working(Path("parts") / "part-0.json") as (_, interruption):
        assert not interruption.is_asked


def test_a_look_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("parts").mkdir()
    write_surroundings(Path("parts"))
    halt, looked = Path("parts") / HALT, threading.Event()
    exists = Path.exists

    def fails_once(path: Path) -> bool:
        is_watched = path.name == halt.name and threading.current_thread() is not threading.main_thread()
        if is_watched and not looked.is_set():
            looked.set()
            raise MemoryError
        return exists(path)

    monkeypatch.setattr(Path, "exists", fails_once)
    with working(Path("parts") / "part-0.json") as (_, interruption):
        assert looked.wait(60)
        halt.touch()
        deadline = time.monotonic() + 60
        while not interruption.is_asked:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("imports", ["import edited_help", "def late():\n    import edited_help"])
def test_code_that_is_edited_before_its_import_is_never_trained_under_the_old_id(
    monkeypatch: pytest.MonkeyPatch, imports: str
) -> None:
    """The file is edited when the worker has looked at it already, in the time that the data take to be read."""
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("edited_help.py").write_text("K = 1\n")
    Path("edited_layer.py").write_text(f"{imports}\nfrom torch import nn\nclass Layer(nn.Identity):\n    pass\n")
    config = compose_run(["data=digits", "norm=edited_layer:Layer"])
    cohort = PlannedCohort("sequential", (config,), (run_id(config),))
    trained_with, said = [], list[dict[str, Any]]()

    class Checks:
        def check(self, _: RunConfig) -> None:
            Path("edited_help.py").write_text("K = 2\n")
            importlib.import_module("edited_layer")
            if imports.startswith("def"):
                sys.modules["edited_layer"].late()

    def run_cohort(*_: object, **__: object) -> None:
        trained_with.append(sys.modules["edited_help"].K)

    monkeypatch.setattr("bnlab.experiment.cohort_run.run_cohort", run_cohort)
    part = Part([cohort], Path("s"), [], again=False, stop_on_error=False)
    try:
        train_cohorts(part, Path("parts"), said.append, checks=cast("CheckedPrograms", Checks()))
    finally:
        forget_own_code([config])
    if imports.startswith("def"):
        assert (trained_with, [line["failed"] for line in said]) == ([], [[*cohort.run_ids]])
        assert "changed after the sweep had been planned" in said[0]["reason"]
    else:
        assert (trained_with, said) == ([1], [])  # it was imported before
