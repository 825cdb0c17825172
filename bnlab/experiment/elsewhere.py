"""Takes a result over from another folder of runs, where a run was trained as it would be here: with equal bits.

That is so with the same versions of packages, the same engine, and the same runs in its cohort. The id says that the
settings, the data and the code are the same.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bnlab.errors import BnlabError
from bnlab.identity.changes import other_versions
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.replacing import WANDB
from bnlab.schema import RunConfig

_SHOWN = ("events.out.tfevents.*", "figures", WANDB)
"""What shows the records of a run in its old place; it is not copied."""


def find_elsewhere(place: Path, config: RunConfig, run_ids: Sequence[str], engine: str) -> RunFolder | None:
    """Return the folder of a finished run that was trained as it would be in another folder; None: there is none.

    Args:
        place: Where the run would be trained, ``.../runs/<sweep>/<run id>``. The folders beside its sweep are searched.
        config: The settings of the run.
        run_ids: The ids of all runs of its cohort, in order.
        engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
    """
    for folder in _beside(place.parent):
        found = RunFolder(folder / place.name)
        if not (found.path / "summary.json").exists():
            continue
        with contextlib.suppress(BnlabError, FileNotFoundError):
            facts = found.read_facts()
            cohort = facts.manifest.get("cohort") or {"runs": [facts.manifest.get("run_id")]}
            is_same = facts.manifest.get("engine") == engine and list(cohort["runs"]) == list(run_ids)
            has_weights = found.checkpoint_path.exists() or not config.train.keep_weights
            if (
                facts.is_usable
                and not facts.problems
                and is_same
                and has_weights
                and not other_versions(facts.manifest)
            ):
                return found
    return None


def _beside(sweep: Path) -> list[Path]:
    """Return the folders beside a sweep's, by name."""
    try:
        with os.scandir(sweep.parent) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return []
    return [sweep.parent / name for name in names if name != sweep.name]


def take_over(place: RunFolder, source: RunFolder, config: RunConfig, swept: Sequence[str] | None) -> bool:
    """Copy a finished run into another folder, with TensorBoard's events as that folder has them.

    A folder that is there already, of an interrupted run for one, stays as it is.

    Args:
        place: The folder of the run, which is made.
        source: Where the run was trained; it stays there.
        config: The settings of the run, with those of its loggers.
        swept: For a run of a sweep, the dotted keys that differ between the sweep's runs; None: a single run.

    Returns:
        Whether the run has its result there now.

    Raises:
        RunBusyError: Another process trains the run.
        ConfigError: The folder cannot be written to.
    """
    from bnlab.loggers.guarded import past_records  # noqa: PLC0415
    from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger  # noqa: PLC0415  (it takes 0.3 s to import)

    with place.locked():
        if place.path.exists():
            return place.read_finished() is not None
        copy = place.path.with_name(f".{place.path.name}.tmp")
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(source.path, copy, ignore=shutil.ignore_patterns(*_SHOWN))
            copied = RunFolder(copy)
            manifest = {**source.read_manifest(), "taken_from": os.path.relpath(source.path, place.path)}
            copied.write_manifest({key: value for key, value in manifest.items() if key != "schema_version"})
            if "tensorboard" in config.loggers:
                logger = TensorBoardLogger(copy, config, swept)
                for record in past_records(source):
                    logger.take(record)
                logger.close(source.read_finished())
            copy.rename(place.path)
        except (OSError, BnlabError):
            shutil.rmtree(copy, ignore_errors=True)
            return False
        return place.read_finished() is not None
