"""The jobs of a cluster that a launcher has begun: none is left behind when the launcher returns.

submitit's launchers raise at the first job that they find dead, while others are in training or still wait in the
queue. Launched again, these would be made twice; and left alone, they would outlive the sweep. Ray does the same
with its tasks. So the others are waited for, or ended where the sweep itself is to end.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import psutil

from bnlab.training.interruption import Interruption

ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT")
)
"""States of a Slurm job that is not going to be continued. One that will be is PENDING again at once."""

GONE = "GONE"
"""State of a job that Slurm no longer knows: it forgets a job five minutes after its end, by default."""

LOOK_EVERY_S = (2.0, 30.0)
"""Seconds between two looks at the queue: at least, and at most. A tenth of the time that has passed, between them."""

END_WITHIN_S = 60.0
"""Seconds that jobs have to end in, once they are told: a step and a checkpoint. Slurm kills after 30 by default."""


class Jobs(Protocol):
    """Jobs that have been begun."""

    def wait(self, most_s: float | None = None) -> None:
        """Wait until none is left, or for so many seconds."""

    def cancel(self) -> None:
        """Tell them to end."""


class SlurmJobs:
    """The jobs that this process has handed to Slurm, as ``squeue`` sees them.

    Takes the place of submitit's own look at ``sacct``, and has the methods that submitit calls: where a cluster
    keeps no accounts, submitit waits for ever for a job that has died; where it does, up to ten minutes.

    Args:
        interruption: Where it is asked for, what still waits in the queue is taken out of it.
    """

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption
        self._states: dict[str, str] = {}
        self._began = self._looked = time.monotonic()

    def register_job(self, job_id: str) -> None:
        """Take a job that has just been handed in."""
        self._states[job_id] = "PENDING"
        self._looked = float("-inf")

    def get_info(self, job_id: str, mode: str = "standard") -> dict[str, str]:
        """Return what is known of a job."""
        return {"State": self.get_state(job_id, mode)}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return a job's state in Slurm's words."""
        if mode != "cache":
            self._look()
        return self._states[job_id]

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether a job has ended and will not be continued."""
        if self._interruption.is_asked:
            self.cancel("PENDING")
        return self.get_state(job_id, mode) in {*ENDED, GONE}

    def wait(self, most_s: float | None = None) -> None:
        """Wait until none is left, or for so many seconds."""
        deadline = float("inf") if most_s is None else time.monotonic() + most_s
        while time.monotonic() < deadline and not all(self.is_done(job_id) for job_id in self._states):
            time.sleep(1.0)

    def cancel(self, state: str | None = None) -> None:
        """Tell all jobs to end that are not at their end; with a state, those that are in it."""
        left = [one for one, its in self._states.items() if its not in {*ENDED, GONE} and state in {its, None}]
        if left:
            command = ["scancel", *([f"--state={state}"] if state else []), *left]
            subprocess.run(command, check=False, capture_output=True)
            self._looked = float("-inf")

    def _look(self) -> None:
        now = time.monotonic()
        least, most = LOOK_EVERY_S
        if now - self._looked < min(most, max(least, (now - self._began) / 10)):
            return
        self._looked = now
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            return  # the controller may be away for a while, and the jobs go on without it
        states = dict(line.strip().split("|", 1) for line in said.splitlines() if "|" in line)
        self._states = {job_id: states.get(job_id, GONE) for job_id in self._states}


class LocalJobs:
    """The processes by which submitit starts jobs on this machine, with the methods that submitit calls."""

    def __init__(self) -> None:
        self._processes: list[psutil.Process] = []

    def register_job(self, job_id: str) -> None:
        """Take a process that has just been started; submitit calls it by its number."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._processes.append(psutil.Process(int(job_id)))

    def wait(self, most_s: float | None = None) -> None:
        """Wait until none is left, or for so many seconds."""
        psutil.wait_procs(self._processes, timeout=most_s)

    def cancel(self) -> None:
        """Tell them to end: Ctrl-C, in which they end what they have started."""
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(2)


