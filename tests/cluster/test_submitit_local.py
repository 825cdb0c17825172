"""Sweeps as processes that submitit starts on this machine: the same code as for Slurm, without one."""

import time

import psutil
import pytest
import sweeping

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'bnlab[slurm]'")
pytestmark = pytest.mark.slow


def test_a_sweep_ends_as_in_one_process_though_a_process_is_killed(alone: dict[str, bytes]) -> None:
    sweep = sweeping.start("hydra/launcher=submitit_local", "--jobs", "2")
    folder = sweeping.wait_until_kept(seed=0)
    sweeping.trainer(folder).kill()
    assert [result["status"] for result in sweeping.end(sweep)] == ["finished", "finished"]
    assert sweeping.times_resumed(folder) == 1
    assert sweeping.metrics() == alone


def test_no_more_processes_are_started_than_jobs_are_wanted() -> None:
    words = ["seed=range(3)", "train.steps=20", "train.checkpoint_every=null"]
    sweep = sweeping.start("hydra/launcher=submitit_local", "--jobs", "2", *words)
    numbers = set()
    while sweep.poll() is None:
        numbers.add(len(psutil.Process(sweep.pid).children()))
        time.sleep(0.1)
    assert max(numbers) == 2
    assert [result["status"] for result in sweeping.end(sweep)] == ["finished"] * 3
