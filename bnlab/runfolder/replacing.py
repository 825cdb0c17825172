"""A run that is trained again: nothing that was computed is lost, and nothing that is not bnlab's is removed."""

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from bnlab.errors import ConfigError
from bnlab.records import ENDED
from bnlab.runfolder.figure_paths import FIGURES, figures_of, forget_figures
from bnlab.runfolder.run_facts import RunFacts

CSV, WANDB = "metrics.csv", "wandb"
"""What the loggers of these names leave in a run's folder: a file, and a folder."""

_WRITTEN_BY_BNLAB = re.compile(
    r"(config\.yaml|(manifest|summary)\.json|(metrics|timings)\.jsonl|metrics\.csv|log\.txt|events\.out\.tfevents\..*"
    r"|(checkpoint|cohort_state|company)(\.previous)?\.pt|\..*\.tmp|.*\.damaged)$"
)
"""Files of a run's folder that may be removed when the run is trained again."""


def make_empty(run: Path, own: str, facts: RunFacts | None, set_aside: Path) -> None:
    """Remove what an earlier training left in a run's folder; keep a result aside until there is a new one.

    Of a run that ended, but whose files are damaged, weights and records are kept under another name.

    Args:
        run: The folder of the run.
        own: The id of the run that is about to be trained.
        facts: What the files there say; None: there is no folder.
        set_aside: Where the folder is kept if it holds a result.

    Raises:
        ConfigError: The folder holds another run, or files that bnlab did not write. Nothing is removed.
    """
    if facts is not None:
        if (other := facts.manifest.get("run_id", own)) not in {own, None}:
            raise ConfigError(
                f"{run} holds the run {other}, which was copied or renamed. Nothing was removed. Give it its name "
                "again, or move it away."
            )
        if foreign := _foreign_entries(run):
            raise ConfigError(
                f"{run} holds what bnlab did not write, and training again would remove it: "
                f"{', '.join(foreign[:3])}{' ...' if foreign[3:] else ''}. Nothing was removed. Move it away."
            )
        if facts.status in ENDED:
            run.rename(set_aside)
        elif facts.has_ended:  # its numbers come again, its weights perhaps not: on another machine, for instance
            for path in (run / "checkpoint.pt", run / "metrics.jsonl"):
                with contextlib.suppress(FileNotFoundError):
                    path.replace(path.with_name(f"{path.name}.damaged"))
    run.mkdir(parents=True, exist_ok=True)
    forget_figures(run)
    shutil.rmtree(run / WANDB, ignore_errors=True)
    for file in run.iterdir():
        if file.suffix != ".damaged":  # what a user may want to look at
            file.unlink()


def _foreign_entries(run: Path) -> list[str]:
    """Return the names of files and folders that bnlab did not write."""
    figures = run / FIGURES
    in_figures = set(figures.iterdir()) - set(figures_of(run)) if figures.is_dir() else set()
    folders = {figures, run / WANDB}
    beside = {
        path
        for path in run.iterdir()
        if path not in folders and (not _WRITTEN_BY_BNLAB.match(path.name) or path.is_dir())
    }
    return sorted(str(path.relative_to(run)) for path in in_figures | beside)


def settle(run: Path, set_aside: Path, has_result: Callable[[], bool]) -> None:
    """Move an older result back if there is no new one; otherwise remove it.

    The log of the failed attempt is appended to the older log: nothing else says why it failed.

    Args:
        run: The folder of the run.
        set_aside: Where an older result is kept, if there is one.
        has_result: Returns whether the run has a new result; asked only if there is an older one.
    """
    if not set_aside.exists():
        return
    if has_result():
        shutil.rmtree(set_aside)
        return
    with contextlib.suppress(OSError):  # a full disk, or a process that died before it had a log
        said = (run / "log.txt").read_text(encoding="utf-8")
        with (set_aside / "log.txt").open("a", encoding="utf-8") as log:
            log.write(said)
    shutil.rmtree(run, ignore_errors=True)
    set_aside.rename(run)
