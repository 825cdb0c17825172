"""The lock of a run, which one process at a time holds while it trains the run; it is free when that process dies."""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from bnlab.errors import RunBusyError
from bnlab.runfolder.writable import saying_where_it_cannot_write

PATIENCE_S = 0.25
"""Seconds to wait for a lock: a process that lists runs takes the lock of an interrupted run for a moment, to see
whether another process holds it. Without waiting, one start in eight failed beside a process that only listed runs."""


class RunLock:
    """The lock of one run.

    Args:
        run: The folder of the run, which need not exist.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    @property
    def path(self) -> Path:
        """The file of the lock: beside the run's folder, not in it, since that is moved while the lock is held."""
        return self._run.parent / ".locks" / f"{self._run.name}.lock"

    @property
    def set_aside(self) -> Path:
        """Where a run's folder is kept while the run is trained again: beside the runs it could be taken for one."""
        return self.path.with_suffix(".replaced")

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self.path, timeout=0)

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock; nested calls are allowed.

        Yields:
            Whether this is the outermost call.

        Raises:
            RunBusyError: Another process holds it.
            ConfigError: The folder cannot be written to.
        """
        with saying_where_it_cannot_write(self._run.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=PATIENCE_S, poll_interval=PATIENCE_S / 50)
            except Timeout:
                raise RunBusyError(
                    f"{self._run} is being trained by another process. Wait for it, or train another config."
                ) from None
        try:
            yield self._lock.lock_counter == 1
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Return whether a process holds the lock now."""
        if not self.path.exists():
            return False
        try:
            with FileLock(self.path, timeout=0):
                return False
        except (Timeout, OSError):
            return True
