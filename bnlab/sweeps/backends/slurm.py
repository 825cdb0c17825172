"""Trains parts by jobs of submitit's: those of a Slurm cluster, or processes that submitit starts on this machine."""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bnlab.sweeps.backends.backend import END_WITHIN_S, PartEnded, in_one_line
from bnlab.sweeps.worker import train_part

ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT")
)
"""States of a Slurm job that does not continue. A job that was put into the queue again is PENDING."""

GONE = "GONE"
"""State of a job that Slurm no longer knows: it forgets a job five minutes after its end, by default."""

QUEUE_SEEN_S = (2.0, 30.0)
"""Least and most seconds between two calls of squeue. Between them: a tenth of the time since jobs were submitted."""

POLL_S = 0.1
"""Seconds between two looks for files that jobs leave at their end."""

_SHARED = {"name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node"}
_SHARED |= {"stderr_to_stdout"}
"""Settings that submitit knows by one name for all clusters. It wants the others with the cluster's name in front."""


class SubmititBackend:
    """Trains each part by a job of submitit's.

    Args:
        cluster: ``slurm``, or ``local`` for processes of this machine.
        settings: Of submitit's executor, as in conf/hydra/launcher/submitit_slurm.yaml; null where submitit decides.
        most_at_a_time: Jobs handed to submitit at a time; None: all of them, since the cluster has a queue.
    """

    has_process_per_part: ClassVar[bool] = True

    def __init__(self, cluster: str, settings: Mapping[str, Any], most_at_a_time: int | None = None) -> None:
        self._cluster = cluster
        self._settings = {key: value for key, value in settings.items() if value is not None}
        self._most = most_at_a_time
        self._waiting: list[Path] = []
        self._jobs: dict[Path, Any] = {}
        self._not_submitted: list[PartEnded] = []

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; see `Backend`. What cannot be submitted ends at the next `watch`."""
        self._waiting += parts
        self._submit_what_may_begin()

    def watch(self, timeout_s: float) -> list[PartEnded]:
        """Return the parts that have ended; see `Backend`."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended, self._not_submitted = self._not_submitted, []
            for part in [part for part, job in self._jobs.items() if self._has_ended(job)]:
                ended.append(PartEnded(part, self._death(self._jobs.pop(part))))
            self._submit_what_may_begin()
            if ended or not self._jobs or time.monotonic() >= deadline:
                return ended
            time.sleep(POLL_S)

    def cancel(self, *, at_once: bool = False) -> None:
        """End all jobs that are left; see `Backend`."""
        self._waiting.clear()
        try:
            self._cancel_pending()
            if not at_once or self._cluster == "slurm":
                self._wait_for_jobs()
        finally:
            for job in self._jobs.values():
                job.cancel(check=False)
        self._wait_for_jobs()
        self._jobs.clear()

    def close(self) -> None:
        """Hold nothing: jobs of a cluster need no connection."""

    def _submit_what_may_begin(self) -> None:
        number = len(self._waiting) if self._most is None else max(0, self._most - len(self._jobs))
        parts, self._waiting = self._waiting[:number], self._waiting[number:]
        if not parts:
            return
        try:
            jobs = self._executor(parts[0].parent).map_array(_Training(), parts)
        except Exception as error:  # no such partition, no such command, a setting of a wrong type
            self._not_submitted += [PartEnded(part, in_one_line(error)) for part in parts]
            return
        self._jobs.update(zip(parts, jobs, strict=True))

    def _executor(self, folder: Path) -> Any:
        submitit = import_submitit()
        settings = dict(self._settings)
        logs = settings.pop("submitit_folder", folder / ".submitit" / "%j")
        prefix = f"{self._cluster}_"
        most_timeouts = {f"{prefix}max_num_timeout": settings.pop("max_num_timeout", 0)}
        executor = submitit.AutoExecutor(folder=logs, cluster=self._cluster, **most_timeouts)
        executor.update_parameters(
            **{key if key in _SHARED else f"{prefix}{key}": value for key, value in settings.items()}
        )
        return executor

    def _has_ended(self, job: Any) -> bool:
        return bool(job.done())

    def _cancel_pending(self) -> None:
        """Take jobs back that have not begun."""

    def _state(self, job: Any) -> str:
        return str(job.state)

    def _wait_for_jobs(self) -> None:
        deadline = time.monotonic() + END_WITHIN_S
        while time.monotonic() < deadline and not all(map(self._has_ended, self._jobs.values())):
            time.sleep(POLL_S)

    def _death(self, job: Any) -> str | None:
        """Return why a job that has ended died; None: it did what it had to do."""
        if job.paths.result_pickle.exists():
            error = job.exception()
            return None if error is None else _last_line(str(error).split("\n-----")[1])
        written = _last_line(job.stderr() or "")
        return ": ".join([f"its job ended as {self._state(job)}", *([written] if written else [])])


class SlurmBackend(SubmititBackend):
    """Trains each part by a job of a Slurm cluster.

    What became of a job is asked of ``squeue``. submitit itself asks ``sacct``: where a cluster keeps no accounts, it
    would wait for ever for a job that has died; where it does, up to ten minutes.

    Args:
        settings: Of submitit's executor, as in conf/hydra/launcher/submitit_slurm.yaml.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__("slurm", settings)
        self._states: dict[str, str] = {}
        self._began = self._looked = float("-inf")

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; see `Backend`. They become one array of jobs."""
        super().submit(parts)
        self._began = time.monotonic()
        self._looked = float("-inf")

    def _has_ended(self, job: Any) -> bool:
        return job.paths.result_pickle.exists() or self._state(job) in {*ENDED, GONE}

    def _state(self, job: Any) -> str:
        least, most = QUEUE_SEEN_S
        now = time.monotonic()
        if now - self._looked >= min(most, max(least, (now - self._began) / 10)):
            self._looked = now
            self._look_at_queue()
        return self._states.get(job.job_id, "PENDING")

    def _look_at_queue(self) -> None:
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            return  # the controller may be away for a while, and the jobs go on without it
        states = dict(line.strip().split("|", 1) for line in said.splitlines() if "|" in line)
        self._states = {job.job_id: states.get(job.job_id, GONE) for job in self._jobs.values()}

    def _cancel_pending(self) -> None:
        if self._jobs:
            names = [job.job_id for job in self._jobs.values()]
            subprocess.run(["scancel", "--state=PENDING", *names], check=False, capture_output=True)
            self._looked = float("-inf")


class _Training:
    """What a job does. submitit asks it, after a preemption or a time-out, with which arguments to continue."""

    def __call__(self, part: Path) -> None:
        train_part(part)

    def checkpoint(self, part: Path) -> Any:
        """Continue with the same part: its runs have their checkpoints."""
        return import_submitit().helpers.DelayedSubmission(self, part)


def import_submitit() -> Any:
    """Return submitit; it would set up a logger that prints to standard output, unless told not to."""
    level = os.environ.get("SUBMITIT_LOG_LEVEL")
    os.environ["SUBMITIT_LOG_LEVEL"] = level or "NOCONFIG"
    try:
        import submitit  # noqa: PLC0415  (an extra, which only some sweeps need)
    finally:
        if level is None:
            del os.environ["SUBMITIT_LOG_LEVEL"]
    return submitit


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if re.search(r"[^-\s]", line)]
    return lines[-1] if lines else ""
