"""A run, as a logger describes it to its library: its name, its group, its settings, when it began."""

import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.later_settings import with_later_settings
from bnlab.loggers.tags import tagged
from bnlab.records import Record
from bnlab.runfolder.finding import SINGLE
from bnlab.runfolder.index import by_name, flatten
from bnlab.runfolder.keeping import Marks, read_marks

PROJECT = "bnlab"
"""The project of runs that belong to no sweep, and of all runs where the library groups them within a project."""


@dataclass(frozen=True)
class LoggedRun:
    """A run whose records a logger takes.

    Attributes:
        folder: The folder of the run, whose name is the run's.
        settings: Its config by dotted keys; groups go by the names of their options.
        began: When its training began, in seconds since 1970.
        marks: The note and the tags that the user gave it.
    """

    folder: Path
    settings: Mapping[str, Any]
    began: float
    marks: Marks

    @property
    def name(self) -> str:
        """The run's id."""
        return self.folder.name

    @property
    def sweep(self) -> str | None:
        """The name of the sweep's folder; None for a run outside of a sweep."""
        parent = self.folder.parent.name
        return None if parent == SINGLE else parent

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.folder.parent.parent

    def tagged(self, record: Record) -> dict[str, float]:
        """Return the values of a record by tag, with the diagnostics that the run shows in TensorBoard."""
        return tagged(record, self.settings.get("diagnostics.tensorboard") or ())

    def stamp(self) -> str:
        """Return a mark that tells these records, this note and these tags from any others of the run."""
        content = hashlib.sha256(repr(self.marks).encode())
        for path in (self.folder / "metrics.jsonl", self.folder / "timings.jsonl"):
            content.update(path.read_bytes() if path.exists() else b"")
        return content.hexdigest()[:16]


def logged_run(folder: Path, config: Mapping[str, Any], started: str | None) -> LoggedRun:
    """Return a run as loggers want it.

    Args:
        folder: The folder of the run.
        config: Its config as plain values, of this version or an older one.
        started: When its training began, as its manifest tells it; None: it is not known.
    """
    settings = by_name(flatten(with_later_settings(dict(config))))
    settings.pop("name", None)
    try:
        began = datetime.datetime.fromisoformat(started or "").timestamp()
    except ValueError:
        began = 0.0
    return LoggedRun(folder, settings, began, read_marks(folder))
