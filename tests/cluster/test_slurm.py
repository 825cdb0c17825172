"""Sweeps as jobs of a real Slurm cluster: killed, preempted, refused, and cut off."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
import sweeping

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("slurm")]

SLURM = ["hydra/launcher=slurm", "--jobs", "2"]


def job_of(folder: Path) -> str:
    """Return the id of the job that trains a run."""
    return sweeping.trainer(folder).environ()["SLURM_JOB_ID"]


def queue() -> list[str]:
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_sweep_ends_as_in_one_process_though_a_job_is_killed(alone: dict[str, bytes]) -> None:
    sweep = sweeping.start(*SLURM)
    folder = sweeping.wait_until_kept(seed=1)
    subprocess.run(["scancel", "--signal=KILL", job_of(folder)], check=True)
    results = sweeping.end(sweep)
    assert [result["status"] for result in results] == ["finished", "finished"]
    assert sweeping.times_resumed(folder) == 1
    assert sweeping.metrics() == alone
    sweeping.wait_for(lambda: not queue(), "no job")  # one may have its result, and be on its way out


@pytest.mark.parametrize("command", [["scontrol", "requeue"], ["scancel", "--signal=USR2"]], ids=" ".join)
def test_a_job_that_is_preempted_goes_on_from_its_checkpoint(command: list[str], alone: dict[str, bytes]) -> None:
    sweep = sweeping.start(*SLURM)
    folder = sweeping.wait_until_kept(seed=0)
    job = job_of(folder)
    subprocess.run([*command, job], check=True)
    assert [result["status"] for result in sweeping.end(sweep)] == ["finished", "finished"]
    assert sweeping.times_resumed(folder) == 1
    assert sweeping.metrics() == alone
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    assert "Restarts=1 " in shown  # the same job, not another one


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_cut_off_leaves_checkpoints_and_no_job(number: int, status: int) -> None:
    sweep = sweeping.start(*SLURM[:1], "--jobs", "3", "seed=0,1,2", *sweeping.LONG)
    sweeping.wait_for(lambda: len(sweeping.metrics()) == 2, "two in training, and one waits")
    sweeping.wait_for(lambda: all(sweeping.metrics().values()), "two in training, and one waits")
    assert len(queue()) == 3
    sweep.send_signal(number)
    sweeping.end(sweep, status)
    assert [job for job in queue() if " CG " not in job] == []  # CG: it has ended, and Slurm is clearing it away
    statuses = [json.loads(path.read_text())["status"] for path in Path("runs/s").glob("*/manifest.json")]
    assert statuses == ["interrupted", "interrupted"]
    assert len(list(Path("runs/s").glob("*/checkpoint.pt"))) == 2
    assert not list(Path("runs/s").glob(".parts*"))


def test_what_slurm_refuses_is_said_in_its_words() -> None:
    sweep = sweeping.start(*SLURM, "hydra.launcher.partition=moon")
    out, err = sweeping.end_and_messages(sweep, 1)
    assert "invalid partition specified: moon" in err
    assert out.count('"status": "interrupted"') == 2


def test_a_job_that_cannot_begin_is_not_tried_for_ever() -> None:
    sweep = sweeping.start(*SLURM, "hydra.launcher.setup=[exit 7]")
    sweeping.end(sweep, 1)


def test_the_command_of_readme_does_what_it_says() -> None:
    out, _ = sweeping.end_and_messages(sweeping.type_pages_line("hydra/launcher=slurm"), 0)
    assert "16 runs: 16 finished" in out
