"""A run's curves as a table that any spreadsheet opens: metrics.csv in the run's folder."""

import csv
from pathlib import Path

from bnlab.loggers.logged_run import LoggedRun
from bnlab.loggers.tags import tagged_finals
from bnlab.records import Record, RunSummary
from bnlab.runfolder.replacing import CSV


class CsvLogger:
    """Writes one row per step and one column per tag; what was not measured at a step is empty.

    Args:
        run: The run; a metrics.csv of an earlier training is replaced.
    """

    def __init__(self, run: LoggedRun) -> None:
        self._run = run
        self._path: Path = run.folder / CSV
        self._columns = ["step"]
        self._row: dict[str, float] = {}
        self._write_all([])

    def take(self, record: Record) -> None:
        """Take one record; the row of a step is written when the next step begins."""
        self._add(record.step, self._run.tagged(record))

    def close(self, summary: RunSummary | None) -> None:
        """Write the last row, with the figures of the test set."""
        if summary is not None:
            self._add(summary.steps or 0, tagged_finals(summary))
        self._write_row()

    def _add(self, step: int, values: dict[str, float]) -> None:
        if not values:
            return
        if self._row.get("step") != step:
            self._write_row()
        self._row |= {"step": step, **values}

    def _write_row(self) -> None:
        if not self._row:
            return
        new = [tag for tag in self._row if tag not in self._columns]
        if new:  # the header grows: in the first rows, and where a diagnostic measures for the first time
            with self._path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            self._columns += new
            self._write_all(rows)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(self._row)
        self._row = {}

    def _write_all(self, rows: list[dict[str, str]]) -> None:
        beside = self._path.with_name(f".{CSV}.tmp")
        with beside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(self._path)
