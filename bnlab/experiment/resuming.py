"""From which checkpoint an interrupted cohort can resume."""

import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab import provenance
from bnlab.errors import RunError
from bnlab.experiment.assembly import assemble_cohort
from bnlab.experiment.checking import Checked
from bnlab.experiment.recorder import Member
from bnlab.identity.run_id import run_id
from bnlab.training.checkpoint import FORMAT_VERSION, read_checkpoint
from bnlab.training.loop import Checkpoint, train
from bnlab.training.precision import computing_with


def origin_of(run_ids: Sequence[str], engine: str) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be usable: another program computes other bits.

    Threads, device and processor may differ: a user who changes those may want to resume all the same, and finds in
    the manifest where that happened.

    Args:
        run_ids: The ids of the whole cohort's runs, in order.
        engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
    """
    versions = provenance.versions()
    return {
        "format": FORMAT_VERSION,
        "bnlab": versions["bnlab"],
        "torch": versions["torch"],
        "engine": engine,
        "runs": list(run_ids),
    }


def find_start(
    members: Sequence[Member],
    missing: Collection[int],
    engine: str,
    checked: Checked,
    on_warning: Callable[[str], object],
) -> Checkpoint | None:
    """Return the last checkpoint that a cohort can resume from, or None: training begins at step 0.

    Every run that was in training at that step needs a state of that step, also a run that has finished since. A run
    that had diverged before needs none. A damaged checkpoint is renamed and kept, for a user who wants to look at it.

    Args:
        members: The whole cohort, in order.
        missing: The positions of the runs that have no result yet.
        engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
        checked: What `check` found for the first config.
        on_warning: Called with one sentence for each checkpoint that cannot be used.
    """
    faults: list[str] = []
    start = _find_usable(members, missing, engine, checked, faults.append)
    consequence = "It is trained from the beginning." if start is None else f"It resumes from step {start.step}."
    for fault in faults:
        on_warning(f"{fault} {consequence}")
    return start


def _find_usable(
    members: Sequence[Member],
    missing: Collection[int],
    engine: str,
    checked: Checked,
    on_fault: Callable[[str], object],
) -> Checkpoint | None:
    if not any(path.exists() for i, member in enumerate(members) for path in _state_paths(member, i in missing)):
        return None
    origin = origin_of([run_id(member.config) for member in members], engine)
    kept = [dict(_readable_states(member, i in missing, origin, on_fault)) for i, member in enumerate(members)]
    for step in sorted(set.intersection(*(set(kept[i]) for i in missing)), reverse=True):
        if not all(step in kept[i] or _had_ended(member, step) for i, member in enumerate(members)):
            continue
        found = {i: kept[i][step] for i in range(len(members)) if step in kept[i]}
        start = Checkpoint(step, {i: one.state for i, one in found.items()})
        fault = _load_fault(start, members, engine, checked)
        if fault is None:
            for one in found.values():
                one.path.replace(one.newest_path)  # or the next checkpoint would overwrite this one
            return start
        for one in found.values():
            _set_aside(one.path, fault, on_fault)
    return None


@dataclass(frozen=True)
class _KeptState:
    """The training state of one run at one step.

    Attributes:
        path: The file that holds it.
        newest_path: The file that the run's newest state belongs in.
        state: The content, as `Checkpoint` holds it for one run.
    """

    path: Path
    newest_path: Path
    state: dict[str, Any]


def _had_ended(member: Member, step: int) -> bool:
    result = member.folder.read_finished()
    return result is not None and (result.steps or 0) <= step


def _readable_states(
    member: Member, is_missing: bool, origin: dict[str, Any], on_fault: Callable[[str], object]
) -> Iterator[tuple[int, _KeptState]]:
    """Yield step and state of each checkpoint of a run that is intact and was written by this program."""
    paths = _state_paths(member, is_missing)
    for path in paths:
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
            training = checkpoint["training"]
            if training is None:  # final weights
                continue
            if differences := _differences(training["made_by"], origin):
                on_fault(f"{path} was written by another program ({differences}); not used.")
            elif _has_records(member, checkpoint["step"], training["num_records"]):
                yield checkpoint["step"], _KeptState(path, paths[-1], training["state"])
            else:
                on_fault(f"{path} is not used: metrics.jsonl lacks records from before it.")
        except (RunError, LookupError, TypeError, AttributeError) as error:
            _set_aside(path, error, on_fault)


def _state_paths(member: Member, is_missing: bool) -> list[Path]:
    """Return the files that may hold a training state of a run, the newest last."""
    folder = member.folder
    if is_missing:
        return [folder.previous_checkpoint_path, folder.checkpoint_path]
    # checkpoint_path holds the final weights; previous_checkpoint_path is from before the run had its result
    return [folder.previous_checkpoint_path, *folder.cohort_state_paths]


def _has_records(member: Member, step: int, num_records: int | None) -> bool:
    """Whether a run's folder has all records up to a step; a resumed run does not write them again."""
    if num_records is None:
        return True
    try:
        steps = [int(facts["step"]) for facts in member.folder.read_records()]
    except (RunError, ValueError, LookupError, TypeError):  # no JSON, or no records
        return False
    return bisect.bisect_right(steps, step) == num_records


def _load_fault(start: Checkpoint, members: Sequence[Member], engine: str, checked: Checked) -> Exception | None:
    """Return the error that a checkpoint's states raise when they are loaded, or None; no step is made."""
    with computing_with(checked.num_threads, 0, checked.device):
        try:
            cohort, _ = assemble_cohort([members[i].config for i in start.states], checked, engine)
        except Exception:  # not the checkpoint's fault: training raises it again, and the run's log gets it
            return None
        try:
            train(cohort, checked.plan, start)
        except Exception as error:  # torch raises many kinds of errors for a state of another network
            return error
    return None


def _set_aside(path: Path, error: Exception, on_fault: Callable[[str], object]) -> None:
    damaged = path.with_name(f"{path.name}.damaged")
    path.replace(damaged)
    first = str(error).partition("\n")[0]
    why = first if isinstance(error, RunError) else f"{path} does not fit this run ({type(error).__name__}: {first})"
    on_fault(f"{why.removesuffix(' Train the run again.').rstrip('.')}; renamed to {damaged.name}.")


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [key for key in ours if theirs.get(key) != ours[key]]
    return ", ".join("other runs" if key == "runs" else f"{key} {theirs.get(key)}, now {ours[key]}" for key in keys)
