"""Sweeps in a process of their own that are cut off: by Ctrl-C, by a signal, and by a kill. No process is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from parts_to_train import one_run_per_part
from processes import BNLAB_WITH_ONE_WORKER

from bnlab.sweeps.parts import HALT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

WORDS = ["data=digits", "data.limit=200", "diagnostics=none", "loggers=[]", "model.width=8", "name=s"]
WORDS += [
    "norm=none",
    "seed=0,1",
    "sweep.engine=sequential",
    "train.steps=1000000",
    "train.checkpoint_every=null",
]
PATIENCE_S = 600.0
"""Seconds after which what has to happen will not happen any more, on a machine with twenty times the work."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def sweep(started: Start) -> "subprocess.Popen[str]":
    """A sweep that has begun its workers, in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "bnlab.cli.app", "sweep", *WORDS, "--jobs", "2"]
    process = started(*command, env=environment, stdout=None)
    wait_until(lambda: bool(psutil.Process(process.pid).children()))
    return process


def of_session(number: int) -> list[psutil.Process]:
    """Return the processes of a session that live; a zombie is dead, and its parent has yet to learn of it."""
    found = []
    for process_id in psutil.pids():
        try:
            if os.getsid(process_id) == number:
                process = psutil.Process(process_id)
                found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)  # a look at all processes takes as much time as a step of what is waited for


def num_in_training() -> int:
    return len([path for path in Path("runs/s").glob("*/metrics.jsonl") if path.stat().st_size])


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


@pytest.mark.slow
def test_ctrl_c_while_workers_begin_leaves_no_word_and_no_process(sweep: "subprocess.Popen[str]") -> None:
    end(sweep, signal.SIGINT, 130)


@pytest.mark.slow
def test_ctrl_c_while_runs_are_checked_leaves_no_word_and_no_process(sweep: "subprocess.Popen[str]") -> None:
    time.sleep(1.0)
    end(sweep, signal.SIGINT, 130)


@pytest.mark.slow
def test_ctrl_c_in_training_leaves_what_was_recorded(started: Start) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BNLAB_WITH_ONE_WORKER, "sweep", *WORDS, "--jobs", "2"]
    sweep = started(*command, env=environment, stdout=None)
    wait_until(lambda: num_in_training() == 1)
    end(sweep, signal.SIGINT, 130)
    assert num_in_training() == 1


SUBMITS_PARTS = """
import sys
from pathlib import Path
from bnlab.sweeps.backends.local import LocalBackend

backend = LocalBackend(1)
backend.submit([Path(part) for part in sys.argv[1:]])
backend.watch(1e6)
"""
"""What a sweep does while its runs are in training, by one worker; it need not import torch for that."""


@pytest.mark.slow
def test_a_sweep_that_is_killed_leaves_a_checkpoint(started: Start) -> None:
    _, parts = one_run_per_part(*WORDS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    sweep = started(sys.executable, "-c", SUBMITS_PARTS, *parts, env=environment)
    wait_until(lambda: num_in_training() == 1)
    sweep.kill()
    wait_until(lambda: not of_session(sweep.pid))
    assert statuses() == ["interrupted"]
    assert len(list(Path("runs/s").glob("*/checkpoint.pt"))) == 1


SLOW_TO_SAVE = """
import os, time
from torch import nn

class Slow(nn.Module):
    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x * 1

    def state_dict(self, *args, **options):
        if os.path.exists("saving takes long"):
            time.sleep(1.5)
        return super().state_dict(*args, **options)
"""


SWEEPS_AND_STAYS = """
import sys
from bnlab.sweeps.execute import execute
from bnlab.sweeps.plan import plan_sweep, prepared
from bnlab.training.interruption import interruptible

sweep = prepared(plan_sweep(sys.argv[1:]))
try:
    with interruptible() as interruption:
        execute(sweep, sweep.missing(), jobs=2, interruption=interruption)
except KeyboardInterrupt:
    print("stopped", flush=True)
    input()
"""
"""A sweep of a program that goes on after it, such as a notebook; `bnlab` itself kills its workers when it ends."""


@pytest.mark.slow
def test_a_second_ctrl_c_while_workers_save_ends_them_at_once(started: Start) -> None:
    Path("slow_to_save.py").write_text(SLOW_TO_SAVE.replace("1.5", "3600"))
    words = ["norm=slow_to_save:Slow" if word.startswith("norm=") else word for word in WORDS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    sweep = started(sys.executable, "-c", SWEEPS_AND_STAYS, *words, env=environment, stdin=subprocess.PIPE)
    wait_until(lambda: num_in_training() == 2)
    Path("saving takes long").touch()
    sweep.send_signal(signal.SIGINT)
    wait_until(lambda: bool(list(Path("runs/s/.parts").glob(f"*/{HALT}"))))
    sweep.send_signal(signal.SIGINT)
    assert sweep.stdout is not None
    assert sweep.stdout.readline() == "stopped\n"
    assert not [one for one in of_session(sweep.pid) if "popen_loky" in " ".join(one.cmdline())]


@pytest.mark.slow
def test_a_sweep_that_is_told_to_end_leaves_checkpoints_of_those_too_that_take_long_to_save(started: Start) -> None:
    Path("slow_to_save.py").write_text(SLOW_TO_SAVE)
    words = ["norm=none,slow_to_save:Slow" if word.startswith("norm=") else word for word in WORDS]  # one saves at once
    words = ["seed=0" if word.startswith("seed=") else word for word in words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    sweep = started(sys.executable, "-m", "bnlab.cli.app", "sweep", *words, "--jobs", "2", env=environment, stdout=None)
    wait_until(lambda: num_in_training() == 2)
    Path("saving takes long").touch()
    end(sweep, signal.SIGTERM, 143)
    assert statuses() == ["interrupted", "interrupted"]
    assert len(list(Path("runs/s").glob("*/checkpoint.pt"))) == 2
