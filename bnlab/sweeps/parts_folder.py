"""The folder through which a sweep and its workers exchange messages: parts, progress, and the wish to stop."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from bnlab import provenance
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.sweeps.parts import HALT, STOP, Part, part_path, write_surroundings
from bnlab.sweeps.progress import ProgressReader, SweepView

_log = logging.getLogger("bnlab")

_LOCK = ".lock"


class PartsFolder:
    """A folder inside the sweep's folder, which exists as long as the context lasts.

    Args:
        sweep_folder: The folder in which the runs' folders lie.
        take: Called with each line of progress, once, by the thread that calls `look`.
        view: Shown each line as well. A view that raises an error is shown nothing more.
    """

    def __init__(
        self, sweep_folder: Path, take: Callable[[dict[str, Any]], None], view: SweepView | None = None
    ) -> None:
        name = f"{provenance.now().replace(':', '')}-{threading.get_native_id()}"
        self.path = sweep_folder / ".parts" / name
        self._owned = FileLock(f"{self.path}{_LOCK}")
        self._take = take
        self._view = view
        self._num_parts = 0
        self._is_stopped = False
        self._causes: set[str] = set()
        self._reader = ProgressReader(self.path / "progress")

    def __enter__(self) -> Self:
        with saying_where_it_cannot_write(self.path.parent.parent):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._owned.acquire()  # before the folder exists: a folder that nobody owns is cleared away
                self._clear_away()
                self.path.mkdir(exist_ok=True)
                write_surroundings(self.path)
            except OSError:
                self._remove()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._owned.release()
        with contextlib.suppress(OSError):  # the folder of another execution may still be there
            Path(self._owned.lock_file).unlink(missing_ok=True)
            self.path.parent.rmdir()

    def _clear_away(self) -> None:
        """Remove the folders of sweeps that were killed: the system has released their locks, on any machine."""
        for lock in self.path.parent.glob(f"*{_LOCK}"):
            with contextlib.suppress(Timeout, OSError):
                if lock != Path(self._owned.lock_file):
                    with FileLock(lock, timeout=0):
                        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                        lock.unlink()

    def write(self, part: Part) -> Path:
        """Write a part for a backend.

        Args:
            part: The part; each has a file of its own.

        Returns:
            The file.
        """
        file = part_path(self.path, self._num_parts)
        part.write(file)
        self._num_parts += 1
        return file

    @property
    def is_stopped(self) -> bool:
        """Whether no further run begins: the sweep called `stop` or `halt`, or a worker stopped it after a failure."""
        return self._is_stopped or (self.path / STOP).exists()

    def stop(self) -> None:
        """Let no further run begin. On a full disk the workers cannot see it, for now."""
        self._leave(STOP)

    def halt(self) -> bool:
        """Stop training after the step that is being made, with a checkpoint.

        Returns:
            Whether the workers can see it: on a full disk they cannot, for now.
        """
        return self._leave(STOP) and self._leave(HALT)

    def _leave(self, name: str) -> bool:
        self._is_stopped = True
        with contextlib.suppress(OSError):
            (self.path / name).touch()
        return (self.path / name).exists()

    def look(self) -> None:
        """Take the new lines of progress.

        A line that cannot be read now is read the next time. A line that never comes costs nothing but the view: which
        runs have results is known from their folders.
        """
        try:
            for line in self._reader.new_lines():
                self.take(line)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            if cause not in self._causes:  # it may last, and there are four looks a second
                self._causes.add(cause)
                _log.exception("the progress of this sweep could not be read; training goes on")

    def take(self, line: dict[str, Any]) -> None:
        """Take one line of progress, and show it.

        Args:
            line: A line of progress, as `Say` takes it.
        """
        self._take(line)
        if self._view is None:
            return
        try:
            self._view.take(line)
        except (OSError, SystemExit):  # a pipe that nobody reads: rich ends the thread
            self._view = None
        except Exception:
            self._view = None
            _log.exception("the view of this sweep ended; training goes on")
