"""Where a cohort that was cut off can go on from."""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from bnlab import provenance
from bnlab.errors import RunError
from bnlab.experiment.recorder import Member
from bnlab.runfolder.identity import run_id
from bnlab.training.checkpoint import read_checkpoint
from bnlab.training.loop import Checkpoint

_log = logging.getLogger("bnlab")


def made_by(members: Sequence[Member], engine: str) -> dict[str, Any]:
    """Return what must be the same for a checkpoint to be gone on from: other programs give other bits.

    Args:
        members: The whole cohort, in order.
        engine: How it is trained.
    """
    return {
        "engine": engine,
        "runs": [run_id(member.config) for member in members],
        "torch": provenance.versions()["torch"],
    }


def find_start(
    members: Sequence[Member], wanted: Collection[int], engine: str, on_warning: Callable[[str], object]
) -> Checkpoint | None:
    """Return the last point that a cohort can go on from, or None: then it begins anew.

    All runs that are still in training must have been kept at that step. One that has diverged by then is in
    training no more, and needs no state.

    Args:
        members: The whole cohort, in order.
        wanted: The positions of those that are not finished.
        engine: How it is trained.
        on_warning: Told of checkpoints that cannot be used.
    """
    maker = made_by(members, engine)
    states = [_states_by_step(member, maker, on_warning) for member in members]
    for step in sorted(set.intersection(*(set(states[i]) for i in wanted)), reverse=True):
        gone = [i for i, member in enumerate(members) if step not in states[i] and not _had_ended(member, step)]
        if not gone:
            return Checkpoint(step, {i: states[i][step] for i in range(len(members)) if step in states[i]})
    return None


def _had_ended(member: Member, step: int) -> bool:
    result = member.folder.read_finished()
    return result is not None and (result.steps or 0) <= step


def _states_by_step(
    member: Member, maker: dict[str, Any], on_warning: Callable[[str], object]
) -> dict[int, dict[str, Any]]:
    states = {}
    for path in (member.folder.checkpoint_path, member.folder.previous_checkpoint_path):
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
            training = checkpoint["training"]
            if training is None:
                continue
            if training["made_by"] == maker:
                states[int(checkpoint["step"])] = training["state"]
            else:
                on_warning(f"{path} was made by another program ({_difference(training['made_by'], maker)}); not used.")
        except (RunError, KeyError, TypeError) as error:
            damaged = path.with_name(f"{path.name}.damaged")
            path.replace(damaged)
            on_warning(f"{path} is damaged and was set aside as {damaged.name}; the one before it is tried ({error}).")
    return states


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    return ", ".join(f"{key} {theirs.get(key)}, now {ours[key]}" for key in ours if theirs.get(key) != ours[key])
