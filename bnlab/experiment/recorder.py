"""Records one run while it trains: in its folder, in its loggers, in its tally."""

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
        config: The settings of the run.
        folder: Where the run is recorded.
        swept: For a run of a sweep, the dotted keys that differ between the sweep's runs; None: a single run.
    """

    config: RunConfig
    folder: RunFolder
    swept: Sequence[str] | None = None


class FinishedMember:
    """Keeps the training state of a run that has its result already and is trained along with its cohort.

    An interrupted cohort can resume only if it has the states of all its runs. Everything else is on disk already.

    Args:
        member: The run; this process holds its lock.
        origin: What must be equal for a checkpoint to be usable; see `origin_of`.
    """

    def __init__(self, member: Member, origin: dict[str, Any]) -> None:
        self.member = member
        self._origin = origin

    def take(self, record: Record) -> None:
        """Ignore a record: the run's folder has an equal one."""

    def keep_state(self, step: int, state: dict[str, Any]) -> None:
        """Write the state to a file of its own: checkpoint.pt holds the run's final weights.

        Raises:
            RunError: The folder cannot be written to.
        """
        folder = self.member.folder
        with _writing_to(folder):
            training = {"made_by": self._origin, "state": state, "num_records": None}
            weights = state["cohort"]["model"]
            write_checkpoint(folder.cohort_state_path, step, weights, training, folder.previous_cohort_state_path)

    def keep_weights(self, step: int, weights: dict[str, Tensor]) -> None:
        """Ignore the final weights: they are on disk."""


class Recorder:
    """Records one run from its first record to its end.

    Args:
        member: The run; its folder is open for training.
        manifest: The content of manifest.json, without the keys that the end of the run adds.
        origin: What must be equal for a checkpoint to be usable; see `origin_of`.
        elapsed_s: Seconds that the run was trained for before it was interrupted; 0 if it begins at step 0.

    Attributes:
        loggers: Receive every record, such as the terminal and TensorBoard. They are closed when the run ends.
        summary: The result; None until the run has ended.
        kept_step: The step of the last checkpoint that was written; None: none was.
    """

    def __init__(
        self, member: Member, manifest: dict[str, Any], origin: dict[str, Any], elapsed_s: float = 0.0
    ) -> None:
        self.member = member
        self.tally = Tally()
        self.loggers: list[Logger] = []
        self.summary: RunSummary | None = None
        self.kept_step: int | None = None
        self._manifest = manifest
        self._origin = origin
        self._began = time.perf_counter() - elapsed_s
        self._num_records = 0
        for facts in member.folder.read_records():  # of a resumed run; its loggers have these records
            self._num_records += 1
            self.tally.take(as_record(facts))

    def take(self, record: Record) -> None:
        """Write a record to the folder and pass it to the loggers; the last record ends the run.

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
        """Write a checkpoint from which training can resume; the one before it is kept too.

        Raises:
            RunError: The folder cannot be written to.
        """
        folder = self.member.folder
        with _writing_to(folder):
            training = {"made_by": self._origin, "state": state, "num_records": self._num_records}
            weights = state["cohort"]["model"]
            write_checkpoint(folder.checkpoint_path, step, weights, training, folder.previous_checkpoint_path)
        self.kept_step = step
        self.tally.steps = max(self.tally.steps, step)  # nothing may have been recorded since

    def keep_weights(self, step: int, weights: dict[str, Tensor]) -> None:
        """Write the final weights, if they are kept; the checkpoint before them stays until the whole cohort has ended.

        Raises:
            RunError: The folder cannot be written to.
        """
        folder = self.member.folder
        with _writing_to(folder):
            if self.member.config.train.keep_weights:
                write_checkpoint(folder.checkpoint_path, step, weights, None, folder.previous_checkpoint_path)
            elif folder.checkpoint_path.exists():
                folder.checkpoint_path.replace(folder.previous_checkpoint_path)

    def close(self, unfinished_status: Status) -> RunSummary:
        """Write how the run ended, and close its loggers; a second call changes nothing.

        Args:
            unfinished_status: The status to write if training did not reach the end of the run.

        Raises:
            OSError: The folder cannot be written to.
        """
        if self.summary is not None:
            return self.summary
        status = self.tally.ending or unfinished_status
        folder, config = self.member.folder, self.member.config
        duration_s = time.perf_counter() - self._began
        _log.info("%s: %s at step %d after %.1f s", folder.path.name, status, self.tally.steps, duration_s)
        summary = self.tally.summary(folder.path.name, str(folder.path), config.seed, status, duration_s)
        while self.loggers:
            try:
                self.loggers.pop().close(summary)
            except Exception:  # a logger only shows what is on disk, and the ending must get to disk too
                _log.exception("a logger could not be closed")
        folder.write_summary(summary)
        ending = {
            "status": status,
            "ended": provenance.now(),
            "duration_s": duration_s,
            "records_bytes": folder.records_size(),
        }
        folder.write_manifest({**self._manifest, **ending, "config": config.as_dict()})
        self.summary = summary
        return summary


@contextlib.contextmanager
def _writing_to(folder: RunFolder) -> Iterator[None]:
    """Turn a failure to write into one sentence.

    Raises:
        RunError: The folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder.path} cannot be written to: {error.strerror or error}. Make room there, then train it again."
        ) from error
