"""The training loop: yields what happened, and never logs, prints or names a path."""

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, SplitName, StepRecord, TimingRecord
from bnlab.training.cohort import Cohort
from bnlab.training.divergence import DivergenceWatch


@dataclass(frozen=True)
class Plan:
    """What happens at which step.

    Attributes:
        num_steps: Where the run ends, unless all replicas diverge before.
        batch_size: Images per step, for the speed.
        log_every: Steps per point of the training curve; losses are read off the device only then.
        eval_every: Steps between validations.
        measured_steps: Steps at which diagnostics look.
        checkpoint_every: Steps between checkpoints, or None.
        divergence_factor: See `DivergenceWatch`.
        divergence_patience: See `DivergenceWatch`.
    """

    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    measured_steps: frozenset[int]
    checkpoint_every: int | None
    divergence_factor: float
    divergence_patience: int

    @functools.cached_property
    def stops(self) -> frozenset[int]:
        """All steps after which there is anything to do but the next step: one look-up keeps the others cheap."""
        periods = [every for every in (self.log_every, self.eval_every, self.checkpoint_every) if every]
        periodic = (range(every, self.num_steps, every) for every in periods)
        return self.measured_steps.union({self.num_steps}, *periodic)

    def is_due(self, step: int, every: int | None) -> bool:
        """Whether something that happens every so many steps, and at the end, happens at this one."""
        return every is not None and (step % every == 0 or step == self.num_steps)


@dataclass(frozen=True, slots=True)
class CheckpointDue:
    """Asks whoever consumes the loop to keep the weights as they are now."""

    step: int


def train(cohort: Cohort, plan: Plan) -> Iterator[Record | CheckpointDue]:
    """Train a cohort to its end, yielding every fact as it becomes known.

    Args:
        cohort: The replicas.
        plan: What happens when.
    """
    clock = _Clock(plan.batch_size)
    curves = _Curves(cohort.num_replicas, plan)
    yield from _evaluated(cohort, 0, "validation")
    if 0 in plan.measured_steps:
        yield from _measured(cohort, 0)
    step = 0
    clock.start()
    for step, (losses_R, logits_RBK, labels_RB) in enumerate(cohort.steps(), 1):
        curves.see(losses_R, logits_RBK, labels_RB)
        if step not in plan.stops:
            continue
        # reading the curve waits for the device: that belongs to the time of training, handing it on does not
        points = curves.read(step, cohort.learning_rate(step)) if plan.is_due(step, plan.log_every) else []
        with clock.paused():
            yield from points
            yield from clock.read(step, cohort.num_replicas) if points else []
            if plan.is_due(step, plan.eval_every) or curves.all_diverged:
                yield from _evaluated(cohort, step, "validation")
            if step in plan.measured_steps or curves.all_diverged:
                yield from _measured(cohort, step)
            if plan.checkpoint_every and step % plan.checkpoint_every == 0:
                yield CheckpointDue(step)
        if step == plan.num_steps or curves.all_diverged:
            break
    yield from _evaluated(cohort, step, "test")
    yield from curves.endings(step)


def _evaluated(cohort: Cohort, step: int, split: SplitName) -> Iterator[Record]:
    for replica, values in enumerate(cohort.evaluate(split)):
        yield EvalRecord(step, split, values, replica)


def _measured(cohort: Cohort, step: int) -> Iterator[Record]:
    for replica, measured in enumerate(cohort.measure()):
        for name, values in measured.items():
            yield DiagnosticRecord(step, name, values, replica)


class _Curves:
    """The training curves since they were last read, and who has diverged. Stays on the device until read."""

    def __init__(self, num_replicas: int, plan: Plan) -> None:
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._watches = [DivergenceWatch(plan.divergence_factor, plan.divergence_patience) for _ in range(num_replicas)]

    @property
    def all_diverged(self) -> bool:
        return all(watch.diverged_at is not None for watch in self._watches)

    def see(self, losses_R: Tensor, logits_RBK: Tensor, labels_RB: Tensor) -> None:
        self._losses.append(losses_R)
        self._logits.append(logits_RBK)
        self._labels.append(labels_RB)

    def read(self, step: int, learning_rates: list[float]) -> list[Record]:
        num_replicas = len(self._watches)
        losses_TR = torch.stack(self._losses).view(-1, num_replicas).cpu().double()
        # argmax over the whole window at once: one operation per point of the curve, not one per step
        is_right = torch.stack(self._logits).argmax(-1) == torch.stack(self._labels)
        accuracy_R = is_right.view(len(losses_TR), num_replicas, -1).cpu().double().mean((0, 2))
        for window in (self._losses, self._logits, self._labels):
            window.clear()
        points: list[Record] = []
        for replica, watch in enumerate(self._watches):
            if watch.diverged_at is None:  # a diverged replica's curve ends where it diverged
                watch.see(losses_TR[:, replica].tolist())
                values = {"loss": losses_TR[:, replica].mean().item(), "accuracy": accuracy_R[replica].item()}
                points.append(StepRecord(step, {**values, "lr": learning_rates[replica]}, replica))
        return points

    def endings(self, step: int) -> Iterator[Record]:
        for replica, watch in enumerate(self._watches):
            if watch.diverged_at is None:
                yield EndRecord(step, "finished", {}, replica)
            else:
                yield EndRecord(step, "diverged", {"diverged_at_step": watch.diverged_at}, replica)


class _Clock:
    """Wall time, and of it the time spent in optimizer steps."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began = time.perf_counter()
        self._train_s = 0.0
        self._running_since = self._began
        self._last_step, self._last_train_s = 0, 0.0

    def start(self) -> None:
        self._running_since = time.perf_counter()

    def paused(self) -> "_Clock":
        return self

    def __enter__(self) -> None:
        self._train_s += time.perf_counter() - self._running_since

    def __exit__(self, *_: object) -> None:
        self.start()

    def read(self, step: int, num_replicas: int) -> Iterator[Record]:
        train_s = self._train_s
        num_samples = (step - self._last_step) * self._batch_size
        speed = num_samples / max(train_s - self._last_train_s, 1e-9)
        self._last_step, self._last_train_s = step, train_s
        for replica in range(num_replicas):
            values = {
                "elapsed_s": time.perf_counter() - self._began,
                "train_s": train_s,
                "samples_per_s": speed,
            }
            yield TimingRecord(step, values, replica)
