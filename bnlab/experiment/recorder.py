"""All that is kept of one run while it trains: its folder, its views, its tally."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnlab import provenance
from bnlab.errors import RunError
from bnlab.loggers.logger import Logger
from bnlab.records import EndRecord, Record, RunSummary, Status, as_record
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.checkpoint import write_checkpoint
from bnlab.training.tally import Tally

_log = logging.getLogger("bnlab")


@dataclass(frozen=True)
class Member:
    """One run of a cohort.

    Attributes:
        config: What it is.
        folder: Where it is kept.
        swept: Of a run of a sweep: the settings that tell its runs apart. None: a run by itself.
    """

    config: RunConfig
    folder: RunFolder
    swept: Sequence[str] | None = None


class Companion:
    """Keeps, of a run that has its result and is trained along, what its cohort needs to go on.

    Args:
        member: The run, whose lock is held.
        made_by: What must be the same for a checkpoint to be gone on from.
    """

    def __init__(self, member: Member, made_by: dict[str, Any]) -> None:
        self.member = member
        self._made_by = made_by

    def take(self, record: Record) -> None:
        """Forget a record: there is one like it on disk."""

    def keep_state(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint to go on from, apart from the run's own."""
        folder = self.member.folder
        with _writing_to(folder):
            training = {"made_by": self._made_by, "state": state, "num_records": None}
            weights = state["cohort"]["model"]
            write_checkpoint(folder.company_path, step, weights, training, folder.previous_company_path)

    def keep_weights(self, step: int, weights: dict[str, Tensor]) -> None:
        """Forget the final weights: they are on disk."""


class Recorder:
    """Writes down what happens to one run, up to its ending.

    Args:
        member: The run, whose folder is open for training.
        manifest: What its manifest says, but for the ending.
        made_by: What must be the same for a checkpoint to be gone on from.
        before_s: Seconds that it was trained for already, if it goes on.

    Attributes:
        loggers: Its views.
        summary: What came out; None as long as it is open.
        kept_step: The step of its last checkpoint, or None.
    """

    def __init__(
        self, member: Member, manifest: dict[str, Any], made_by: dict[str, Any], before_s: float = 0.0
    ) -> None:
        self.member = member
        self.tally = Tally()
        self.loggers: list[Logger] = []
        self.summary: RunSummary | None = None
        self.kept_step: int | None = None
        self._manifest = manifest
        self._made_by = made_by
        self._began = time.perf_counter() - before_s
        self._num_records = 0
        for facts in member.folder.read_records():  # of a run that goes on: its views have them already
            self._num_records += 1
            self.tally.take(as_record(facts))

    def take(self, record: Record) -> None:
        """Write a record down, then hand it to whoever else wants it; with its last one the run is closed.

        Raises:
            RunError: The folder cannot be written to.
        """
        with _writing_to(self.member.folder):
            self.member.folder.append(record)
            self._num_records += record.kind != "timing"
            self.tally.take(record)
            for logger in self.loggers:
                logger.take(record)
            if isinstance(record, EndRecord):  # now: its cohort may train on for hours, and be killed
                self.close(record.name)

    def keep_state(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint to go on from; the one before it stays beside.

        Raises:
            RunError: The folder cannot be written to.
        """
        folder = self.member.folder
        with _writing_to(folder):
            training = {"made_by": self._made_by, "state": state, "num_records": self._num_records}
            weights = state["cohort"]["model"]
            write_checkpoint(folder.checkpoint_path, step, weights, training, folder.previous_checkpoint_path)
        self.kept_step = step
        self.tally.steps = max(self.tally.steps, step)  # nothing may have been recorded since

    def keep_weights(self, step: int, weights: dict[str, Tensor]) -> None:
        """Write the final weights; the checkpoint before them stays, until the whole cohort is done.

        Raises:
            RunError: The folder cannot be written to.
        """
        folder = self.member.folder
        with _writing_to(folder):
            write_checkpoint(folder.checkpoint_path, step, weights, None, folder.previous_checkpoint_path)

    def close(self, otherwise: Status) -> RunSummary:
        """Write how it ended, and close its views; a second time it changes nothing.

        Args:
            otherwise: The status of a run whose training did not come to its end.

        Raises:
            OSError: The folder cannot be written to.
        """
        if self.summary is not None:
            return self.summary
        status = self.tally.ending or otherwise
        folder, config = self.member.folder, self.member.config
        duration_s = time.perf_counter() - self._began
        _log.info("%s: %s at step %d after %.1f s", folder.path.name, status, self.tally.steps, duration_s)
        summary = self.tally.summary(folder.path.name, str(folder.path), config.seed, status, duration_s)
        while self.loggers:
            try:
                self.loggers.pop().close(summary)
            except Exception:  # of a view: what it shows is on disk, and the ending must get there too
                _log.exception("a view could not be closed")
        folder.write_summary(summary)
        ending = {"status": status, "ended": provenance.now(), "duration_s": duration_s}
        folder.write_manifest({**self._manifest, **ending, "config": config.as_dict()})
        self.summary = summary
        return summary


@contextlib.contextmanager
def _writing_to(folder: RunFolder) -> Iterator[None]:
    """Say in one sentence that a folder cannot be written to.

    Raises:
        RunError: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder.path} cannot be written to: {error.strerror or error}. Make room there, then train it again."
        ) from error
