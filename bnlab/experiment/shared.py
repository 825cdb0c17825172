"""A run that several processes share: process 0 records it, the others only compute.

Process 0 tells the others what it found in the run's folder (a result, a checkpoint, nothing), and at the end how the
run ended, so that all of them return the same result. What it cannot tell, because it failed, they notice by its
absence.
"""

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from bnlab.errors import BnlabError, ProcessLostError, RunError
from bnlab.experiment.assembly import assemble_shared
from bnlab.experiment.checking import Checked, check
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.recorder import Member
from bnlab.records import RunSummary
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.cohort import Cohort
from bnlab.training.interruption import Interruption
from bnlab.training.loop import Checkpoint, train
from bnlab.training.precision import computing_with
from bnlab.training.shared_run import AgreedInterruption, is_of_connection
from bnlab.world import World

WAIT = datetime.timedelta(minutes=10)
"""How long a process waits for the others. Process 0 evaluates and measures alone meanwhile, and CIFAR-10 with all
diagnostics takes minutes on one core; a process that has ended is noticed at once."""


def train_shared(
    member: Member, world: World, *, again: bool, observer: RunObserver | None, interruption: Interruption | None
) -> RunSummary:
    """Train one run together with the other processes of its world; every one of them returns the result.

    Args:
        member: The run; only process 0 touches its folder.
        world: The processes that share the run.
        again: Train the run from the beginning even if it is finished.
        observer: Told by process 0 as in `run_cohort`.
        interruption: The request of this process to stop; the run stops in all processes if one is asked.

    Raises:
        ConfigError: A setting is wrong.
        RunError: Training failed, or another process has ended.
    """
    checked = check(member.config)
    with _connected(checked, world):
        agreed = AgreedInterruption(interruption or Interruption())
        if not world.leads:
            return _follow(member.config, checked, world, agreed)
        shared = _Leader(world, agreed)
        (summary,) = run_cohort(
            [member],
            "sequential",
            again=again,
            observer=observer,
            interruption=agreed,
            checked=checked,
            shared=shared,
        )
        if not shared.has_told:
            _tell(None)
        _tell(summary)
        return summary


class _Leader:
    """Process 0, which assembles its part of the run and tells the others where it starts."""

    def __init__(self, world: World, interruption: AgreedInterruption) -> None:
        self.world = world
        self.interruption = interruption
        self.has_told = False

    def assemble(self, config: RunConfig, checked: Checked, start: Checkpoint | None) -> Cohort:
        """Return the run, after the others were told to assemble theirs."""
        _tell({"start": start})
        self.has_told = True
        return assemble_shared(config, checked, self.world, self.interruption)


def _follow(config: RunConfig, checked: Checked, world: World, interruption: AgreedInterruption) -> RunSummary:
    """Compute this process's part of a run that process 0 records, and return the result that it tells."""
    found = _hear(world)
    if found is not None:
        _compute(config, checked, world, interruption, found["start"])
    summary: RunSummary = _hear(world)
    return summary


def _compute(
    config: RunConfig, checked: Checked, world: World, interruption: AgreedInterruption, start: Checkpoint | None
) -> None:
    """Compute this process's part of the run to its end.

    Raises:
        RunError: It failed here; process 0 learns only that this process has ended.
        BnlabError: An error of bnlab's, unchanged.
    """
    try:
        seed = stream_seed(config.seed, "noise", f"process {world.rank}")
        with computing_with(checked.num_threads, seed, checked.device):
            cohort = assemble_shared(config, checked, world, interruption)
            for _ in train(cohort, checked.plan, start, interruption):
                pass
    except BnlabError:
        raise
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise RunError(f"process {world.rank} of {world.size} failed: {type(error).__name__}: {said}") from error


def _tell(value: Any) -> None:
    dist.broadcast_object_list([value], src=0)


def _hear(world: World) -> Any:
    """Return what process 0 tells next.

    Raises:
        ProcessLostError: It has ended.
        RuntimeError: Another error of torch, unchanged.
    """
    told = [None]
    try:
        dist.broadcast_object_list(told, src=0)
    except RuntimeError as error:
        if not is_of_connection(error):
            raise
        raise ProcessLostError(
            f"process 0 of {world.size}, which records this run, has ended. What it said stands above."
        ) from error
    return told[0]


@contextlib.contextmanager
def _connected(checked: Checked, world: World) -> Iterator[None]:
    """Connect the processes, by gloo on the CPU and NCCL on GPUs."""
    on_gpu = checked.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(checked.device)
    dist.init_process_group("nccl" if on_gpu else "gloo", rank=world.rank, world_size=world.size, timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()
