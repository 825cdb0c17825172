"""A cohort, trained and recorded. Read `run_cohort` from top to bottom: that is the order of events."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bnlab import provenance
from bnlab.errors import BnlabError, RunError
from bnlab.experiment.assembly import assemble_cohort
from bnlab.experiment.checking import Checked, check
from bnlab.experiment.manifest import manifests_of
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.recorder import FinishedMember, Member, Recorder
from bnlab.experiment.resuming import find_start, origin_of
from bnlab.garbage import look_as_usual
from bnlab.loggers.guarded import KINDS, GuardedLogger, past_records
from bnlab.loggers.logged_run import logged_run
from bnlab.loggers.logger import Logger
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.records import ENDED, Record, RunSummary, Status
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.messages import collecting_messages
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.cohort import Cohort
from bnlab.training.interruption import Interruption
from bnlab.training.loop import Checkpoint, FinalWeights, train
from bnlab.training.precision import computing_with

_log = logging.getLogger("bnlab")


class Shared(Protocol):
    """Assembles a run that several processes share."""

    def assemble(self, config: RunConfig, checked: Checked, start: Checkpoint | None) -> Cohort:
        """Return the part of the run that this process computes.

        Args:
            config: The settings of the run.
            checked: What `check` found for these settings.
            start: The checkpoint to resume from; None: training begins at step 0.
        """


def run_experiment(
    config: RunConfig, folder: RunFolder, observer: RunObserver | None = None, *, again: bool = False
) -> RunSummary:
    """Train one run alone and record it in its folder; see `run_cohort`."""
    (summary,) = run_cohort([Member(config, folder)], "sequential", again=again, observer=observer)
    return summary


def run_cohort(
    members: Sequence[Member],
    engine: str,
    *,
    again: bool = False,
    observer: RunObserver | None = None,
    interruption: Interruption | None = None,
    checked: Checked | None = None,
    shared: "Shared | None" = None,
) -> list[RunSummary]:
    """Train a cohort, and record each of its runs in that run's folder.

    Runs that have a result already are trained along with the others, because the float32 bits of the others may
    depend on the number of runs in the cohort. Their results stay as they are. A cohort that was interrupted resumes
    from its last checkpoint.

    Args:
        members: The runs of the cohort, in order.
        engine: ``sequential`` to train one run alone, ``vectorized`` to train any number of runs together.
        again: Train all runs from step 0, even if they have results or checkpoints.
        observer: Receives warnings and the step of resumption, and opens a logger per run; None: nobody is told.
        interruption: Asks, from a signal handler or a thread, to stop after the current step with a checkpoint; None:
            training runs to its end.
        checked: What `check` found for a config that differs from these in numbers only; None: the first config is
            checked here.
        shared: Assembles the run if several processes share it; None: this process trains it alone.

    Returns:
        The result of each run, in order.

    Raises:
        ConfigError: A setting that cannot work; no folder is made.
        DataError: The data are missing or damaged; no folder is made.
        RunBusyError: Another process trains one of these runs.
        RunError: Training failed; the runs' log.txt says why.
        KeyboardInterrupt: Training was interrupted; the records up to then are kept.
    """
    observer = observer or RunObserver()
    checked = checked or check(members[0].config)
    with contextlib.ExitStack() as locks:
        for member in members:
            locks.enter_context(member.folder.locked())
        results = {i: None if again else member.folder.read_finished() for i, member in enumerate(members)}
        missing = [i for i, result in results.items() if result is None]
        if missing:
            warnings, start = list(checked.warnings), None
            if not again:
                with saying_where_it_cannot_write(members[0].folder.path.parent):
                    start = find_start(members, missing, engine, checked, warnings.append)
            for warning in warnings:
                observer.on_warning(warning)
            if start is not None:
                observer.on_resumed(start.step)
            training = _Training(members, missing, engine, checked, start, warnings, shared)
            results |= _train_and_record(training, observer, interruption)
            if all(result and result.status in ENDED for result in results.values()):
                for member in members:
                    member.folder.forget_checkpoints()
    return [result for result in results.values() if result is not None]


@dataclass(frozen=True)
class _Training:
    """A cohort that is about to be trained.

    Attributes:
        members: The runs of the cohort, in order.
        missing: The positions of the runs that have no result yet. Only these are recorded.
        engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
        checked: What `check` found for the first config; it holds for all.
        start: The checkpoint to resume from; None: training begins at step 0.
        warnings: Texts for the runs' log.txt.
        shared: Assembles the run if several processes share it.
    """

    members: Sequence[Member]
    missing: Sequence[int]
    engine: str
    checked: Checked
    start: Checkpoint | None
    warnings: Sequence[str]
    shared: "Shared | None"

    def assemble(self) -> Cohort:
        """Return the runs that are trained, as a cohort."""
        configs = [self.members[i].config for i in self.in_training]
        if self.shared is not None:
            return self.shared.assemble(configs[0], self.checked, self.start)
        return assemble_cohort(configs, self.checked, self.engine)[0]

    @property
    def in_training(self) -> list[int]:
        """The positions of the runs that are trained: all, but for those that had diverged before the checkpoint."""
        return list(range(len(self.members))) if self.start is None else list(self.start.states)

    def elapsed_s(self, position: int) -> float:
        """Return the seconds that a run was trained for before it was interrupted; 0 if it begins at step 0."""
        return 0.0 if self.start is None else float(self.start.states[position]["clock"]["elapsed_s"])


def _train_and_record(
    training: _Training, observer: RunObserver, interruption: Interruption | None
) -> dict[int, RunSummary]:
    """Train a cohort; return the results of the runs that had none, by their positions.

    Raises:
        RunError: Training failed.
        KeyboardInterrupt: Training was interrupted.
    """
    members, checked, start = training.members, training.checked, training.start
    manifests = _manifests(training)
    origin = origin_of([manifest["run_id"] for manifest in manifests], training.engine)
    summaries: dict[int, RunSummary] = {}
    with _open_folders(training, manifests):
        recorders = {i: Recorder(members[i], manifests[i], origin, training.elapsed_s(i)) for i in training.missing}
        others = {i: FinishedMember(member, origin) for i, member in enumerate(members) if i not in training.missing}
        status: Status = "failed"
        try:
            _log_beginning(training)
            look_as_usual()  # before there is a network: it would be kept for ever
            with computing_with(checked.num_threads, stream_seed(members[0].config.seed, "noise"), checked.device):
                cohort = training.assemble()
                in_trouble: set[str] = set()
                for i, recorder in recorders.items():
                    recorder.loggers += _open_loggers(recorder.member, training, manifests[i], observer, in_trouble)
                for event in train(cohort, checked.plan, start, interruption):
                    _record(event, {**others, **recorders})
            status = "interrupted"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except Exception as error:
            _log.exception("the run failed")
            raise RunError(_failure_message(list(recorders.values()), start, error)) from error
        finally:
            for i, recorder in recorders.items():
                try:
                    summaries[i] = recorder.close(status)
                except OSError:  # its status stays `running`, which reads as interrupted once the lock is free
                    _log.exception("the ending could not be written")
    return summaries


def _record(event: Record | Checkpoint | FinalWeights, recorders: Mapping[int, Recorder | FinishedMember]) -> None:
    """Pass an event of the training loop to the recorder of its run."""
    if isinstance(event, Checkpoint):
        for i, state in event.states.items():
            recorders[i].keep_state(event.step, state)
    elif isinstance(event, FinalWeights):
        recorders[event.run].keep_weights(event.step, event.values)
    else:
        recorders[event.run].take(event)


@contextlib.contextmanager
def _open_folders(training: _Training, manifests: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Hold the folders of the missing runs open for training, and write log messages to their log.txt."""
    resume_at = None if training.start is None else training.start.step
    with contextlib.ExitStack() as stack:
        for i in training.missing:
            member = training.members[i]
            stack.enter_context(member.folder.opened_for_training(member.config, manifests[i], resume_at))
            stack.enter_context(collecting_messages(member.folder.log_path))
        yield


