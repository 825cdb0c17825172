"""Sweeps as tasks of a real Ray cluster, whose workers are killed."""

import json
import signal
from pathlib import Path

import pytest
import sweeping

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray")]

RAY = ["hydra/launcher=ray_cluster", "--jobs", "2"]


def test_a_sweep_ends_as_in_one_process_though_a_worker_is_killed(alone: dict[str, bytes]) -> None:
    sweep = sweeping.start(*RAY)
    folder = sweeping.wait_until_kept(seed=0)
    sweeping.trainer(folder).kill()  # and Ray begins its task again
    assert [result["status"] for result in sweeping.end(sweep)] == ["finished", "finished"]
    assert sweeping.times_resumed(folder) == 1
    assert sweeping.metrics() == alone


def test_what_ray_gives_up_is_launched_again(alone: dict[str, bytes]) -> None:
    sweep = sweeping.start(*RAY, "hydra.launcher.ray.remote.max_retries=0")
    folder = sweeping.wait_until_kept(seed=0)
    sweeping.trainer(folder).kill()
    assert [result["status"] for result in sweeping.end(sweep)] == ["finished", "finished"]
    assert sweeping.metrics() == alone


def test_a_sweep_that_is_cut_off_leaves_no_task() -> None:
    sweep = sweeping.start(*RAY, *sweeping.LONG)
    sweeping.wait_for(lambda: len(sweeping.metrics()) == 2 and all(sweeping.metrics().values()), "in training")
    trainers = [sweeping.trainer(path) for path in Path("runs/s").glob("*-s?-*")]
    sweep.send_signal(signal.SIGTERM)
    sweeping.end(sweep, 143)
    statuses = [json.loads(path.read_text())["status"] for path in Path("runs/s").glob("*/manifest.json")]
    assert statuses == ["interrupted", "interrupted"]
    sweeping.wait_for(lambda: not any(trainer.is_running() for trainer in trainers), "gone")


def test_the_command_of_readme_does_what_it_says() -> None:
    out, _ = sweeping.end_and_messages(sweeping.type_pages_line("hydra/launcher=ray_cluster"), 0)
    assert "16 runs: 16 finished" in out
