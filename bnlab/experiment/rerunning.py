"""Trains a run once more, from its manifest, and compares the two trainings."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError
from bnlab.experiment.checking import is_available
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.manifest import cohort_from
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.recorder import Member
from bnlab.loggers.logger import Logger
from bnlab.runfolder.agreement import Agreement, compare
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.training.loop import Plan


def rerun(folder: RunFolder, keep: Path | None = None, observer: RunObserver | None = None) -> tuple[Agreement, Path]:
    """Train a run once more, with the engine, cohort, device and number of threads of its manifest.

    The whole cohort is trained, because float32 bits depend on its size. If this machine lacks the manifest's device,
    the run's setting ``device`` chooses one, and the returned agreement names the difference.

    Args:
        folder: The folder of the run, which is only read.
        keep: The folder in which the repetition stays, under the run's id; None: a temporary folder, removed at the
            end.
        observer: Opens a logger for the run itself, not for the others of its cohort; None: no logger.

    Returns:
        How the two trainings agree, and the folder of the repetition, which is gone if ``keep`` is None.

    Raises:
        ConfigError: The run is unfinished, its manifest is damaged or from another version, or ``keep`` is the folder
            of the run itself.
        RunError: The repetition failed.
        DataError: The data are not there, or damaged.
    """
    configs, manifest = _cohort_of(folder)
    if folder.read_finished() is None:
        raise ConfigError(
            f"{folder.path.name} is unfinished ({folder.read_status()}): there is no result to compare with. "
            "The command that began it resumes it."
        )
    position = manifest["cohort"]["position"] if manifest["cohort"] else 0
    own = run_id(configs[position])
    with _place(keep) as place:
        members = [Member(config, RunFolder(place / run_id(config))) for config in configs]
        repeated = members[position].folder
        if any(folder.path.resolve() == member.folder.path.resolve() for member in members):
            raise ConfigError(f"--keep {keep} is the folder of the run itself. Give another folder.")
        run_cohort(members, manifest["engine"], again=True, observer=_ObserverOfOneRun(observer or RunObserver(), own))
        return compare(folder, repeated), repeated.path


def _cohort_of(folder: RunFolder) -> tuple[list[RunConfig], dict[str, Any]]:
    """Return the configs of all runs of a run's cohort, as they were trained, and the run's manifest.

    Raises:
        ConfigError: The manifest does not give them: it is damaged, or from another version.
    """
    try:
        manifest = folder.read_manifest()
        device, num_threads = str(manifest["device"]), int(manifest["threads"])
        return [_as_trained(config, device, num_threads) for config in cohort_from(manifest)], manifest
    except (RunError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder.path.name} cannot be repeated: {error}") from error


class _ObserverOfOneRun(RunObserver):
    """Opens another observer's logger for one run of a cohort, and none for the others.

    Args:
        observer: The observer whose logger is opened.
        run_id: The run that gets the logger.
    """

    def __init__(self, observer: RunObserver, run_id: str) -> None:
        self._observer = observer
        self._run_id = run_id

    def open_logger(self, config: RunConfig, run_id: str, plan: Plan) -> Logger | None:
        return self._observer.open_logger(config, run_id, plan) if run_id == self._run_id else None


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="bnlab-rerun-") as place:
            yield Path(place)


def _as_trained(config: RunConfig, device: str, num_threads: int) -> RunConfig:
    changes = {"threads": num_threads, "loggers": [], "device": device if is_available(device) else config.device}
    return config.model_copy(update=changes)
