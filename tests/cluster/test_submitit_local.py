"""Sweeps as processes that submitit starts on this machine: the same code as for Slurm, without one."""

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sweeping

from bnlab.sweeps.execute import run_sweep

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'bnlab[slurm]'")

WORDS = [
    *("data=digits", "data.limit=200", "model.width=8", "sweep.engine=sequential", "name=s"),
    *("norm=troubled_norms:Troubled,none,batch", "norm.trouble=trouble.txt"),
    *("train.steps=20", "train.checkpoint_every=5", "diagnostics=none", "loggers=[]"),
]


@contextlib.contextmanager
def numbers_of_jobs() -> Iterator[set[int]]:
    """Give the numbers of jobs that this process has at a time, as they are seen inside the context."""
    numbers: set[int] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.2):
            numbers.add(sum(_is_job(child) for child in psutil.Process().children()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield numbers
    finally:
        is_over.set()
        looking.join()


def _is_job(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "submitit" in " ".join(process.cmdline())
    return False  # it has ended


@pytest.mark.slow
def test_a_sweep_by_as_many_processes_as_jobs_are_wanted_ends_as_in_one_though_a_process_is_killed(
    bnlab_says: Callable[..., Any],
) -> None:
    shutil.copy(Path(__file__).parents[1] / "sweeps" / "troubled_norms.py", Path.cwd())
    run_sweep(WORDS, runs=Path("alone"), jobs=1)
    Path("trouble.txt").write_text("kill once")
    with numbers_of_jobs() as numbers:
        answer = bnlab_says("sweep", *WORDS, "hydra/launcher=submitit_local", "--jobs", "2", "--json", "--quiet")
    assert answer.status == 0, answer.err
    assert "Traceback" not in answer.err
    assert [json.loads(line)["status"] for line in answer.out.splitlines()] == ["finished"] * 3
    assert max(numbers) == 2
    assert not Path("trouble.txt").exists()
    assert [sweeping.times_resumed(folder) for folder in sorted(Path("runs/s").glob("*-s0-*"))] == [1, 0, 0]
    assert sweeping.metrics() == sweeping.metrics(Path("alone/s"))
