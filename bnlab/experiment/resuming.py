"""Where a cohort that was cut off can go on from."""

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
from bnlab.runfolder.identity import run_id
from bnlab.training.checkpoint import FORMAT_VERSION, read_checkpoint
from bnlab.training.loop import Checkpoint, train
from bnlab.training.precision import computing_with


def made_by(members: Sequence[Member], engine: str) -> dict[str, Any]:
    """Return what must be the same for a checkpoint to be gone on from: other programs give other bits.

    Threads, device and processor are not among it: whoever changes those may want to go on all the same, and finds
    in the manifest where that was.

    Args:
        members: The whole cohort, in order.
        engine: How it is trained.
    """
    versions = provenance.versions()
    return {
        "format": FORMAT_VERSION,
        "bnlab": versions["bnlab"],
        "torch": versions["torch"],
        "engine": engine,
        "runs": [run_id(member.config) for member in members],
    }


def find_start(
    members: Sequence[Member],
    wanted: Collection[int],
    engine: str,
    checked: Checked,
    on_warning: Callable[[str], object],
) -> Checkpoint | None:
    """Return the last point that a cohort can go on from, or None: then it begins anew.

    All runs that are still in training must have been kept at that step; one that has ended since is trained along
    from there. One that has diverged by then is in training no more, and needs no state. What cannot be used is set
    aside, for whoever wants to look at it.

    Args:
        members: The whole cohort, in order.
        wanted: The positions of those that are not finished.
        engine: How it is trained.
        checked: What `check` made of the first config.
        on_warning: Told of checkpoints that cannot be used.
    """
    complaints: list[str] = []
    start = _find_usable(members, wanted, engine, checked, complaints.append)
    for complaint in complaints:
        on_warning(f"{complaint} {'It begins anew.' if start is None else f'It goes on from step {start.step}.'}")
    return start


def _find_usable(
    members: Sequence[Member],
    wanted: Collection[int],
    engine: str,
    checked: Checked,
    on_fault: Callable[[str], object],
) -> Checkpoint | None:
    maker = made_by(members, engine)
    kept = [dict(_usable(member, i in wanted, maker, on_fault)) for i, member in enumerate(members)]
    for step in sorted(set.intersection(*(set(kept[i]) for i in wanted)), reverse=True):
        if not all(step in kept[i] or _had_ended(member, step) for i, member in enumerate(members)):
            continue
        found = {i: kept[i][step] for i in range(len(members)) if step in kept[i]}
        start = Checkpoint(step, {i: one.state for i, one in found.items()})
        fault = _try_out(start, members, engine, checked)
        if fault is None:
            for one in found.values():
                one.path.replace(one.newest_path)  # so that the next checkpoint does not push this one out
            return start
        for one in found.values():
            _set_aside(one.path, fault, on_fault)
    return None


@dataclass(frozen=True)
class _Kept:
    """One run's state at one step.

    Attributes:
        path: Where it is.
        newest_path: Where a run's newest one belongs.
        state: To go on from.
    """

    path: Path
    newest_path: Path
    state: dict[str, Any]


def _had_ended(member: Member, step: int) -> bool:
    result = member.folder.read_finished()
    return result is not None and (result.steps or 0) <= step


def _usable(
    member: Member, is_wanted: bool, maker: dict[str, Any], on_fault: Callable[[str], object]
) -> Iterator[tuple[int, _Kept]]:
    """Yield step and state of each checkpoint of a run that can be read and was made by this program."""
    folder = member.folder
    if is_wanted:
        newest = folder.checkpoint_path
        paths = [folder.previous_checkpoint_path, newest]
    else:  # checkpoint_path holds its final weights; the one before is where it was when it had no result yet
        newest = folder.company_path
        paths = [folder.previous_checkpoint_path, folder.previous_company_path, newest]
    for path in paths:
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
            training = checkpoint["training"]
            if training is None:  # final weights
                continue
            if differences := _differences(training["made_by"], maker):
                on_fault(f"{path} was made by another program ({differences}); not used.")
            elif _has_records(member, checkpoint["step"], training["num_records"]):
                yield checkpoint["step"], _Kept(path, newest, training["state"])
            else:
                on_fault(f"{path} is not used: metrics.jsonl does not hold all that was recorded before it.")
        except (RunError, LookupError, TypeError, AttributeError) as error:
            _set_aside(path, error, on_fault)


def _has_records(member: Member, step: int, num_records: int | None) -> bool:
    """Whether a run's folder has all records up to a step; whoever goes on from there does not make them again."""
    if num_records is None:
        return True
    try:
        steps = [int(facts["step"]) for facts in member.folder.read_records()]
    except (RunError, ValueError, LookupError, TypeError):  # no JSON, or no records
        return False
    return bisect.bisect_right(steps, step) == num_records


def _try_out(start: Checkpoint, members: Sequence[Member], engine: str, checked: Checked) -> Exception | None:
    """Return what is wrong with a start, found out by taking it up and going no step further."""
    with computing_with(checked.num_threads, 0, checked.device):
        try:
            cohort, _ = assemble_cohort([members[i].config for i in start.states], checked, engine)
        except Exception:  # not the checkpoint's fault: the training will say so, in the run's log
            return None
        try:
            train(cohort, checked.plan, start)
        except Exception as error:  # whatever torch makes of a state that is not of this network
            return error
    return None


def _set_aside(path: Path, error: Exception, on_fault: Callable[[str], object]) -> None:
    damaged = path.with_name(f"{path.name}.damaged")
    path.replace(damaged)
    first = str(error).partition("\n")[0]
    why = first if isinstance(error, RunError) else f"{path} is not this run's ({type(error).__name__}: {first})"
    on_fault(f"{why.removesuffix(' Train the run again.').rstrip('.')}; set aside as {damaged.name}.")


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [key for key in ours if theirs.get(key) != ours[key]]
    return ", ".join("other runs" if key == "runs" else f"{key} {theirs.get(key)}, now {ours[key]}" for key in keys)
