"""Sweeps in a process of their own that are cut off: by Ctrl-C, by a signal, and by a kill. No process is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

WORDS = ["data=digits", "data.limit=200", "diagnostics=none", "loggers=[]", "model.width=8", "name=s"]
WORDS += [
    "norm=none,layer",
    "seed=0,1",
    "sweep.engine=sequential",
    "train.steps=1000000",
    "train.checkpoint_every=null",
]
PATIENCE_S = 120.0

Start = Callable[[], "subprocess.Popen[str]"]


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what the background of a shell starts ignores it


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the sweep in a session of its own; what is left of it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "bnlab.cli.app", "sweep", *WORDS, "--jobs", "2"]
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hear_ctrl_c
        )
        started.append(process)
        return process

    yield start
    for process in started:
        for left in of_session(process.pid):
            left.kill()
        process.communicate()


def of_session(number: int) -> list[psutil.Process]:
    """Return the processes of a session that live; a zombie is dead, and its parent has yet to learn of it."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def are_in_training() -> bool:
    return len([path for path in Path("runs/s").glob("*/metrics.jsonl") if path.stat().st_size]) == 2


def statuses() -> list[str]:
    return [json.loads(path.read_text())["status"] for path in Path("runs/s").glob("*/manifest.json")]


def end(sweep: "subprocess.Popen[str]", number: int, status: int) -> None:
    """Send a signal to all processes of a sweep, as a terminal does, and hold the sweep against what it should say."""
    os.killpg(sweep.pid, number)
    said = sweep.communicate(timeout=PATIENCE_S)[1]
    assert sweep.returncode == status, said
    assert "Traceback" not in said
    wait_until(lambda: not of_session(sweep.pid))
    assert not list(Path("runs").glob("s/.parts/*"))


def has_begun_workers(sweep: "subprocess.Popen[str]") -> bool:
    return bool(psutil.Process(sweep.pid).children())


def test_ctrl_c_while_workers_begin_leaves_no_word_and_no_process(start: Start) -> None:
    sweep = start()
    wait_until(lambda: has_begun_workers(sweep))
    end(sweep, signal.SIGINT, 130)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.1, 0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_a_little_later_leaves_no_word_and_no_process(start: Start, after_s: float) -> None:
    sweep = start()
    wait_until(lambda: has_begun_workers(sweep))
    time.sleep(after_s)
    end(sweep, signal.SIGINT, 130)


@pytest.mark.slow
def test_ctrl_c_in_training_leaves_what_was_recorded(start: Start) -> None:
    sweep = start()
    wait_until(are_in_training)
    end(sweep, signal.SIGINT, 130)
    assert all(path.stat().st_size for path in Path("runs/s").glob("*/metrics.jsonl"))


@pytest.mark.slow
def test_a_signal_that_announces_an_end_leaves_checkpoints(start: Start) -> None:
    sweep = start()
    wait_until(are_in_training)
    end(sweep, signal.SIGTERM, 143)
    assert statuses() == ["interrupted", "interrupted"]
    assert len(list(Path("runs/s").glob("*/checkpoint.pt"))) == 2


@pytest.mark.slow
def test_workers_of_a_sweep_that_is_killed_end_with_checkpoints(start: Start) -> None:
    sweep = start()
    wait_until(are_in_training)
    sweep.kill()
    wait_until(lambda: not of_session(sweep.pid))
    assert statuses() == ["interrupted", "interrupted"]
    assert len(list(Path("runs/s").glob("*/checkpoint.pt"))) == 2
