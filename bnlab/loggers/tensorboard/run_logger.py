"""A run's records as TensorBoard events."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from bnlab.loggers.tags import tagged, tagged_finals
from bnlab.loggers.tensorboard.event_file import EventFile
from bnlab.loggers.tensorboard.hparams import session_end, session_start
from bnlab.loggers.tensorboard.layouts import run_layout
from bnlab.loggers.tensorboard.values import beginning, event, scalar, text
from bnlab.records import Record, RunSummary
from bnlab.schema import RunConfig

WRITTEN_EVERY_S = 1.0
"""Seconds between two writes: one for many events, since each costs a call of the system."""

_log = logging.getLogger("bnlab")


class TensorBoardLogger:
    """Writes a run's records as TensorBoard events.

    It only shows what metrics.jsonl holds: where its file cannot be written, on a full disk, it says so in the log, and
    the run goes on without it.

    Args:
        folder: The folder of the run, for its event file.
        config: The config of the run. It is written as hyperparameters, and for a run outside of a sweep as text too.
            Its ``diagnostics.tensorboard`` names the diagnostics that are shown; all are in metrics.jsonl.
        hparam_keys: For a run of a sweep, the settings that are swept: they alone become columns of the HParams table,
            and the sweep's own page has the text and the Custom Scalars. None for a run outside of a sweep.
        purge_step: For a resumed run, the first step that is written again: TensorBoard drops that step and later ones
            of earlier event files. One more than the checkpoint's step if those files are known to be whole; 0 if all
            steps are written again.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        hparam_keys: Sequence[str] | None = None,
        purge_step: int | None = None,
    ) -> None:
        self._diagnostics = frozenset(config.diagnostics.tensorboard)
        is_declared = bool(purge_step) and any(folder.glob("events.out.tfevents.*"))
        self._folder = folder
        self._file: EventFile | None = None
        self._is_given_up = False
        self._pending: list[Event] = [beginning(purge_step or 0)]
        self._written_at = time.monotonic()
        if is_declared:  # TensorBoard keeps the first of what follows that it reads
            return
        if hparam_keys is None:
            self._write(0, [_config_as_text(config), run_layout(config.diagnostics.tensorboard)])
        self._write(0, session_start(config, hparam_keys))

    def take(self, record: Record) -> None:
        """Write one record as one event; the test set's figures stand in the HParams alone."""
        self._write(record.step, [scalar(tag, value) for tag, value in tagged(record, self._diagnostics).items()])

    def close(self, summary: RunSummary | None) -> None:
        """Write the final figures and the run's ending, and close the file."""
        if summary is not None:
            self._write(summary.steps or 0, [scalar(tag, value) for tag, value in tagged_finals(summary).items()])
            self._write(0, session_end(summary.status))
        self._write_out()
        if self._file is not None:
            self._file.close()

    def _write(self, step: int, values: list[Summary.Value]) -> None:
        if values:
            self._pending.append(event(step, values))
        if time.monotonic() - self._written_at > WRITTEN_EVERY_S:
            self._write_out()

    def _write_out(self) -> None:
        try:
            if not self._is_given_up:
                self._file = self._file or EventFile(self._folder)
                self._file.write(self._pending)
        except OSError as error:
            self._is_given_up = True
            if self._file is not None:
                self._file.abandon()
                self._file = None
            reason = error.strerror or error
            _log.warning("%s: TensorBoard's events cannot be written: %s. metrics.jsonl has all.", self._folder, reason)
        self._pending.clear()
        self._written_at = time.monotonic()


def _config_as_text(config: RunConfig) -> Summary.Value:
    markdown = "```yaml\n" + config.as_yaml() + "```"
    return text("config", markdown, "Every value of this run.")
