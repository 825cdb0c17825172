"""The interface between the training loop and the runs that it trains together; and the simplest cohort, one run.

The loop in loop.py is written for R runs and uses only this interface. A single run is trained as a plain module with a
plain optimizer, because stacking would halve its speed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlab.data.loader import Batches
from bnlab.data.splits import DataSet
from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Moment, ProbeBatch
from bnlab.diagnostics.measuring import diagnostics_due, measure_all
from bnlab.diagnostics.passes import Named
from bnlab.models.network import Network
from bnlab.records import SplitName
from bnlab.training.evaluate import evaluate
from bnlab.training.muon import MuonAndAdamW
from bnlab.training.precision import autocast


class Cohort(ABC):
    """R runs that advance together, one optimizer step at a time.

    Attributes:
        num_runs: R, the number of runs still in training; they have the positions 0 to R - 1.
    """

    num_runs: int

    @abstractmethod
    def steps(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Make optimizer steps without end; yield losses (R,), logits (R, B, K) and labels (R, B) of each step.

        They belong to the mini-batch before the update, and stay on the device. A single run may leave out the axis
        R, which saves three views per step.

        Args:
            start: The number of steps made before, which decides the learning rate.
        """

    @abstractmethod
    def evaluate(self, split: SplitName) -> list[dict[str, float]]:
        """Return loss and accuracy over a split for each run."""

    @abstractmethod
    def keep_weights(self) -> None:
        """Copy the weights, for diagnostics that compare them with the weights after the next step."""

    @abstractmethod
    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:
        """Return diagnostic -> layer -> value for each run.

        Args:
            step: The number of optimizer steps made so far.
            heavy: Also run the diagnostics whose cost is ``heavy``.
        """

    @abstractmethod
    def learning_rate(self, step: int) -> list[float]:
        """Return the learning rate of the step-th update, counted from 1, for each run."""

    @abstractmethod
    def weights(self) -> list[dict[str, Tensor]]:
        """Return the parameters and buffers of each run's network, by their names in it."""

    @abstractmethod
    def drop(self, positions: Collection[int]) -> None:
        """Remove these runs from training; the others take the positions 0 to R - 1. One run must stay."""

    @abstractmethod
    def state(self) -> list[dict[str, Any]]:
        """Return what each run needs to resume with the same bits as if it had not stopped.

        Tensors and plain values only: ``model``, ``optimizer``, ``batches``, ``noise`` and ``diagnostics``.
        """

    @abstractmethod
    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Replace the state of each run by one that `state` returned."""


class SingleRun(Cohort):
    """One run: a plain module with a plain optimizer.

    Args:
        model: The network, on its device.
        data: The three splits, on the same device.
        batches: The stream of mini-batches from ``data.train``.
        optimizer: The optimizer of all parameters of the model that require gradients.
        lr: The learning rate that the schedule multiplies, above 0.
        schedule: Step (from 0) -> factor on ``lr``.
        accumulation: The number of equal parts that a batch is cut into; 1: the batch stays whole.
        clip_norm: The largest norm of the whole gradient, by the parameters that are trained; a longer one is scaled
            down. None: no clipping.
        precision: ``float32``, or ``bfloat16`` for autocast.
        label_smoothing: The share of each label that is spread over all classes, in training.
        mirrored_evaluation: As in `evaluate`, for both splits.
        diagnostics: The diagnostics to measure, in order.
        probe: The fixed held-out batch, and training batches, that all diagnostics get.
    """

    num_runs = 1

    def __init__(
        self,
        *,
        model: Network,
        data: DataSet,
        batches: Batches,
        optimizer: torch.optim.Optimizer | MuonAndAdamW,
        lr: float,
        schedule: Callable[[int], float],
        accumulation: int,
        clip_norm: float | None,
        precision: str,
        label_smoothing: float,
        mirrored_evaluation: bool,
        diagnostics: Sequence[Diagnostic],
        probe: ProbeBatch,
    ) -> None:
        self.model = model
        self.data = data
        self.batches = batches
        self.optimizer = optimizer
        self.lr = lr
        self.schedule = schedule
        self.accumulation = accumulation
        self.clip_norm = clip_norm
        self.precision = precision
        self.label_smoothing = label_smoothing
        self.mirrored_evaluation = mirrored_evaluation
        self.diagnostics = diagnostics
        self.probe = probe
        self._memories: dict[str, Named] = {}
        self._kept: Named | None = None
        self._batch: Batch | None = None

    def learning_rate(self, step: int) -> list[float]:
        """Return the learning rate of the step-th update, counted from 1."""
        return [self.lr * self.schedule(step - 1)]

    def steps(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Make optimizer steps without end."""
        self.model.train()
        precise = autocast(self.precision, self.data.train.images.device)
        for step, (images, labels) in enumerate(self.batches, start + 1):
            loss, logits = self.differentiate(step, images, labels, precise)
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            (lr,) = self.learning_rate(step)
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group.get("lr_share", 1.0)
            self.optimizer.step()
            self._batch = Batch(images, labels)
            yield loss.detach(), logits.detach(), labels

    def differentiate(
        self,
        step: int,  # noqa: ARG002  (for runs that processes share)
        images: Tensor,
        labels: Tensor,
        precise: AbstractContextManager[object],
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch; return its loss and its logits (B, K).

        Args:
            step: The step that is being made, counted from 1.
            images: The images of the batch, (B, ...).
            labels: Their classes, (B,).
            precise: The context of the run's precision, for forward passes.
        """
        if self.accumulation > 1:
            return self._accumulate(images, labels, precise)
        with precise:
            logits = self.model(images)
            loss = self.loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss, logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy that is trained on, (), of logits (B, K) and classes (B,)."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def _accumulate(
        self, images: Tensor, labels: Tensor, precise: AbstractContextManager[object]
    ) -> tuple[Tensor, Tensor]:
        """Average the gradients of a batch's parts, one at a time; return loss and logits of the whole batch.

        The parts are of equal size, so the mean of their means is the mean over the batch.
        """
        self.optimizer.zero_grad()
        losses, logits = [], []
        for part, answers in zip(images.chunk(self.accumulation), labels.chunk(self.accumulation), strict=True):
            with precise:
                logits.append(self.model(part))
                losses.append(self.loss(logits[-1], answers))
            (losses[-1] / self.accumulation).backward()  # type: ignore[no-untyped-call]
            logits[-1], losses[-1] = logits[-1].detach(), losses[-1].detach()  # else the graph would stay in memory
        return torch.stack(losses).mean(), torch.cat(logits)

    def evaluate(self, split: SplitName) -> list[dict[str, float]]:
        """Return loss and accuracy over a split."""
        values = evaluate(self.model, getattr(self.data, split), self.precision, self.mirrored_evaluation)
        return [{name: value.item() for name, value in values.items()}]

    def keep_weights(self) -> None:
        """Copy the weights."""
        self._kept = {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:
        """Return diagnostic -> layer -> value."""
        (lr,) = self.learning_rate(max(step, 1))
        moment = Moment(self._kept, self._batch, torch.tensor(lr, device=self.probe.inputs.device))
        due = diagnostics_due(self.diagnostics, heavy)
        measured = measure_all(due, self.model, self.model, self.probe, moment, self._memories)
        self._kept = None
        return [{name: {role: v.item() for role, v in values.items()} for name, values in measured.items()}]

    def weights(self) -> list[dict[str, Tensor]]:
        """Return the network's parameters and buffers."""
        return [self.model.state_dict()]

    def drop(self, positions: Collection[int]) -> None:
        """Accept nothing to drop: the only run stays."""
        assert not positions

    def state(self) -> list[dict[str, Any]]:
        """Return what the run needs to resume."""
        device = self.probe.inputs.device
        noise = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            noise["cuda"] = torch.cuda.get_rng_state(device)
        return [
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "batches": self.batches.state(),
                "noise": noise,
                "diagnostics": self._memories,
            }
        ]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Replace the run's state, and torch's global random state, which noise is drawn from."""
        (state,) = states
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state(state["batches"])
        self._memories = dict(state["diagnostics"])
        torch.set_rng_state(state["noise"]["cpu"])
        if "cuda" in state["noise"]:
            torch.cuda.set_rng_state(state["noise"]["cuda"], self.probe.inputs.device)
