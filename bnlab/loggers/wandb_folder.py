"""A run in Weights & Biases: offline, in the run's own folder, until `wandb sync` sends it; online by WANDB_MODE."""

import os
import shutil
from typing import Any

import wandb

from bnlab.loggers.logged_run import PROJECT, LoggedRun
from bnlab.loggers.tags import tagged_finals
from bnlab.records import Record, RunSummary
from bnlab.runfolder.replacing import WANDB

STAMP = "bnlab.stamp"
"""The file that says which records W&B's folder holds."""


class WandbLogger:
    """Writes a run as a run of W&B with the same name, in the group of its sweep.

    W&B drops what comes for an earlier step than the last one: a resumed run is written again from its first record.

    Args:
        run: The run; what an earlier training left in its folder for W&B is removed.
    """

    def __init__(self, run: LoggedRun) -> None:
        shutil.rmtree(run.folder / WANDB, ignore_errors=True)
        self._run = run
        mode: Any = os.environ.get("WANDB_MODE", "offline")  # W&B checks the user's word
        self._wandb = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            group=run.sweep,
            dir=str(run.folder),
            config=dict(run.settings),
            notes=run.marks.note or None,
            tags=run.marks.tags or None,
            mode=mode,
            reinit="create_new",  # several runs of a cohort are open at once
            settings=wandb.Settings(
                silent=True,
                console="off",  # log.txt has what was said
                disable_git=True,  # the manifest names the commit, and W&B would look in the user's folder
                disable_code=True,
                x_disable_stats=True,  # a thread that looks at the machine's load every few seconds
            ),
        )

    def take(self, record: Record) -> None:
        """Take one record."""
        values = self._run.tagged(record)
        if values:
            self._wandb.log(values, step=record.step)

    def close(self, summary: RunSummary | None) -> None:
        """Write the figures of the test set, and how the run ended."""
        if summary is not None:
            self._wandb.log(tagged_finals(summary), step=summary.steps or 0)
            self._wandb.summary.update({"status": summary.status, "diverged_at_step": summary.diverged_at_step})
        stamp = self._run.stamp()
        self._wandb.finish(exit_code=0 if summary is not None and summary.status == "finished" else 1)
        if (self._run.folder / WANDB).is_dir():  # W&B makes none where WANDB_MODE=disabled
            (self._run.folder / WANDB / STAMP).write_text(stamp, encoding="utf-8")


def has_run(run: LoggedRun) -> bool:
    """Return whether the run's folder has it for W&B, whole and as it is now."""
    path = run.folder / WANDB / STAMP
    return path.exists() and path.read_text(encoding="utf-8") == run.stamp()


def wait_for_files() -> None:
    """Wait until all that was logged is on disk: W&B's `finish` returns before that."""
    wandb.teardown()
