"""A run in Trackio: a table on this machine, in the folder of all of Trackio's projects (TRACKIO_DIR).

Trackio's `init` and `log` know one run at a time, where a cohort has several, and ask the Hugging Face Hub for the
user's name if a token is there. What is called here is what Trackio's own `import_csv` calls.
"""

import contextlib
import datetime
import io
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trackio
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import TRACKIO_DIR

from bnlab.loggers.logged_run import PROJECT, LoggedRun
from bnlab.loggers.tags import tagged_finals
from bnlab.records import Record, RunSummary

WRITTEN_EVERY_S = 2.0
"""Seconds between two writes: one takes some milliseconds, and waits for those of other processes."""

STAMP = "bnlab.stamp"


class TrackioLogger:
    """Writes a run as a run of Trackio with the same name, in a project with the name of the sweep.

    Args:
        run: The run; one of the same name that an earlier training left in the project is deleted.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._run = run
        self._project = project_of(run)
        SQLiteStorage.validate_project_name(self._project)
        forget_runs(self._project, run.name)
        self._elapsed_s = 0.0
        self._config: dict[str, Any] | None = _config(run)
        self._pending: list[tuple[int, float, dict[str, Any]]] = []
        self._written_at = time.monotonic()

    def take(self, record: Record) -> None:
        """Take one record."""
        if record.kind == "timing":
            self._elapsed_s = record.values.get("elapsed_s", 0.0)
        self._add(record.step, self._run.tagged(record))
        if time.monotonic() - self._written_at > WRITTEN_EVERY_S:
            self._write_out()

    def close(self, summary: RunSummary | None) -> None:
        """Write the figures of the test set, and how the run ended."""
        status = "interrupted" if summary is None else summary.status
        finals = {} if summary is None else tagged_finals(summary)
        self._add(0 if summary is None else summary.steps or 0, finals)
        self._config = {**_config(self._run), "status": status, STAMP: self._run.stamp()}
        self._write_out()

    def _add(self, step: int, values: Mapping[str, Any]) -> None:
        if values:
            self._pending.append((step, self._run.began + self._elapsed_s, dict(values)))

    def _write_out(self) -> None:
        if self._pending:
            write(self._project, self._run.name, self._pending, self._config)
        self._config = None
        self._pending = []
        self._written_at = time.monotonic()


def project_of(run: LoggedRun) -> str:
    """Return the name of a run's project. Trackio takes my.sweep and mysweep for one: a point becomes a line."""
    return (run.sweep or PROJECT).replace(".", "_")


def write(
    project: str, run: str, points: Sequence[tuple[int, float, dict[str, Any]]], config: dict[str, Any] | None
) -> None:
    """Append points to a run.

    Args:
        project: The name of the project; it is made if it is missing.
        run: The name of the run in it.
        points: Step, seconds since 1970, and values by tag, of each.
        config: The settings of the run, which replace earlier ones; None: they stay.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        SQLiteStorage.bulk_log(
            project,
            run,
            [values for _, _, values in points],
            [step for step, _, _ in points],
            [_iso(at) for _, at, _ in points],
            config,
            run_id=run,
        )


def runs_of(project: str) -> list[dict[str, Any]]:
    """Return the runs of a project, each with its ``name`` and its ``id``."""
    return list(SQLiteStorage.get_run_records(project))


def page(markdown: str) -> Any:
    """Return a text as a value of a run, which Trackio shows on its page of reports."""
    return trackio.Markdown(markdown)._to_dict()  # as Trackio's own `Run.log` does


def forget_runs(project: str, run: str) -> None:
    """Delete the runs of a name from a project."""
    for record in runs_of(project):
        if record["name"] == run:
            SQLiteStorage.delete_run(project, run, run_id=record["id"])


def has_run(run: LoggedRun) -> bool:
    """Return whether Trackio has a run as it is in its folder now."""
    config = SQLiteStorage.get_run_config(project_of(run), run.name, run_id=run.name)
    return (config or {}).get(STAMP) == run.stamp()


def place() -> Path:
    """Return the folder of all projects."""
    return Path(TRACKIO_DIR)


def command(projects: Sequence[str]) -> str:
    """Return what to type to look at projects."""
    given = os.environ.get("TRACKIO_DIR")
    where = f"TRACKIO_DIR={shlex.quote(given)} " if given else ""
    return f"{where}trackio show{f' --project {projects[0]}' if len(projects) == 1 else ''}"


def _config(run: LoggedRun) -> dict[str, Any]:
    marks = {"note": run.marks.note, "tags": ", ".join(run.marks.tags)}
    own = {"_Username": os.environ.get("USER"), "_Created": _iso(run.began), "_Group": run.settings.get("norm")}
    return {**run.settings, **{key: text for key, text in marks.items() if text}, "folder": str(run.folder), **own}


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
