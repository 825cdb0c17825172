"""A run in MLflow: a database in the folder of all runs, or the server that MLFLOW_TRACKING_URI names.

MLflow's own advice for a store without a server is SQLite; its store of plain files takes no new features.
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from bnlab.loggers.logged_run import PROJECT, LoggedRun
from bnlab.loggers.tags import tagged_finals
from bnlab.records import Record, RunSummary, Status

DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
"""Names in the folder of all runs."""

WRITTEN_EVERY_S = 2.0
"""Seconds between two writes: one takes about 20 ms."""

MOST_METRICS, MOST_PARAMS = 900, 100
"""In one call: MLflow takes 1000 entries, of them 100 parameters."""

STATUS_OF: Mapping[Status, str] = {"finished": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED"}
"""As in the table of TensorBoard's HParams, a run that diverged is one that failed; the tag bnlab.status says more."""

WAIT_S = 120.0
"""Seconds to wait for another process that makes the database, which takes about ten."""

RUN_ID, STATUS, STAMP = "bnlab.run_id", "bnlab.status", "bnlab.stamp"


class MlflowLogger:
    """Writes a run as an MLflow run of the same name, in an experiment with the name of the sweep.

    Args:
        run: The run; an MLflow run that an earlier training left in the experiment is deleted, as MLflow deletes:
            `mlflow gc` removes it for good.
        store: The folder for the database; None: what MLFLOW_TRACKING_URI names, else the folder of all runs.
    """

    def __init__(self, run: LoggedRun, store: Path | None = None) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._run = run
        self._client, experiment = opened(run, store)
        for old in find_runs(self._client, experiment, run.name):
            self._client.delete_run(old.info.run_id)
        self._began_ms = round(1000 * run.began)
        self._elapsed_ms = 0
        self._id = self._client.create_run(
            experiment, start_time=self._began_ms, tags=_tags(run), run_name=run.name
        ).info.run_id
        params = [Param(key, str(value)) for key, value in run.settings.items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first : first + MOST_PARAMS])
        self._pending: list[Metric] = []
        self._written_at = time.monotonic()

    def take(self, record: Record) -> None:
        """Take one record."""
        if record.kind == "timing":
            self._elapsed_ms = round(1000 * record.values.get("elapsed_s", 0.0))
        self._add(record.step, self._run.tagged(record))
        if len(self._pending) >= MOST_METRICS or time.monotonic() - self._written_at > WRITTEN_EVERY_S:
            self._write_out()

    def close(self, summary: RunSummary | None) -> None:
        """Write the figures of the test set, and how the run ended."""
        status: Status = "interrupted" if summary is None else summary.status
        if summary is not None:
            self._add(summary.steps or 0, tagged_finals(summary))
            self._elapsed_ms = round(1000 * (summary.duration_s or 0.0))
        self._write_out()
        tags = [RunTag(STATUS, status), RunTag(STAMP, self._run.stamp())]
        self._client.log_batch(self._id, tags=tags)
        ended = self._began_ms + self._elapsed_ms
        self._client.set_terminated(self._id, STATUS_OF.get(status, "FAILED"), end_time=ended)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        at = self._began_ms + self._elapsed_ms
        self._pending += [Metric(tag, value, at, step) for tag, value in values.items()]

    def _write_out(self) -> None:
        for first in range(0, len(self._pending), MOST_METRICS):
            self._client.log_batch(self._id, metrics=self._pending[first : first + MOST_METRICS])
        self._pending = []
        self._written_at = time.monotonic()


def address(runs: Path, store: Path | None = None) -> str:
    """Return where MLflow keeps runs.

    Args:
        runs: The folder of all runs.
        store: A folder for the database; None: what MLFLOW_TRACKING_URI names, else the folder of all runs.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given if given and store is None else f"sqlite:///{((store or runs) / DATABASE).absolute().as_posix()}"


def opened(run: LoggedRun, store: Path | None) -> tuple[MlflowClient, str]:
    """Return MLflow's client, and the id of the run's experiment, both made if they are missing."""
    uri = address(run.runs, store)
    folder = store or run.runs
    name = run.sweep or PROJECT
    if not uri.startswith("sqlite:"):
        client = MlflowClient(uri)
        return client, _experiment(client, name, None)
    (folder / ".locks").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".locks" / f"{DATABASE}.lock", timeout=WAIT_S):  # two processes would make each table twice
        client = MlflowClient(uri)
        return client, _experiment(client, name, (folder / ARTIFACTS).absolute().as_uri())


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another process has just made it
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def find_runs(client: MlflowClient, experiment: str, run_id: str) -> list[Any]:
    """Return MLflow's runs of one of bnlab's runs in an experiment."""
    return list(client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run_id}'"))


def has_run(run: LoggedRun, store: Path | None) -> bool:
    """Return whether MLflow has a run as it is in its folder now."""
    client, experiment = opened(run, store)
    return any(one.data.tags.get(STAMP) == run.stamp() for one in find_runs(client, experiment, run.name))


def _tags(run: LoggedRun) -> dict[str, str]:
    marks = {"mlflow.note.content": run.marks.note, "bnlab.tags": ", ".join(run.marks.tags)}
    facts = {RUN_ID: run.name, STATUS: "running", "bnlab.folder": str(run.folder)}
    return facts | {key: text for key, text in marks.items() if text}
