"""The training loop: yields what happened, and never logs, prints or names a path."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, SplitName
from bnlab.training.cohort import Cohort
from bnlab.training.curve_buffer import Clock, Curves
from bnlab.training.interruption import Interruption


@dataclass(frozen=True)
class Plan:
    """What happens at which step.

    Attributes:
        num_steps: Where the run ends, unless all replicas diverge before.
        batch_size: Images per step, for the speed.
        log_every: Steps per point of the training curve; losses are read off the device only then.
        eval_every: Steps between validations.
        measured_steps: Steps at which diagnostics look.
        heavy_steps: Those of them at which heavy diagnostics look too.
        measures_updates: Some diagnostic compares the weights before and after the last update.
        checkpoint_every: Steps between checkpoints, or None.
        divergence_factor: See `DivergenceWatch`.
        divergence_patience: See `DivergenceWatch`.
    """

    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    measured_steps: frozenset[int]
    heavy_steps: frozenset[int]
    measures_updates: bool
    checkpoint_every: int | None
    divergence_factor: float
    divergence_patience: int

    @functools.cached_property
    def stops(self) -> frozenset[int]:
        """All steps after which there is anything to do but the next step: one look-up keeps the others cheap."""
        periods = [every for every in (self.log_every, self.eval_every, self.checkpoint_every) if every]
        periodic = (range(every, self.num_steps, every) for every in periods)
        return self.measured_steps.union({self.num_steps}, self.kept_steps, *periodic)

    @functools.cached_property
    def kept_steps(self) -> frozenset[int]:
        """Steps after which the weights are kept, to be compared with those after the next one."""
        return frozenset(step - 1 for step in self.measured_steps if step > 0 and self.measures_updates)

    def is_due(self, step: int, every: int | None) -> bool:
        """Whether something that happens every so many steps, and at the end, happens at this one."""
        return every is not None and (step % every == 0 or step == self.num_steps)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that the replicas still in training need to go on from here; to be kept before the next step is made.

    Attributes:
        step: Optimizer steps made.
        states: By replica; tensors and plain values. The tensors are those that training goes on to change.
    """

    step: int
    states: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FinalWeights:
    """A replica's network as it ended.

    Attributes:
        step: Optimizer steps made.
        values: Its parameters and buffers by name.
        replica: Which run of the cohort.
    """

    step: int
    values: dict[str, Tensor]
    replica: int


Event = Record | Checkpoint | FinalWeights


def train(
    cohort: Cohort,
    plan: Plan,
    start: Checkpoint | None = None,
    interruption: Interruption | None = None,
) -> Iterator[Event]:
    """Train a cohort to its end, yielding every fact as it becomes known.

    A replica that diverges ends there: its last figures come out at once, and the others go on without it.

    A start is taken up when this is called, before the first event is asked for: one that is not of this cohort
    raises whatever torch finds wrong with it, and nothing has been trained.

    Args:
        cohort: The replicas; with a start, those of its states, in their order.
        plan: What happens when.
        start: Where an earlier training of these replicas stood.
        interruption: Looked at after every step; where it is asked for, a checkpoint is the last thing that comes out.
    """
    return _events(_Session(cohort, plan, start), plan, start, interruption or Interruption())


def _events(session: "_Session", plan: Plan, start: Checkpoint | None, interruption: Interruption) -> Iterator[Event]:
    if start is None:
        yield from session.evaluated(0, "validation")
        if 0 in plan.measured_steps:
            yield from session.measured(0)
    first = 1 if start is None else start.step + 1
    session.keep_weights(first - 1)
    session.clock.start()
    for step, outcome in enumerate(session.cohort.steps(first - 1), first):
        session.curves.see(*outcome)
        if step not in plan.stops and not interruption.is_asked:
            continue
        # reading the curve waits for the device: that belongs to the time of training, handing it on does not
        points = session.read_curves(step) if plan.is_due(step, plan.log_every) else []
        with session.clock.paused():
            yield from points
            yield from session.clock.read(step, session.replicas) if points else []
            if plan.is_due(step, plan.eval_every):
                yield from session.evaluated(step, "validation")
            if step in plan.measured_steps:
                yield from session.measured(step)
            yield from session.ended(step, session.curves.diverged)
            if step == plan.num_steps or not session.replicas:
                break
            session.keep_weights(step)
            is_last = interruption.is_asked  # kept: it may be asked for between any two lines
            if is_last or (plan.checkpoint_every and step % plan.checkpoint_every == 0):
                yield session.checkpoint(step)
        if is_last:
            return
    yield from session.ended(step, range(len(session.replicas)))


class _Session:
    """A cohort in training, with its curves and its clock; turns what they say into records."""

    def __init__(self, cohort: Cohort, plan: Plan, start: Checkpoint | None) -> None:
        self.cohort = cohort
        self.plan = plan
        self.clock = Clock(plan.batch_size)
        replicas = list(range(cohort.num_replicas)) if start is None else list(start.states)
        self.curves = Curves(replicas, plan.divergence_factor, plan.divergence_patience)
        if start is not None:
            states = list(start.states.values())
            cohort.load_state([state["cohort"] for state in states])
            self.curves.load_state([state["curve"] for state in states])
            self.clock.load_state(states[0]["clock"])

    @property
    def replicas(self) -> list[int]:
        return self.curves.replicas

    def read_curves(self, step: int) -> list[Record]:
        return self.curves.read(step, self.cohort.learning_rate(step))

    def evaluated(self, step: int, split: SplitName, only: Sequence[int] | None = None) -> Iterator[Record]:
        values = self.cohort.evaluate(split)
        for position in range(len(values)) if only is None else only:
            yield EvalRecord(step, split, values[position], self.replicas[position])

    def keep_weights(self, step: int) -> None:
        if step in self.plan.kept_steps:
            self.cohort.keep_weights()

    def measured(self, step: int, only: Sequence[int] | None = None) -> Iterator[Record]:
        measured = self.cohort.measure(step, step in self.plan.heavy_steps)
        for position in range(len(measured)) if only is None else only:
            for name, values in measured[position].items():
                yield DiagnosticRecord(step, name, values, self.replicas[position])

    def ended(self, step: int, positions: Sequence[int]) -> Iterator[Event]:
        """Yield the last figures of some replicas, which then are in training no more."""
        if not positions:
            return
        if step < self.plan.num_steps:  # they diverged, and this step was not planned to be their last
            if not self.plan.is_due(step, self.plan.eval_every):
                yield from self.evaluated(step, "validation", positions)
            if step not in self.plan.measured_steps:
                yield from self.measured(step, positions)
        yield from self.evaluated(step, "test", positions)
        weights = self.cohort.weights()
        for position in positions:
            replica, diverged_at = self.replicas[position], self.curves.watches[position].diverged_at
            yield FinalWeights(step, weights[position], replica)
            if diverged_at is None:
                yield EndRecord(step, "finished", {}, replica)
            else:
                yield EndRecord(step, "diverged", {"diverged_at_step": diverged_at}, replica)
        if len(positions) < len(self.replicas):
            self.cohort.drop(positions)
        self.curves.drop(positions)

    def checkpoint(self, step: int) -> Checkpoint:
        clock = self.clock.state(step)
        parts = zip(self.replicas, self.cohort.state(), self.curves.state(), strict=True)
        states = {replica: {"cohort": own, "curve": curve, "clock": clock} for replica, own, curve in parts}
        return Checkpoint(step, states)
