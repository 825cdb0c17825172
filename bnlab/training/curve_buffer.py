"""Losses and logits since the last point of the training curves: kept on the device, and read from it at once.

Shape letters: T steps since the curves were read, R runs, B batch, K classes.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnlab.records import Record, StepRecord, TimingRecord
from bnlab.training.divergence import DivergenceWatch


class Curves:
    """The training curves of the runs still in training, and which of them have diverged.

    Args:
        runs: The positions in the cohort of the runs in training; records carry them.
        divergence_factor: As in `DivergenceWatch`, for each run.
        divergence_patience: As in `DivergenceWatch`, for each run.
    """

    def __init__(self, runs: Sequence[int], divergence_factor: float, divergence_patience: int) -> None:
        self.runs = list(runs)
        self.watches = [DivergenceWatch(divergence_factor, divergence_patience) for _ in runs]
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._read_losses_TR = torch.empty(0, len(runs), dtype=torch.float64)
        self._num_right_TR = torch.empty(0, len(runs), dtype=torch.int64)
        self._batch_size = 1

    def see(self, losses_R: Tensor, logits_RBK: Tensor, labels_RB: Tensor) -> None:
        """Keep the results of one step; nothing is copied from the device."""
        self._losses.append(losses_R)
        self._logits.append(logits_RBK)
        self._labels.append(labels_RB)

    def _copy_from_device(self) -> None:
        if not self._losses:
            return
        num_runs = len(self.runs)
        losses_TR = torch.stack(self._losses).view(-1, num_runs).cpu().double()
        # argmax over all steps at once: one operation per point of the curve, not one per step
        is_right = torch.stack(self._logits).argmax(-1) == torch.stack(self._labels)
        is_right_TRB = is_right.view(len(losses_TR), num_runs, -1)
        self._batch_size = is_right_TRB.shape[-1]
        self._read_losses_TR = torch.cat([self._read_losses_TR, losses_TR])
        self._num_right_TR = torch.cat([self._num_right_TR, is_right_TRB.sum(-1).cpu()])
        for window in (self._losses, self._logits, self._labels):
            window.clear()

    def read(self, step: int, learning_rates: Sequence[float]) -> list[Record]:
        """Return a point of each run's curve, over the steps since the last one; the watches get every loss."""
        self._copy_from_device()
        num_images = len(self._num_right_TR) * self._batch_size
        points: list[Record] = []
        for position, (run, watch) in enumerate(zip(self.runs, self.watches, strict=True)):
            losses_T = self._read_losses_TR[:, position]
            watch.see(losses_T.tolist())
            accuracy = self._num_right_TR[:, position].sum().item() / num_images
            values = {"loss": losses_T.mean().item(), "accuracy": accuracy, "lr": learning_rates[position]}
            points.append(StepRecord(step, values, run))
        self._read_losses_TR, self._num_right_TR = self._read_losses_TR[:0], self._num_right_TR[:0]
        return points

    @property
    def diverged(self) -> list[int]:
        """The positions of the runs that have diverged."""
        return [position for position, watch in enumerate(self.watches) if watch.diverged_at is not None]

    def drop(self, positions: Collection[int]) -> None:
        """Remove these runs. Call it right after `read`, when no step of theirs is left."""
        left = [position for position in range(len(self.runs)) if position not in positions]
        self.runs = [self.runs[position] for position in left]
        self.watches = [self.watches[position] for position in left]
        self._read_losses_TR, self._num_right_TR = self._read_losses_TR[:, left], self._num_right_TR[:, left]

    def state(self) -> list[dict[str, Any]]:
        """Return, per run, the steps since the last point and the state of its watch, as plain values."""
        self._copy_from_device()
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
        """Replace the state of each run by one that `state` returned."""
        self._read_losses_TR = torch.tensor([state["losses"] for state in states], dtype=torch.float64).T.contiguous()
        self._num_right_TR = torch.tensor([state["num_right"] for state in states], dtype=torch.int64).T.contiguous()
        self._batch_size = states[0]["batch_size"]
        for watch, state in zip(self.watches, states, strict=True):
            watch.load_state(state["watch"])


class Clock:
    """Wall time, and the part of it spent in optimizer steps. The runs of a cohort share both.

    Args:
        batch_size: The number of images per step and run.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began = self._running_since = time.perf_counter()
        self._train_s = 0.0
        self._last_step, self._last_train_s = 0, 0.0

    def start(self) -> None:
        """Begin to count training time."""
        self._running_since = time.perf_counter()

    def paused(self) -> "Clock":
        """Return a context in which no training time is counted."""
        return self

    def __enter__(self) -> None:
        self._train_s += time.perf_counter() - self._running_since

    def __exit__(self, *_: object) -> None:
        self.start()

    def read(self, step: int, runs: Sequence[int]) -> Iterator[Record]:
        """Yield a timing record for each run. The clock must be paused."""
        speed = (step - self._last_step) * self._batch_size / max(self._train_s - self._last_train_s, 1e-9)
        self._last_step, self._last_train_s = step, self._train_s
        values = {
            "elapsed_s": time.perf_counter() - self._began,
            "train_s": self._train_s,
            "samples_per_s": speed,
        }
        for run in runs:
            yield TimingRecord(step, dict(values), run)

    def state(self, step: int) -> dict[str, Any]:
        """Return the times so far. The clock must be paused."""
        return {"step": step, "elapsed_s": time.perf_counter() - self._began, "train_s": self._train_s}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the times that `state` returned."""
        self._began = time.perf_counter() - state["elapsed_s"]
        self._train_s = self._last_train_s = state["train_s"]
        self._last_step = state["step"]
