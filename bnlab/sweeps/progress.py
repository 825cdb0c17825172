"""How far a sweep is: said by whoever trains, on whatever machine, read by whoever shows it.

A worker appends lines to a file of its own; the process that the user looks at reads all of them. Files are what
every launcher has in common.
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

SAID_EVERY_S = 0.5
"""Seconds between two lines about the steps of a part: a line costs 50 us, a look at it more."""

Say = Callable[[dict[str, Any]], None]
"""Takes a line: ``{"steps": {run id: step}, "of": number of steps}``, ``{"ended": a RunSummary as a dict}``,
``{"refused": [run id], "reason": str}`` or ``{"busy": [run id]}``, which another process trains."""


class SweepView(Protocol):
    """Shows how far a sweep is."""

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress."""


class ProgressFile:
    """The lines of one worker.

    Args:
        folder: Of all workers' files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._may_be_cut = self._path.exists()  # by this process, in a part before

    def say(self, line: dict[str, Any]) -> None:
        """Append a line; where the sweep has gone away, and its files with it, nobody is told.

        After one that a full disk cut off it begins with a newline: else both would be lost.
        """
        text = ("\n" if self._may_be_cut else "") + json.dumps(line) + "\n"
        self._may_be_cut = True
        with contextlib.suppress(FileNotFoundError):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
            self._may_be_cut = False


class StepsView:
    """Tells of the steps of runs that are trained together; one of them speaks for all.

    Args:
        run_id: Which run it is a view of.
        num_steps: Of the run.
        say: Whom to tell.
    """

    def __init__(self, run_id: str, num_steps: int, say: Say) -> None:
        self._run_id = run_id
        self._num_steps = num_steps
        self._say = say
        self._said = 0.0

    def take(self, record: Record) -> None:
        """Tell of a step, if it is time."""
        now = time.monotonic()
        if now - self._said > SAID_EVERY_S:
            self._said = now
            self._say({"steps": {self._run_id: record.step}, "of": self._num_steps})

    def close(self, summary: RunSummary | None) -> None:
        """Tell how it ended."""
        if summary is not None:
            self._say({"ended": summary.as_dict()})


class ProgressReader:
    """Reads what all workers have said since it last looked.

    Args:
        folder: Of their files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {path: path.stat().st_size for path in folder.glob("*.jsonl")}

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are new; one that is being written waits for the next time, half a line is left out."""
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
