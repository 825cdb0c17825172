"""All that is kept of one run while it trains: its folder, its views, its tally."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnlab import provenance
from bnlab.loggers.logger import Logger
from bnlab.records import Record, RunSummary, Status, as_record
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


class Recorder:
    """Writes down what happens to one run.

    Args:
        member: The run, whose folder is open for training.
        manifest: What its manifest says, but for the ending.
        before_s: Seconds that it was trained for already, if it goes on.

    Attributes:
        loggers: Its views.
    """

    def __init__(self, member: Member, manifest: dict[str, Any], before_s: float = 0.0) -> None:
        self.member = member
        self.tally = Tally()
        self._manifest = manifest
        self.loggers: list[Logger] = []
        self._began = time.perf_counter() - before_s
        for facts in member.folder.read_records():  # of a run that goes on: its views have them already
            self.tally.take(as_record(facts))

    def take(self, record: Record) -> None:
        """Write a record down, then hand it to whoever else wants it."""
        self.member.folder.append(record)
        self.tally.take(record)
        for logger in self.loggers:
            logger.take(record)

    def keep_state(self, step: int, state: dict[str, Any], made_by: dict[str, Any]) -> None:
        """Write a checkpoint to go on from; the one before it stays beside."""
        path, previous = self.member.folder.checkpoint_path, self.member.folder.previous_checkpoint_path
        if path.exists():
            path.replace(previous)
        write_checkpoint(path, step, state["cohort"]["model"], {"made_by": made_by, "state": state})

    def keep_weights(self, step: int, weights: dict[str, Tensor]) -> None:
        """Write the final weights; the checkpoint before them stays, for the others of the cohort may need it."""
        path, previous = self.member.folder.checkpoint_path, self.member.folder.previous_checkpoint_path
        if path.exists():
            path.replace(previous)
        write_checkpoint(path, step, weights)

    def close(self, otherwise: Status) -> RunSummary:
        """Write how it ended, and close its views.

        Args:
            otherwise: The status of a run whose training did not come to its end.
        """
        status = self.tally.ending or otherwise
        folder, config = self.member.folder, self.member.config
        duration_s = time.perf_counter() - self._began
        _log.info("%s: %s at step %d after %.1f s", folder.path.name, status, self.tally.steps, duration_s)
        summary = self.tally.summary(folder.path.name, str(folder.path), config.seed, status, duration_s)
        for logger in self.loggers:
            logger.close(summary)
        folder.write_summary(summary)
        ending = {"status": status, "ended": provenance.now(), "duration_s": duration_s}
        folder.write_manifest({**self._manifest, **ending, "config": config.as_dict()})
        return summary