@contextlib.contextmanager
def no_jobs_left(launcher: str, interruption: Interruption) -> Iterator[None]:
    """See to it that no job is left of those that a launcher begins meanwhile.

    After an error the others are waited for; where the sweep is cut off, they are told to end, and have the time for
    a checkpoint. A Ray session that is begun meanwhile ends with the context, and its tasks with it: Ray has begun a
    task several times before it says that it is lost.

    Args:
        launcher: The place of its class.
        interruption: Where it is asked for, what has not begun is not begun any more.
    """
    if launcher.startswith("hydra_plugins.hydra_submitit_launcher."):
        with _submitit_jobs_ended(interruption):
            yield
    elif launcher.startswith("hydra_plugins.hydra_ray_launcher."):
        with _ray_session_ended():
            yield
    else:
        yield


@contextlib.contextmanager
def _submitit_jobs_ended(interruption: Interruption) -> Iterator[None]:
    submitit = _import_submitit()
    slurm, local = SlurmJobs(interruption), LocalJobs()
    every: tuple[Jobs, ...] = (slurm, local)
    kinds = (submitit.SlurmJob, slurm), (submitit.LocalJob, local)
    before = [kind.watcher for kind, _ in kinds]
    try:
        for kind, ours in kinds:
            kind.watcher = ours
        yield
    except Exception:
        for jobs in every:
            jobs.wait()
        raise
    except BaseException:
        for jobs in every:
            jobs.cancel()
        for jobs in every:
            jobs.wait(END_WITHIN_S)
        raise
    finally:
        for (kind, _), theirs in zip(kinds, before, strict=True):
            kind.watcher = theirs


def _import_submitit() -> Any:
    """Return submitit; it would set up a logger that prints to standard output, unless told not to."""
    level = os.environ.get("SUBMITIT_LOG_LEVEL")
    os.environ["SUBMITIT_LOG_LEVEL"] = level or "NOCONFIG"
    try:
        import submitit  # noqa: PLC0415  (an extra, and only for those sweeps that are handed to it)
    finally:
        if level is None:
            del os.environ["SUBMITIT_LOG_LEVEL"]
    return submitit


@contextlib.contextmanager
def _ray_session_ended() -> Iterator[None]:
    """End a session that is begun meanwhile, and let a signal reach the sweep while it lasts.

    With a session come two handlers of Ray's, one of them below Python, that end the process at a SIGTERM.
    """
    import ray  # noqa: PLC0415  (an extra, and only for those sweeps that are handed to it)

    theirs, was_up = ray.init, ray.is_initialized()

    def init(*arguments: Any, **settings: Any) -> Any:
        handler = signal.getsignal(signal.SIGTERM)
        session = theirs(*arguments, **settings)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        return session

    try:
        ray.init = init
        yield
    finally:
        ray.init = theirs
        if ray.is_initialized() and not was_up:
            ray.shutdown()


def why_a_job_died(error: Exception) -> str:
    """Return one line of what a launcher raised: the last that the job itself wrote, of the pages that it may be.

    Example:
        >>> why_a_job_died(ValueError("no such partition"))
        'no such partition'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    package = type(error).__module__.partition(".")[0]
    if package == "submitit":
        return _last_words(lines)
    if package == "ray":  # a traceback
        lines.reverse()
    return lines[0] if lines else type(error).__name__


def _last_words(lines: list[str]) -> str:
    """Return how submitit says that a job ended, and the last line of what the job wrote: below a rule, if it did."""
    rules = [place for place, line in enumerate(lines) if set(line) == {"-"}]
    state = re.search(r"\(state: (\w+)\)", " ".join(lines))
    written = lines[rules[0] + 1 : [*rules, len(lines)][1]] if rules else []
    said = [f"its job ended as {state[1]}"] if state else []
    return ": ".join(said + written[-1:]) or lines[0]
