"""Trains a run once more, from its manifest, and compares the two trainings."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnlab.errors import ConfigError, RunError
from bnlab.experiment.checking import is_available
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.manifest import cohort_from
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.recorder import Member
from bnlab.identity.run_id import run_id
from bnlab.loggers.logger import Logger
from bnlab.runfolder.agreement import Agreement, compare
from bnlab.runfolder.folder import RunFolder
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
    observer = observer or RunObserver()
    try:
        facts = folder.read_facts()
    except FileNotFoundError as error:
        raise ConfigError(f"{folder.path} is being trained anew by another process.") from error
    told = "; ".join(facts.problems)
    if not facts.is_usable and (facts.has_ended or told):
        raise ConfigError(f"{folder.path.name} cannot be repeated: {told}. Train it again.")
    configs, engine, own = _cohort_of(folder)
    if not facts.is_usable:
        raise ConfigError(
            f"{folder.path.name} is unfinished ({facts.status}): there is no result to compare with. "
            "The command that began it resumes it."
        )
    if told:
        observer.on_warning(f"{folder.path.name}: {told}. metrics.jsonl is compared.")
    with _place(keep) as place:
        members = [Member(config, RunFolder(place / run_id(config))) for config in configs]
        repeated = next(member.folder for member in members if member.folder.path.name == own)
        if any(folder.path.resolve() == member.folder.path.resolve() for member in members):
            raise ConfigError(f"--keep {keep} is the folder of the run itself. Give another folder.")
        run_cohort(members, engine, again=True, observer=_ObserverOfOneRun(observer, own))
        return compare(folder, repeated), repeated.path


def _cohort_of(folder: RunFolder) -> tuple[list[RunConfig], str, str]:
    """Return the configs of all runs of a run's cohort, as they were trained, their engine, and the run's own id.

    Raises:
        ConfigError: The manifest does not give them: it is damaged, or from another version.
    """
    try:
        manifest = folder.read_manifest()
        device, num_threads = str(manifest["device"]), int(manifest["threads"])
        engine, position = str(manifest["engine"]), (manifest["cohort"] or {"position": 0})["position"]
        configs = [_as_trained(config, device, num_threads) for config in cohort_from(manifest)]
        if engine not in {"sequential", "vectorized"} or num_threads < 1:
            raise ConfigError(f"manifest.json says engine {engine} and {num_threads} threads.")
        return configs, engine, run_id(configs[position])
    except LookupError as error:
        raise ConfigError(f"{folder.path.name} cannot be repeated: manifest.json lacks {error}.") from error
    except (RunError, TypeError, ValueError, AttributeError) as error:
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
