"""Jobs of submitit's, without a cluster: what is asked of Slurm, and what is said of a job that died."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.backends.slurm import SlurmBackend, SubmititBackend


class FakeJob:
    """A job of submitit's: its id, the files that it left, and how it ended."""

    def __init__(self, number: int, folder: Path) -> None:
        self.job_id = f"7_{number}"
        self.state = "FINISHED"
        self.paths = SimpleNamespace(result_pickle=folder / f"{number}.pkl")
        self.error: Exception | None = None
        self.written: str | None = None
        self.is_cancelled = False

    def done(self) -> bool:
        return self.paths.result_pickle.exists() or self.is_cancelled

    def exception(self) -> Exception | None:
        return self.error

    def stderr(self) -> str | None:
        return self.written

    def cancel(self, check: bool = True) -> None:  # noqa: ARG002
        self.is_cancelled = True


class FakeExecutor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[FakeJob] = []

    def map_array(self, _: object, parts: list[Path]) -> list[FakeJob]:
        jobs = [FakeJob(len(self.jobs) + number, self.folder) for number in range(len(parts))]
        self.jobs += jobs
        return jobs


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeExecutor:
    made = FakeExecutor(tmp_path)
    monkeypatch.setattr(SubmititBackend, "_executor", lambda _, __: made)
    return made


PARTS = [Path("part-0.json"), Path("part-1.json"), Path("part-2.json")]


def test_a_job_that_left_its_result_is_done_or_says_what_it_raised(executor: FakeExecutor) -> None:
    backend = SubmititBackend("local", {})
    backend.submit(PARTS[:2])
    assert backend.watch(0) == []
    for job in executor.jobs:
        job.paths.result_pickle.touch()
    executor.jobs[1].error = RuntimeError(
        "Job (task=0) failed during processing with trace:\n----------------------\nTraceback\nKeyError: 'x'\n\n"
        "----------------------\nYou can check full logs with 'job.stderr(0)'or at paths:\n  - /e\n  - /o"
    )
    assert backend.watch(0) == [PartEnded(PARTS[0], None), PartEnded(PARTS[1], "KeyError: 'x'")]
    assert backend.watch(60) == []  # at once: nothing is left


@pytest.mark.parametrize(
    ("written", "death"),
    [
        ("srun: one\nsrun: Killed\n", "its job ended as OUT_OF_MEMORY: srun: Killed"),
        (None, "its job ended as OUT_OF_MEMORY"),
    ],
)
def test_a_job_without_a_result_is_dead_when_slurm_says_so(
    executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, written: str | None, death: str
) -> None:
    said = ["7_0|PENDING\n7_1|RUNNING\n", "7_0|OUT_OF_MEMORY\n7_1|RUNNING\n", "7_1|PENDING\n"]

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[0] == "squeue"
        return subprocess.CompletedProcess(command, 0, said.pop(0), "")

    monkeypatch.setattr("bnlab.sweeps.backends.slurm.QUEUE_SEEN_S", (0.0, 0.0))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(SlurmBackend, "_has_ended", once_per_look(SlurmBackend._has_ended))
    backend = SlurmBackend({})
    backend.submit(PARTS[:2])
    executor.jobs[0].written = written
    assert backend.watch(0) == []
    assert backend.watch(0) == [PartEnded(PARTS[0], death)]
    assert backend.watch(0) == []  # one job is in the queue again, and the other one no longer concerns anybody


def once_per_look(has_ended: Any) -> Any:
    """Have the queue looked at for the first job alone, as where two looks are seconds apart."""

    def asked(backend: SlurmBackend, job: FakeJob) -> bool:
        backend._looked = float("-inf") if job is next(iter(backend._jobs.values())) else float("inf")
        return bool(has_ended(backend, job))

    return asked


def test_where_the_controller_is_away_for_a_while_no_job_is_dead(
    executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", run)
    backend = SlurmBackend({})
    backend.submit(PARTS[:1])
    assert backend.watch(0) == []
    executor.jobs[0].paths.result_pickle.touch()
    assert backend.watch(0) == [PartEnded(PARTS[0], None)]


def test_no_more_jobs_are_started_at_a_time_than_wanted(executor: FakeExecutor) -> None:
    backend = SubmititBackend("local", {}, most_at_a_time=2)
    backend.submit(PARTS)
    assert len(executor.jobs) == 2
    executor.jobs[0].paths.result_pickle.touch()
    assert [ended.part for ended in backend.watch(0)] == PARTS[:1]
    assert len(executor.jobs) == 3


def test_what_cannot_be_submitted_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("invalid partition specified: moon\nsee above")

    monkeypatch.setattr(SubmititBackend, "_executor", fail)
    backend = SubmititBackend("local", {})
    backend.submit(PARTS)
    assert backend.watch(60) == [PartEnded(part, "invalid partition specified: moon") for part in PARTS]
    assert backend.watch(60) == []


@pytest.mark.parametrize("at_once", [False, True])
def test_jobs_that_do_not_end_by_themselves_are_cancelled(
    executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr("bnlab.sweeps.backends.slurm.END_WITHIN_S", 0.01)
    backend = SubmititBackend("local", {}, most_at_a_time=2)
    backend.submit(PARTS)
    backend.cancel(at_once=at_once)
    assert [job.is_cancelled for job in executor.jobs] == [True, True]
    assert backend.watch(60) == []
