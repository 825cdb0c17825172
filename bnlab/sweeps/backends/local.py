"""Trains parts by processes of this machine, which loky keeps from one part, and one sweep, to the next."""

import contextlib
import importlib
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import ClassVar

from loky import BrokenProcessPool, ProcessPoolExecutor
from loky.process_executor import ShutdownExecutorError

from bnlab.garbage import look_rarely
from bnlab.sweeps.backends.backend import PartEnded, in_one_line
from bnlab.sweeps.worker import remember_parent, start_watch, train_part

IDLE_S = 300.0
"""Seconds after which a worker without a part ends: a notebook may train another sweep."""

PARENT_SEEN_S = 1.0
"""Seconds between two looks of a worker whether the process that started it is still there."""

_NEEDED = ("bnlab.experiment.cohort_run",)
"""Modules that a worker imports, in two seconds, before it can train."""

_pools: dict[int, ProcessPoolExecutor] = {}
"""Number of workers -> the workers, as long as they live: one pool for each thread that trains a sweep, at most, since
idle workers fill the memory."""

_in_training = threading.Lock()
"""Held by a worker as long as it trains a part."""


def begin_workers(num_jobs: int) -> ProcessPoolExecutor:
    """Start the workers of a sweep that is still being planned, and return them; they import torch meanwhile.

    Args:
        num_jobs: How many workers; `LocalBackend` with the same number uses them.
    """
    if num_jobs in _pools:
        return _pools[num_jobs]
    while _pools:  # of another number: idle, or of another thread's sweep, whose parts are trained to their end
        _, other = _pools.popitem()
        other.shutdown(wait=True)
    pool = ProcessPoolExecutor(num_jobs, timeout=IDLE_S, initializer=_prepare, initargs=(os.getpid(),))
    _pools[num_jobs] = pool
    with _ctrl_c_postponed():  # it would leave a worker behind that the pool does not know yet
        pool.submit(os.getpid)  # the first task starts all workers
    return pool


def end_workers() -> None:
    """Kill all workers of this process: what they had to write is on disk. Ctrl-C is raised when all are dead."""
    with _ctrl_c_postponed():
        while _pools:
            _, pool = _pools.popitem()
            pool.shutdown(wait=True, kill_workers=True)


class LocalBackend:
    """Trains parts by the workers of this process.

    Args:
        num_jobs: Parts in training at a time, each by a process of its own.
    """

    has_process_per_part: ClassVar[bool] = False

    def __init__(self, num_jobs: int) -> None:
        self._num_jobs = num_jobs
        self._waiting: deque[Path] = deque()
        self._training: dict[futures.Future[None], Path] = {}

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; see `Backend`."""
        self._waiting.extend(parts)
        self._keep_workers_busy()

    def watch(self, timeout_s: float) -> list[PartEnded]:
        """Return the parts that have ended; see `Backend`. Where a worker died, loky has ended all of them."""
        with warnings.catch_warnings():  # loky warns of workers that it replaces: another data set is no memory leak
            warnings.filterwarnings("ignore", category=UserWarning, module="loky")
            done, _ = futures.wait(self._training, timeout_s, futures.FIRST_COMPLETED)
        errors = {future: future.exception() for future in done}
        ended = [
            PartEnded(self._training.pop(future), None if error is None else in_one_line(error))
            for future, error in errors.items()
        ]
        death = next((error for error in errors.values() if isinstance(error, BrokenProcessPool)), None)
        if death is not None:
            ended += [PartEnded(part, in_one_line(death)) for part in [*self._training.values(), *self._waiting]]
            self._forget_all()
        self._keep_workers_busy()
        return ended

    def cancel(self, *, at_once: bool = False) -> None:
        """End all parts that are left; see `Backend`."""
        if at_once:
            self._forget_all()
        self._waiting.clear()
        futures.wait(self._training)
        self._training.clear()

    def close(self) -> None:
        """Leave the workers to the next sweep; `end_workers` ends them."""

    def _keep_workers_busy(self) -> None:
        while self._waiting and len(self._training) < self._num_jobs:
            pool = begin_workers(self._num_jobs)
            try:
                with _ctrl_c_postponed():
                    future = pool.submit(_train, self._waiting[0])
            except (BrokenProcessPool, ShutdownExecutorError):  # a worker died while it had nothing to do
                self._end_pool()
                continue
            self._training[future] = self._waiting.popleft()

    def _forget_all(self) -> None:
        self._end_pool()
        self._waiting.clear()
        self._training.clear()

    def _end_pool(self) -> None:
        with _ctrl_c_postponed():
            pool = _pools.pop(self._num_jobs, None)
            if pool is not None:
                pool.shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _ctrl_c_postponed() -> Iterator[None]:
    """Raise KeyboardInterrupt after the context, not inside; processes started inside do not hear Ctrl-C."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    _start_resource_trackers()
    pressed: list[tuple[int, FrameType | None]] = []
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
            if pressed:
                handler(*pressed[0])


def _start_resource_trackers() -> None:
    """Start the processes that tidy up after Python's and loky's: on their start they unblock SIGINT."""
    from multiprocessing import resource_tracker  # noqa: PLC0415  (Windows has none)

    from loky.backend import resource_tracker as tracker_of_loky  # noqa: PLC0415

    resource_tracker.ensure_running()
    tracker_of_loky.ensure_running()


def _prepare(parent: int) -> None:
    """Prepare this process, a worker: leave Ctrl-C to the sweep, end when the sweep has gone, import what is needed."""
    look_rarely()
    remember_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    start_watch()
    with contextlib.suppress(Exception):  # the first part meets it again, and the sweep tells of it
        for name in _NEEDED:
            importlib.import_module(name)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SEEN_S)
    with _in_training:  # a part sees it too, and ends this process itself, after a checkpoint
        os._exit(1)


def _train(part: Path) -> None:
    with _in_training:
        train_part(part)
