"""A worker hears of it when its sweep is gone."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bnlab.sweeps.parts import write_surroundings
from bnlab.sweeps.worker import working

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
