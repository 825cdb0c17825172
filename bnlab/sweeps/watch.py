"""A sweep and its workers, while a launcher has the sweep's own thread: who listens, who tells the others to stop."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bnlab import provenance
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.parts import HALT, STOP, write_surroundings
from bnlab.sweeps.progress import ProgressReader, SweepView
from bnlab.training.interruption import Interruption

_log = logging.getLogger("bnlab")

_LOCK = ".lock"

LOOK_EVERY_S = 0.25
"""Seconds between two looks at what the workers say."""


class Watch:
    """The folder by which a sweep and its workers know of each other, and a look at what these say in it.

    Args:
        sweep_folder: Where the runs' folders lie; that folder is made in it, and is gone in the end.
        take: Told each line of progress, once; one at a time, from a thread of the watch's own.
        interruption: Where it is asked for, the workers are told to stop, with a checkpoint.
        view: Shown each line, as long as it can show any.
    """

    def __init__(
        self,
        sweep_folder: Path,
        take: Callable[[dict[str, Any]], None],
        interruption: Interruption,
        view: SweepView | None = None,
    ) -> None:
        self.folder = sweep_folder / ".parts" / f"{provenance.now().replace(':', '')}-{threading.get_native_id()}"
        self.interruption = interruption
        self._owned = FileLock(f"{self.folder}{_LOCK}")
        self._take = take
        self._view = view
        self._is_stopped = False
        self._causes: set[str] = set()
        self._looking = threading.Lock()
        self._reader = ProgressReader(self.folder / "progress")

    def make_folder(self) -> None:
        """Make the folder, with what a worker must know of the sweep's surroundings; clear away those of the dead."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not self._owned.is_locked:
            self._owned.acquire()  # before the folder is there: what has no owner is cleared away
            self._clear_away()
        self.folder.mkdir(exist_ok=True)
        write_surroundings(self.folder)

    def _clear_away(self) -> None:
        """Take away the folders of sweeps that were killed: the system has let go of their locks, on any machine."""
        for path in self.folder.parent.glob(f"*{_LOCK}"):
            with contextlib.suppress(Timeout, OSError):
                if path != Path(self._owned.lock_file):
                    with FileLock(path, timeout=0):
                        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                        path.unlink()

    @property
    def is_over(self) -> bool:
        """Whether no further run is to be begun: after a failure that is to stop the others, or a signal."""
        return self._is_stopped or self.interruption.is_asked or (self.folder / STOP).exists()

    def stop(self) -> None:
        """Let no further run be begun."""
        self._is_stopped = True
        with contextlib.suppress(OSError):  # a full disk: what is in the workers' hands is trained, and no more
            (self.folder / STOP).touch()

    def look(self) -> None:
        """Take what is new; what cannot be read now is read the next time, or known from the runs' folders."""
        try:
            with self._looking:  # a line that is read twice would count a failure twice
                for line in self._reader.new_lines():
                    self.take(line)
        except Exception as error:  # it must not end the watch, by which the workers are told to stop
            cause = f"{type(error).__name__}: {error}"
            if cause not in self._causes:  # it may last, and there are four looks a second
                self._causes.add(cause)
                _log.exception("the progress of this sweep could not be read; training goes on")

    def take(self, line: dict[str, Any]) -> None:
        """Take one line, and show it."""
        self._take(line)
        if self._view is None:
            return
        try:
            self._view.take(line)
        except (OSError, SystemExit):  # a pipe that nobody reads: rich ends the thread, and with it the watch
            self._view = None
        except Exception:
            self._view = None
            _log.exception("the view of this sweep ended; training goes on")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look all the time, in a thread, since a launcher returns only when all is done."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_EVERY_S):
                self.look()
                if self.interruption.is_asked and self.folder.exists():
                    with contextlib.suppress(OSError):  # a full disk: it is tried again at the next look
                        (self.folder / STOP).touch()
                        (self.folder / HALT).touch()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.look()
            shutil.rmtree(self.folder, ignore_errors=True)
            self._owned.release()
            with contextlib.suppress(OSError):  # another execution's may still be there
                Path(self._owned.lock_file).unlink(missing_ok=True)
                self.folder.parent.rmdir()


def read_summaries(sweep_folder: Path, seeds: Mapping[str, int]) -> list[RunSummary]:
    """Return what came out of some runs, as their folders say.

    Args:
        sweep_folder: Where they lie.
        seeds: By run id, for those that have no result.
    """
    summaries = []
    for name, seed in seeds.items():
        folder = RunFolder(sweep_folder / name)
        summary = folder.read_finished()
        if summary is None:
            status = folder.read_status() if folder.path.exists() else "interrupted"
            summary = RunSummary(name, status, str(folder.path), seed)
        summaries.append(summary)
    return summaries
