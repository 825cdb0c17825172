"""What has happened since a cohort's training curves were last read: kept on the device, read in one go.

Shape letters: T steps since the curves were read, R replicas, B batch, K classes.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnlab.records import Record, StepRecord, TimingRecord
from bnlab.training.divergence import DivergenceWatch


class Curves:
    """The training curves of the replicas still in training, and who of them has diverged.

    Args:
        replicas: Which runs of the cohort, for the records.
        divergence_factor: See `DivergenceWatch`.
        divergence_patience: See `DivergenceWatch`.
    """

    def __init__(self, replicas: Sequence[int], divergence_factor: float, divergence_patience: int) -> None:
        self.replicas = list(replicas)
        self.watches = [DivergenceWatch(divergence_factor, divergence_patience) for _ in replicas]
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._read_losses_TR = torch.empty(0, len(replicas), dtype=torch.float64)
        self._num_right_TR = torch.empty(0, len(replicas), dtype=torch.int64)
        self._batch_size = 1

    def see(self, losses_R: Tensor, logits_RBK: Tensor, labels_RB: Tensor) -> None:
        """Take what came out of one step; nothing is read off the device."""
        self._losses.append(losses_R)
        self._logits.append(logits_RBK)
        self._labels.append(labels_RB)

    def _read_off_the_device(self) -> None:
        if not self._losses:
            return
        num_replicas = len(self.replicas)
        losses_TR = torch.stack(self._losses).view(-1, num_replicas).cpu().double()
        # argmax over the whole window at once: one operation per point of the curve, not one per step
        is_right = torch.stack(self._logits).argmax(-1) == torch.stack(self._labels)
        is_right_TRB = is_right.view(len(losses_TR), num_replicas, -1)
        self._batch_size = is_right_TRB.shape[-1]
        self._read_losses_TR = torch.cat([self._read_losses_TR, losses_TR])
        self._num_right_TR = torch.cat([self._num_right_TR, is_right_TRB.sum(-1).cpu()])
        for window in (self._losses, self._logits, self._labels):
            window.clear()

    def read(self, step: int, learning_rates: Sequence[float]) -> list[Record]:
        """Return a point of each replica's curve, and begin the next one; the watches see every loss."""
        self._read_off_the_device()
        num_images = len(self._num_right_TR) * self._batch_size
        points: list[Record] = []
        for position, (replica, watch) in enumerate(zip(self.replicas, self.watches, strict=True)):
            losses_T = self._read_losses_TR[:, position]
            watch.see(losses_T.tolist())
            accuracy = self._num_right_TR[:, position].sum().item() / num_images
            values = {"loss": losses_T.mean().item(), "accuracy": accuracy, "lr": learning_rates[position]}
            points.append(StepRecord(step, values, replica))
        self._read_losses_TR, self._num_right_TR = self._read_losses_TR[:0], self._num_right_TR[:0]
        return points

    @property
    def diverged(self) -> list[int]:
        """The positions of the replicas that have diverged."""
        return [position for position, watch in enumerate(self.watches) if watch.diverged_at is not None]

    def drop(self, positions: Collection[int]) -> None:
        """Go on without these replicas; just after reading, when there is nothing of theirs to keep."""
        left = [position for position in range(len(self.replicas)) if position not in positions]
        self.replicas = [self.replicas[position] for position in left]
        self.watches = [self.watches[position] for position in left]
        self._read_losses_TR, self._num_right_TR = self._read_losses_TR[:, left], self._num_right_TR[:, left]

    def state(self) -> list[dict[str, Any]]:
        """Return, per replica, the point that is being made and what its watch knows, as plain values."""
        self._read_off_the_device()
        return [
            {
                "losses": self._read_losses_TR[:, position].tolist(),
                "num_right": self._num_right_TR[:, position].tolist(),
                "batch_size": self._batch_size,
                "watch": watch.state(),
            }
            for position, watch in enumerate(self.watches)
        ]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from such states."""
        self._read_losses_TR = torch.tensor([state["losses"] for state in states], dtype=torch.float64).T.contiguous()
        self._num_right_TR = torch.tensor([state["num_right"] for state in states], dtype=torch.int64).T.contiguous()
        self._batch_size = states[0]["batch_size"]
        for watch, state in zip(self.watches, states, strict=True):
            watch.load_state(state["watch"])


class Clock:
    """Wall time, and of it the time spent in optimizer steps. A cohort's runs share both.

    Args:
        batch_size: Images per step and run.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began = self._running_since = time.perf_counter()
        self._train_s = 0.0
        self._last_step, self._last_train_s = 0, 0.0

    def start(self) -> None:
        """Count from now on."""
        self._running_since = time.perf_counter()

    def paused(self) -> "Clock":
        """Return a context in which nothing is counted."""
        return self

    def __enter__(self) -> None:
        self._train_s += time.perf_counter() - self._running_since

    def __exit__(self, *_: object) -> None:
        self.start()

    def read(self, step: int, replicas: Sequence[int]) -> Iterator[Record]:
        """Yield what it says, while paused, for each replica."""
        speed = (step - self._last_step) * self._batch_size / max(self._train_s - self._last_train_s, 1e-9)
        self._last_step, self._last_train_s = step, self._train_s
        values = {
            "elapsed_s": time.perf_counter() - self._began,
            "train_s": self._train_s,
            "samples_per_s": speed,
        }
        for replica in replicas:
            yield TimingRecord(step, dict(values), replica)

    def state(self, step: int) -> dict[str, Any]:
        """Return what it says, while paused."""
        return {"step": step, "elapsed_s": time.perf_counter() - self._began, "train_s": self._train_s}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what it said."""
        self._began = time.perf_counter() - state["elapsed_s"]
        self._train_s = self._last_train_s = state["train_s"]
        self._last_step = state["step"]
