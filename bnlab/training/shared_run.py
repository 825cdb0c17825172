"""One run that several processes share: each computes the gradient of a part of every batch.

The gradients are averaged by DistributedDataParallel, so that all processes make the same step: that of one process
with the whole batch, if no layer mixes samples or the norm's statistics are shared (``norm.sync=true``). Process 0
alone evaluates and measures.

Shape letters: B images of a batch, b of a process's part, K classes.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bnlab.errors import ProcessLostError
from bnlab.norms.synchronized import alone
from bnlab.records import SplitName
from bnlab.training.cohort import SingleRun
from bnlab.training.interruption import Interruption
from bnlab.world import World

LOOK_EVERY = 16
"""Steps between two looks on a GPU whether some process was asked to stop: a look waits for the GPU."""


class AgreedInterruption(Interruption):
    """A request to stop that all processes see after the same step.

    A signal reaches one process earlier than another; if each obeyed by itself, one would wait for the other's
    gradient for ever.

    Args:
        asked: The request that this process receives.
    """

    def __init__(self, asked: Interruption) -> None:
        super().__init__()
        self.asked = asked

    def begin(self) -> None:
        """Tell the request of this process that steps are being made."""
        self.asked.begin()


class SharedRun(SingleRun):
    """A run of which this process computes a part.

    Args:
        world: The processes that share the run; torch.distributed connects them already.
        interruption: The request to stop; it is set here, after the step at which some process was asked.
        **parts: As in `SingleRun`.
    """

    def __init__(self, world: World, interruption: AgreedInterruption, **parts: Any) -> None:
        super().__init__(**parts)
        self.world = world
        self.interruption = interruption
        device = self.probe.inputs.device
        self._shared = DistributedDataParallel(
            self.model,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=self.model.is_foreign,
        )

    def differentiate(
        self, step: int, images: Tensor, labels: Tensor, precise: AbstractContextManager[object]
    ) -> tuple[Tensor, Tensor]:
        """Compute the averaged gradients; return loss and logits of the whole batch.

        Args:
            step: As in `SingleRun`.
            images: The whole batch, of which this process takes its part.
            labels: As in `SingleRun`.
            precise: As in `SingleRun`.

        Raises:
            ProcessLostError: Another process has ended.
        """
        with saying_who_is_missing(self.world, step):
            return self._together(*self._own_part(images, labels, precise), step)

    def _own_part(
        self, images: Tensor, labels: Tensor, precise: AbstractContextManager[object]
    ) -> tuple[Tensor, Tensor]:
        """Compute the averaged gradients; return loss and logits (b, K) of this process's part of each part."""
        self.optimizer.zero_grad()
        losses, logits = [], []
        parts = list(zip(images.chunk(self.accumulation), labels.chunk(self.accumulation), strict=True))
        for number, (part, answers) in enumerate(parts, 1):
            own = slice(self.world.rank, None, self.world.size)
            is_last = number == len(parts)
            with contextlib.nullcontext() if is_last else self._shared.no_sync():
                with precise:
                    logits.append(self._shared(part[own]))
                    losses.append(self.loss(logits[-1], answers[own]))
                (losses[-1] / self.accumulation).backward()  # type: ignore[no-untyped-call]
            logits[-1], losses[-1] = logits[-1].detach(), losses[-1].detach()
        return torch.stack(losses).mean(), torch.cat(logits)

    def _together(self, loss: Tensor, logits: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits (B, K) of all processes, and agree on whether to stop."""
        sums = torch.stack([loss.double(), loss.new_tensor(float(self.interruption.asked.is_asked)).double()])
        dist.all_reduce(sums)
        if (sums.is_cpu or step % LOOK_EVERY == 0) and sums[1] > 0:
            self.interruption.is_asked = True
            self.interruption.signals = self.interruption.asked.signals
        of_all = [torch.empty_like(logits) for _ in range(self.world.size)]
        dist.all_gather(of_all, logits.contiguous())
        # process r has the images r, r + W, r + 2W ... of each part, and the parts have equal sizes
        return (sums[0] / self.world.size).to(loss.dtype), torch.stack(of_all, 1).flatten(0, 1)

    def evaluate(self, split: SplitName) -> list[dict[str, float]]:
        """Return loss and accuracy over a split in process 0, and nothing in the others."""
        if not self.world.leads:
            return [{}]
        with alone():
            return super().evaluate(split)

    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:
        """Return diagnostic -> layer -> value in process 0, by itself alone, and nothing in the others."""
        if not self.world.leads:
            self._kept = None
            return [{}]
        with alone():
            return super().measure(step, heavy)

    def state(self) -> list[dict[str, Any]]:
        """Return what the run needs to resume, with the random state of each process."""
        (state,) = super().state()
        noises: list[Any] = [None] * self.world.size
        dist.all_gather_object(noises, state["noise"])
        return [{**state, "noise_of_processes": noises}]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Replace the run's state, and the random state of this process."""
        (state,) = states
        super().load_state([{**state, "noise": state["noise_of_processes"][self.world.rank]}])


@contextlib.contextmanager
def saying_who_is_missing(world: World, step: int) -> Iterator[None]:
    """Turn the errors of torch.distributed, whose other processes are gone, into one sentence.

    Args:
        world: The processes that share the run.
        step: The step that was being made.

    Raises:
        ProcessLostError: Another process has ended.
        RuntimeError: Another error of torch, unchanged.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_of_connection(error):
            raise
        raise ProcessLostError(
            f"another of the {world.size} processes that share this run ended at step {step:,}: without its part of "
            "the batch there is no gradient. What it said stands above."
        ) from error


def is_of_connection(error: RuntimeError) -> bool:
    """Return whether an error says that another process cannot be reached.

    Args:
        error: An error that a collective operation, or a backward pass with one in it, raised.
    """
    said = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in said for word in ("gloo", "nccl", "connection closed by peer", "connection reset", "broken pipe")
    )
