"""The progress of a sweep: written by the workers, on any machine, and read by the sweep.

Each worker appends lines to a file of its own; the sweep reads the files of all workers. Files work with every backend.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from bnlab.records import Record, RunSummary
from bnlab.runfolder.writable import finds_no_room

SAID_EVERY_S = 0.5
"""Seconds between two lines about the steps of a run: to write a line takes 50 us, to show it longer."""

Say = Callable[[dict[str, Any]], None]
"""Takes a line of progress. Workers say

- ``{"steps": {run id: step}, "of": number of steps}``,
- ``{"ended": a RunSummary as a dict}``,
- ``{"failed": [run id], "reason": one sentence}``, and ``"no_room": True`` where the disk is full,
- ``{"busy": [run id]}`` for runs that another process trains,
- ``{"trouble": name of a logger, "reason": one sentence}`` for a logger that failed; the run goes on without it.

A search adds, for its view alone,

- ``{"told": trials that have ended, "best": lowest objective or None}``, of earlier calls,
- ``{"trial": number of a trial that has ended, ...}`` with the attributes of `Trial`.
"""


class SweepView(Protocol):
    """Shows the progress of a sweep to the user."""

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress."""


class ClosingView(SweepView, Protocol):
    """A view that stands on a screen until it is closed."""

    def close(self) -> None:
        """Remove it, or say the last line."""


class ProgressFile:
    """The file to which one worker appends its lines of progress.

    Args:
        folder: The folder that holds the files of all workers; it is created if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._may_be_cut = self._path.exists()  # this process wrote it, for the part before

    def say(self, line: dict[str, Any]) -> None:
        """Append a line. Where the sweep has ended and its files are gone, or the disk is full, nothing happens.

        The sweep looks at the folders of the runs, whether it was told of them or not. After a line that a full disk
        cut off, the next one begins with a newline: else both lines would be lost.

        Raises:
            OSError: The file cannot be written, for another reason.
        """
        text = ("\n" if self._may_be_cut else "") + json.dumps(line) + "\n"
        self._may_be_cut = True
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
            self._may_be_cut = False
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and not finds_no_room(error):
                raise


class StepsView:
    """Says how many steps of a run are done, and how the run ended.

    Args:
        run_id: The id of the run.
        num_steps: The number of steps after which the run is finished.
        say: Called with each line of progress.
    """

    def __init__(self, run_id: str, num_steps: int, say: Say) -> None:
        self._run_id = run_id
        self._num_steps = num_steps
        self._say = say
        self._said = 0.0

    def take(self, record: Record) -> None:
        """Say which step this is, if the last line was said a while ago."""
        now = time.monotonic()
        if now - self._said > SAID_EVERY_S:
            self._said = now
            self._say({"steps": {self._run_id: record.step}, "of": self._num_steps})

    def close(self, summary: RunSummary | None) -> None:
        """Say how the run ended."""
        if summary is not None:
            self._say({"ended": summary.as_dict()})


class ProgressReader:
    """Reads the lines that workers have written since the last look.

    Args:
        folder: The folder that holds the files of all workers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {path: path.stat().st_size for path in folder.glob("*.jsonl")}

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the new lines. A line without its end waits for the next call; a damaged line is left out."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if line.endswith(b"\n"):
                        self._read[path] = self._read.get(path, 0) + len(line)
                        facts: dict[str, Any] | None = None
                        with contextlib.suppress(ValueError):
                            facts = json.loads(line)
                        if facts is not None:
                            yield facts
