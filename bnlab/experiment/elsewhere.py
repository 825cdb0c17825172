"""Takes a result over from another folder of runs, where a run was trained as it would be here: with equal bits.

That is so with the same versions of packages, the same processor, device and number of threads, the same engine, and
the same runs in its cohort. The id says that the settings, the data and the code are the same.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlab import provenance
from bnlab.errors import BnlabError
from bnlab.identity.changes import other_versions
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.keeping import MARKS
from bnlab.runfolder.replacing import WANDB
from bnlab.schema import RunConfig

if TYPE_CHECKING:
    from bnlab.experiment.checking import Checked

_LEFT_BEHIND = ("events.out.tfevents.*", "figures", WANDB, MARKS)
"""What shows a run in its old place, and what was noted of it there; it is not copied."""

_OF_MACHINE = ("machine", "processor")
"""Facts about the hardware that decide the bits."""


class OtherFolders:
    """The folders of runs beside a sweep's, as they were when this was made.

    Args:
        sweep: The folder of the sweep; it need not exist.
    """

    def __init__(self, sweep: Path) -> None:
        self._names = {folder: set(_names_in(folder)) for folder in _beside(sweep)}

    def have(self, name: str) -> bool:
        """Return whether one of them has a folder of this name."""
        return any(name in names for names in self._names.values())

    def find(
        self, config: RunConfig, run_ids: Sequence[str], place: int, engine: str, checked: "Checked"
    ) -> RunFolder | None:
        """Return the folder of a finished run that was trained as it would be here; None: there is none.

        Args:
            config: The settings of the run.
            run_ids: The ids of all runs of its cohort, in order.
            place: Its place among them.
            engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
            checked: What `check` found for a config that differs from this one in numbers only.
        """
        name = run_ids[place]
        for folder in (folder for folder, names in self._names.items() if name in names):
            found = RunFolder(folder / name)
            with contextlib.suppress(BnlabError, OSError, AttributeError, LookupError, TypeError):  # of damaged files
                facts = found.read_facts()
                is_whole = facts.is_usable and not facts.problems
                has_weights = found.checkpoint_path.exists() or not config.train.keep_weights
                if is_whole and has_weights and _is_as_here(facts.manifest, run_ids, engine, checked):
                    return found
        return None


def _is_as_here(manifest: Mapping[str, Any], run_ids: Sequence[str], engine: str, checked: "Checked") -> bool:
    here = provenance.hardware()
    cohort = manifest["cohort"] or {"runs": [manifest["run_id"]]}
    return bool(
        manifest["engine"] == engine
        and list(cohort["runs"]) == list(run_ids)
        and (manifest["device"], manifest["threads"]) == (str(checked.device), checked.num_threads)
        and all(manifest["hardware"][fact] == here[fact] for fact in _OF_MACHINE)
        and not other_versions(manifest)
    )


def _beside(sweep: Path) -> list[Path]:
    """Return the folders beside a sweep's, by name."""
    return [sweep.parent / name for name in sorted(_names_in(sweep.parent)) if name != sweep.name]


def _names_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, but for hidden ones; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [one.name for one in entries if not one.name.startswith(".") and one.is_dir()]
    except OSError:
        return []


def take_over(place: RunFolder, source: RunFolder, config: RunConfig, swept: Sequence[str] | None) -> bool:
    """Copy a finished run into another folder; its manifest, settings and TensorBoard events are those of that folder.

    A folder that is there already, of an interrupted run for one, stays as it is.

    Args:
        place: The folder of the run, which is made.
        source: Where the run was trained; it stays there.
        config: The settings of the run, with its name and its loggers here.
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
            shutil.copytree(source.path, copy, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
            manifest = source.read_manifest()
            RunFolder(copy).write_settings(
                # its loggers are those that have its records: of others `about_other_loggers` tells
                config.model_copy(update={"loggers": _logged(manifest, config)}),
                {
                    **{key: value for key, value in manifest.items() if key != "schema_version"},
                    "command": provenance.command(),
                    "taken_from": os.path.relpath(source.path, place.path),
                },
            )
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


def _logged(manifest: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Return the loggers of a copied run: TensorBoard's if it is asked for, and CSV's, whose file is in the folder."""
    had = (manifest.get("config") or {}).get("loggers") or []
    return [name for name, those in (("tensorboard", config.loggers), ("csv", had)) if name in those]