def _manifests(training: _Training) -> list[dict[str, Any]]:
    """Return the manifests of all runs; those of resumed runs say when they began and where they were resumed."""
    members, start = training.members, training.start
    manifests = manifests_of(training.checked, [member.config for member in members], training.engine)
    if start is None:
        return manifests
    continued = []
    for manifest, member in zip(manifests, members, strict=True):
        before: dict[str, Any] = {}
        with contextlib.suppress(RunError):  # a manifest can be damaged while the checkpoint is intact
            before = member.folder.read_manifest()
        resumption = {"step": start.step, "at": provenance.now(), "after_threads": before.get("threads")}
        resumed = [*before.get("resumed", []), resumption]
        continued.append({**manifest, "started": before.get("started", manifest["started"]), "resumed": resumed})
    return continued


def _log_beginning(training: _Training) -> None:
    names = ", ".join(training.members[i].folder.path.name for i in training.missing)
    _log.info("%s on %s with %d threads", names, training.checked.device, training.checked.num_threads)
    if training.start is not None:
        _log.info("resumed from the checkpoint at step %d", training.start.step)
    for warning in training.warnings:
        _log.warning("%s", warning)


def _open_loggers(
    member: Member, training: _Training, manifest: Mapping[str, Any], observer: RunObserver, in_trouble: set[str]
) -> list[Logger]:
    """Return the loggers of a run, with all that it has recorded before it was interrupted.

    Args:
        member: The run.
        training: The cohort that it is trained with.
        manifest: The manifest of the run.
        observer: Told of the first trouble with each logger, and opens one of its own.
        in_trouble: The names of loggers that failed in this cohort.
    """

    def tell_once(logger: str, text: str) -> None:
        if logger not in in_trouble:
            in_trouble.add(logger)
            observer.on_trouble(logger, text)

    folder, config, is_resumed = member.folder, member.config, training.start is not None
    loggers: list[Logger] = []
    if "tensorboard" in config.loggers:
        loggers.append(TensorBoardLogger(folder.path, config, member.swept, purge_step=0 if is_resumed else None))
    run = logged_run(folder.path, config.as_dict(), manifest["started"])
    loggers += [GuardedLogger(name, run, tell_once) for name in KINDS if name in config.loggers]
    if is_resumed and loggers:  # a kill loses the last seconds of them, before a checkpoint too
        for record in past_records(folder):
            for each in loggers:
                each.take(record)
    logger = observer.open_logger(config, folder.path.name, training.checked.plan)
    return loggers if logger is None else [*loggers, logger]


def _failure_message(recorders: Sequence[Recorder], start: Checkpoint | None, error: Exception) -> str:
    """Return the message: which run, why, where the traceback is, and what happens when the command is run again."""
    first = recorders[0].member.folder
    others = f" and {len(recorders) - 1} trained together with it" if recorders[1:] else ""
    why: str = str(error).partition("\n")[0]
    why = why if isinstance(error, BnlabError) else f"{type(error).__name__}: {why}"
    message = f"{first.path.name}{others} failed: {why}\nThe whole traceback: {first.log_path}"
    kept_step = recorders[0].kept_step or (start and start.step)
    if kept_step:
        message += f"\nThe same command resumes it from step {kept_step}; --again trains it from the beginning."
    return message
