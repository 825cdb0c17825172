"""A cohort, trained and kept. Read `run_cohort` from top to bottom: that is what happens."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bnlab import provenance
from bnlab.errors import BnlabError, RunError
from bnlab.experiment.assembly import assemble_cohort
from bnlab.experiment.checking import Checked, check
from bnlab.experiment.manifest import manifests_of
from bnlab.experiment.recorder import Companion, Member, Recorder
from bnlab.experiment.resuming import find_start, made_by
from bnlab.loggers.logger import Logger
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.records import Record, RunSummary, Status, as_record
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.messages import collecting_messages
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.interruption import Interruption
from bnlab.training.loop import Checkpoint, FinalWeights, Plan, train
from bnlab.training.precision import computing_with

_log = logging.getLogger("bnlab")


OpenView = Callable[[RunConfig, str, Plan], Logger]
"""(config, run id, plan) -> a view of a run that is about to be trained."""


def run_experiment(
    config: RunConfig,
    folder: RunFolder,
    open_view: OpenView | None = None,
    on_warning: Callable[[str], object] = lambda _: None,
    *,
    again: bool = False,
) -> RunSummary:
    """Train one run by itself and keep everything about it in its folder; see `run_cohort`."""
    (summary,) = run_cohort(
        [Member(config, folder)], "sequential", open_view=open_view, on_warning=on_warning, again=again
    )
    return summary


def run_cohort(
    members: Sequence[Member],
    engine: str,
    *,
    again: bool = False,
    open_view: OpenView | None = None,
    on_warning: Callable[[str], object] = lambda _: None,
    on_going_on: Callable[[int], object] = lambda _: None,
    interruption: Interruption | None = None,
    checked: Checked | None = None,
) -> list[RunSummary]:
    """Train a cohort, and keep everything about each of its runs in that run's folder.

    Runs whose results are there are trained along, since the bits of the others may depend on their company's
    number, and what is there is kept. A cohort that was cut off goes on from its last checkpoint.

    Args:
        members: Its runs, in order.
        engine: ``sequential`` for one run alone, ``vectorized`` for any number.
        again: Train them anew, whatever is there.
        open_view: For a view of each while it trains.
        on_warning: Told of what is probably not meant; log.txt is told anyway.
        on_going_on: Told of the step from which a cohort that was cut off goes on.
        interruption: Where somebody may ask for a stop after a step, with a checkpoint.
        checked: What `check` found for a config that differs in numbers only; None: the first config is checked.

    Returns:
        What came out of each, in order.

    Raises:
        ConfigError: A setting that cannot work; no folder is made.
        DataError: The data are not there, or damaged; no folder is made.
        RunBusyError: Another process trains one of these runs.
        RunError: They failed; their log.txt says why.
        KeyboardInterrupt: They were cut off; what was recorded is kept.
    """
    checked = checked or check(members[0].config)
    notes = list(checked.warnings)
    with contextlib.ExitStack() as locks:
        for member in members:
            locks.enter_context(member.folder.locked())
        results = {i: None if again else member.folder.read_finished() for i, member in enumerate(members)}
        wanted = [i for i, result in results.items() if result is None]
        if wanted:
            with saying_where_it_cannot_write(members[0].folder.path.parent):
                start = None if again else find_start(members, wanted, engine, checked, notes.append)
            for note in notes:
                on_warning(note)
            if start is not None:
                on_going_on(start.step)
            results |= _train_and_record(members, wanted, engine, checked, start, notes, open_view, interruption)
            if all(result and result.status in {"finished", "diverged"} for result in results.values()):
                for member in members:
                    member.folder.forget_checkpoints()
    return [result for result in results.values() if result is not None]


def _train_and_record(
    members: Sequence[Member],
    wanted: Sequence[int],
    engine: str,
    checked: Checked,
    start: Checkpoint | None,
    notes: Sequence[str],
    open_view: OpenView | None,
    interruption: Interruption | None,
) -> dict[int, RunSummary]:
    """Train a cohort; return what came out of those that are recorded.

    Raises:
        RunError: They failed.
        KeyboardInterrupt: They were cut off.
    """
    configs = [member.config for member in members]
    manifests = _going_on(manifests_of(checked, configs, engine), members, start)
    maker = made_by(members, engine)
    summaries: dict[int, RunSummary] = {}
    with _open_folders(members, wanted, manifests, start):
        before_s = {i: 0.0 if start is None else start.states[i]["clock"]["elapsed_s"] for i in wanted}
        recorders = {i: Recorder(members[i], manifests[i], maker, before_s[i]) for i in wanted}
        companions = {i: Companion(member, maker) for i, member in enumerate(members) if i not in wanted}
        status: Status = "failed"
        try:
            _announce(members, wanted, checked, start, notes)
            in_training = list(range(len(members))) if start is None else list(start.states)
            with computing_with(checked.num_threads, stream_seed(configs[0].seed, "noise"), checked.device):
                cohort, _ = assemble_cohort([configs[i] for i in in_training], checked, engine)
                for recorder in recorders.values():
                    recorder.loggers += _open_loggers(recorder.member, checked.plan, start, open_view)
                for event in train(cohort, checked.plan, start, interruption):
                    _hand_on(event, {**companions, **recorders})
            status = "interrupted"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except Exception as error:
            _log.exception("the run failed")
            raise RunError(_how_they_failed(list(recorders.values()), start, error)) from error
        finally:
            for i, recorder in recorders.items():
                try:
                    summaries[i] = recorder.close(status)
                except OSError:  # its status stays `running`, which reads as interrupted once the lock is free
                    _log.exception("the ending could not be written")
    return summaries


def _hand_on(event: Record | Checkpoint | FinalWeights, keepers: Mapping[int, Recorder | Companion]) -> None:
    """Give an event to whoever keeps its run."""
    if isinstance(event, Checkpoint):
        for i, state in event.states.items():
            keepers[i].keep_state(event.step, state)
    elif isinstance(event, FinalWeights):
        keepers[event.replica].keep_weights(event.step, event.values)
    else:
        keepers[event.replica].take(event)


@contextlib.contextmanager
def _open_folders(
    members: Sequence[Member], wanted: Sequence[int], manifests: Sequence[dict[str, Any]], start: Checkpoint | None
) -> Iterator[None]:
    """Hold the folders of some runs open for training, with their messages going to their log.txt."""
    resume_at = None if start is None else start.step
    with contextlib.ExitStack() as stack:
        for i in wanted:
            folder = members[i].folder
            stack.enter_context(folder.opened_for_training(members[i].config, manifests[i], resume_at))
            stack.enter_context(collecting_messages(folder.log_path))
        yield


def _going_on(
    manifests: list[dict[str, Any]], members: Sequence[Member], start: Checkpoint | None
) -> list[dict[str, Any]]:
    """Return manifests that tell when a run that goes on was begun, and where it was taken up."""
    if start is None:
        return manifests
    told = []
    for manifest, member in zip(manifests, members, strict=True):
        before: dict[str, Any] = {}
        with contextlib.suppress(RunError):  # a manifest can be damaged, and the checkpoint sound
            before = member.folder.read_manifest()
        taken_up = {"step": start.step, "at": provenance.now(), "after_threads": before.get("threads")}
        resumed = [*before.get("resumed", []), taken_up]
        told.append({**manifest, "started": before.get("started", manifest["started"]), "resumed": resumed})
    return told


def _announce(
    members: Sequence[Member], wanted: Sequence[int], checked: Checked, start: Checkpoint | None, notes: Sequence[str]
) -> None:
    names = ", ".join(members[i].folder.path.name for i in wanted)
    _log.info("%s on %s with %d threads", names, checked.device, checked.num_threads)
    if start is not None:
        _log.info("going on from the checkpoint at step %d", start.step)
    for note in notes:
        _log.warning("%s", note)


def _open_loggers(
    member: Member,
    plan: Plan,
    start: Checkpoint | None,
    open_view: OpenView | None,
) -> list[Logger]:
    loggers: list[Logger] = []
    folder, config = member.folder, member.config
    if "tensorboard" in config.loggers:
        purge_step = None if start is None else 0
        board = TensorBoardLogger(folder.path, config, member.swept, purge_step)
        # all over again: a kill takes the last seconds of events with it, before a checkpoint too
        told = [] if start is None else itertools.chain(folder.read_records(), folder.read_timings())
        for facts in told:
            board.take(as_record(facts))
        loggers.append(board)
    if open_view is not None:
        loggers.append(open_view(config, folder.path.name, plan))
    return loggers


def _how_they_failed(recorders: Sequence[Recorder], start: Checkpoint | None, error: Exception) -> str:
    """Return the message: who, why, where it is told at length, and what happens when they are asked for again."""
    first = recorders[0].member.folder
    others = f" and {len(recorders) - 1} trained together with it" if recorders[1:] else ""
    why: str = str(error).partition("\n")[0]
    why = why if isinstance(error, BnlabError) else f"{type(error).__name__}: {why}"
    message = f"{first.path.name}{others} failed: {why}\nThe whole story: {first.log_path}"
    kept_step = recorders[0].kept_step or (start and start.step)
    if kept_step:
        message += f"\nAsked for again, it goes on from step {kept_step}; --again begins anew."
    return message
