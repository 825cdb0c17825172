"""A single run, trained unless it has a result."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlab.config.compose import compose_run
from bnlab.config.grammar import as_words
from bnlab.errors import ConfigError, RunError
from bnlab.experiment.elsewhere import OtherFolders, take_over
from bnlab.experiment.given_parts import words_of_given
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.what_runs_lack import about_what_it_lacks
from bnlab.failed_imports import saying_why_imports_fail
from bnlab.identity.changes import other_versions, refuse_code_that_changed_here, what_is_unread
from bnlab.identity.run_id import run_id
from bnlab.records import ENDED, RunSummary
from bnlab.runfolder.finding import SINGLE, runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.interruption import Interruption
from bnlab.world import find_world, with_processes

if TYPE_CHECKING:
    from bnlab.loggers.logger import Logger
    from bnlab.training.loop import Plan

_log = logging.getLogger("bnlab")


class _ToLog(RunObserver):
    """Logs warnings by the logger ``bnlab``; shows the progress of the run if that is asked for."""

    def __init__(self, progress: bool) -> None:
        self._progress = progress
        self.troubles: list[str] = []

    def on_warning(self, text: str) -> None:
        _log.warning("%s", text)

    def on_trouble(self, logger: str, text: str) -> None:  # noqa: ARG002
        self.troubles.append(text)  # while a run is in training, its log.txt takes what is logged

    def open_logger(self, config: RunConfig, run_id: str, plan: "Plan") -> "Logger | None":
        if not self._progress:
            return None
        from rich.console import Console  # noqa: PLC0415

        from bnlab.loggers.terminal import open_terminal  # noqa: PLC0415  (nobody waits for it who does not ask for it)

        return open_terminal(Console(stderr=True), run_id, plan.num_steps, config.train.batch_size)


def train(
    overrides: Sequence[str] = (),
    *,
    model: Any = None,
    data: Any = None,
    runs: str | Path | None = None,
    config_dir: str | Path | None = None,
    again: bool = False,
    progress: bool = False,
) -> RunSummary:
    """Train one run, as ``bnlab train`` does, and return its result; a finished run is not trained again.

    Settings that are legal but probably a mistake are logged as warnings, by the logger ``bnlab``.

    Args:
        overrides: Settings that differ from the defaults, such as ``["norm=layer", "optim.lr=0.3"]``.
        model: A class of networks, a function that builds one, or a network, whose weights are then those at the start
            of every seed; its norms are replaced by ``norm``. None: the overrides say which.
        data: A function, a pair (images, labels), a data set with a length, or one of these for each of ``train``,
            ``val`` and ``test``; None: the overrides say which.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder of your own options, laid out as conf/; None: only ./conf, if it exists.
        again: Train the run from the beginning even if it is finished.
        progress: Show the steps, the loss and the accuracies while it trains: one line that moves in a notebook and in
            a terminal, a line per validation elsewhere, on standard error.

    Raises:
        BnlabError: A setting or a file is wrong, or the run failed; the message says what to do.

    Example:
        >>> import bnlab, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bnlab.train(["data=synthetic", "train.steps=20"], runs=folder).status
        'finished'
    """
    with saying_why_imports_fail():
        words = with_processes(words_of_given(as_words(overrides), model, data))
        config = compose_run(words, Path(config_dir) if config_dir else None)
        folder = runs_root(Path(runs) if runs else None) / (config.name or SINGLE)
        observer = _ToLog(progress)
        try:
            return train_one(config, folder, again=again, observer=observer)
        finally:
            for text in observer.troubles:
                _log.warning("%s", text)


def train_one(
    config: RunConfig,
    sweep_folder: Path,
    *,
    again: bool = False,
    observer: RunObserver | None = None,
    interruption: Interruption | None = None,
) -> RunSummary:
    """Train one run, or return its result if it has one; an interrupted run resumes from its last checkpoint.

    Args:
        config: The settings of the run.
        sweep_folder: The folder that holds the run's own folder.
        again: Train the run from the beginning even if it is finished.
        observer: Receives warnings and the step of resumption, and opens a logger; None: nobody is told.
        interruption: Asks for a stop after the current step with a checkpoint; None: training runs to its end.

    Raises:
        ConfigError: A setting is wrong, the run can resume only together with others, or the code of an own class
            changed after this process had imported it.
    """
    refuse_code_that_changed_here([config])
    world = find_world()
    if world.size > 1:
        from bnlab.experiment.recorder import Member  # noqa: PLC0415
        from bnlab.experiment.shared import train_shared  # noqa: PLC0415

        member = Member(config, RunFolder(sweep_folder / run_id(config)))
        return train_shared(member, world, again=again, observer=observer, interruption=interruption)
    folder = RunFolder(sweep_folder / run_id(config))
    if not again:
        _say_what_is_wrong(folder, observer or RunObserver())
    finished = None if again else folder.read_finished()
    if finished is not None:
        refuse_a_missing_device([config])
        for warning in [*what_is_unread(config), *about_what_it_lacks([(folder, config)])]:
            (observer or RunObserver()).on_warning(warning)
        return finished
    engine = "sequential" if again else _engine_of(folder)
    source = None if again else _find_elsewhere(folder, config)
    if source is not None and take_over(folder, source, config, None):
        (observer or RunObserver()).on_warning(
            f"{folder.path.name} is copied from {source.path.parent}, where it was trained as it would be here. "
            "--again trains it anew."
        )
        return train_one(config, sweep_folder, observer=observer)
    from bnlab.experiment.cohort_run import run_cohort  # noqa: PLC0415
    from bnlab.experiment.recorder import Member  # noqa: PLC0415  (they wait for torch; a finished run need not)

    (summary,) = run_cohort(
        [Member(config, folder)],
        engine,
        again=again,
        observer=observer,
        interruption=interruption,
    )
    return summary


def _find_elsewhere(folder: RunFolder, config: RunConfig) -> RunFolder | None:
    """Return the folder of another place where this run was trained as it would be here, if there is one."""
    name, others = folder.path.name, OtherFolders(folder.path.parent)
    if folder.path.exists() or not others.have(name):
        return None
    from bnlab.experiment.checking import check  # noqa: PLC0415  (torch)

    return others.find(config, [name], 0, "sequential", check(config))


def _say_what_is_wrong(folder: RunFolder, observer: RunObserver) -> None:
    """Warn of a result that is damaged, whose summary disagrees with its records, or that has another origin."""
    with contextlib.suppress(FileNotFoundError):
        facts = folder.read_facts()
        if facts.problems and not facts.is_other:
            again = " It is trained again." if facts.has_ended else ""
            consequence = " The result is that of metrics.jsonl." if facts.is_usable else again
            observer.on_warning(f"{folder.path.name}: {'; '.join(facts.problems)}.{consequence}")
        if facts.is_usable and (others := other_versions(facts.manifest)):
            observer.on_warning(f"{folder.path.name} was trained with {others}. --again trains it anew.")


def refuse_a_missing_device(configs: Iterable[RunConfig]) -> None:
    """Raise if this machine lacks the device that a config names, also where its result is there already.

    Args:
        configs: The configs of runs that may have a result. Only for a device that may be missing, torch is imported.

    Raises:
        ConfigError: This machine lacks it.
    """
    for name in {config.device for config in configs} - {"auto", "cpu"}:
        from bnlab.experiment.checking import find_device  # noqa: PLC0415

        find_device(name)


def _engine_of(folder: RunFolder) -> str:
    """Return the engine that an interrupted run with a checkpoint was begun with; ``sequential`` for any other run.

    Raises:
        ConfigError: The run was begun together with others: alone it could not resume, and neither could they.
    """
    if not (folder.checkpoint_path.exists() or folder.previous_checkpoint_path.exists()):
        return "sequential"
    try:
        manifest = folder.read_manifest()
        if manifest.get("status") in ENDED:  # damaged since; the checkpoint is the final weights
            return "sequential"
        engine, num_runs = str(manifest["engine"]), len((manifest["cohort"] or {"runs": [folder]})["runs"])
    except (RunError, LookupError, TypeError):  # damaged; whether the checkpoint is usable is checked later
        return "sequential"
    if num_runs > 1:
        raise ConfigError(
            f"{folder.path.name} was interrupted while a sweep trained {num_runs} runs together, and resumes only with "
            f"them. Run the sweep again: {manifest.get('command')}\nTo train it alone, from the beginning: --again."
        )
    return engine
