"""The training loop: yields records, and never logs, prints or names a path."""

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
    """The steps at which the loop logs, evaluates, measures and saves.

    Attributes:
        num_steps: The last step, unless all runs diverge before.
        batch_size: Images per step and run, from which the speed is computed.
        log_every: Steps per point of the training curve; losses are copied from the device only then.
        eval_every: Steps between two evaluations on the validation split.
        measured_steps: The steps at which diagnostics measure; 0 is before the first update.
        heavy_steps: The subset of ``measured_steps`` at which heavy diagnostics measure too.
        measures_updates: Whether some diagnostic compares the weights before and after the last update.
        checkpoint_every: Steps between two checkpoints; None: no checkpoint during training.
        divergence_factor: As in `DivergenceWatch`, for each run.
        divergence_patience: As in `DivergenceWatch`, for each run.
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
        """The steps after which anything but the next step happens. One look-up in this set keeps the others cheap."""
        periods = [every for every in (self.log_every, self.eval_every, self.checkpoint_every) if every]
        periodic = (range(every, self.num_steps, every) for every in periods)
        return self.measured_steps.union({self.num_steps}, self.kept_steps, *periodic)

    @functools.cached_property
    def kept_steps(self) -> frozenset[int]:
        """The steps after which the weights are copied, to be compared with those after the next step."""
        return frozenset(step - 1 for step in self.measured_steps if step > 0 and self.measures_updates)

    def is_due(self, step: int, every: int | None) -> bool:
        """Return whether an action with this period, which also happens at the last step, happens at this step."""
        return every is not None and (step % every == 0 or step == self.num_steps)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of all runs still in training. Write it before the next step, which changes its tensors in place.

    Attributes:
        step: Optimizer steps made so far.
        states: Position of a run in its cohort -> its state, of tensors and plain values.
    """

    step: int
    states: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FinalWeights:
    """The network of a run at its end.

    Attributes:
        step: Optimizer steps made until the end.
        values: Parameters and buffers by their names in the network.
        run: The position of the run in its cohort, from 0.
    """

    step: int
    values: dict[str, Tensor]
    run: int


Event = Record | Checkpoint | FinalWeights


def train(
    cohort: Cohort,
    plan: Plan,
    start: Checkpoint | None = None,
    interruption: Interruption | None = None,
) -> Iterator[Event]:
    """Train a cohort to its end, yielding each record as soon as it is known.

    A run that diverges ends at that step: its last records are yielded at once, and the others continue without it.

    The checkpoint is loaded when this function is called, before the first event is requested. If it does not fit the
    cohort, torch's error is raised, and nothing has been trained.

    Args:
        cohort: The runs to train; with a checkpoint, the runs of its states, in their order.
        plan: The steps at which to log, evaluate, measure and save.
        start: The checkpoint to resume from; None: training begins at step 0.
        interruption: Checked after every step; once it is requested, a checkpoint is yielded as the last event. None:
            training runs to its end.
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
    interruption.begin()
    for step, outcome in enumerate(session.cohort.steps(first - 1), first):
        session.curves.see(*outcome)
        if step not in plan.stops and not interruption.is_asked:
            continue
        # reading the curve waits for the device, which is training time; writing records is not
        points = session.read_curves(step) if plan.is_due(step, plan.log_every) else []
        with session.clock.paused():
            yield from points
            yield from session.clock.read(step, session.runs) if points else []
            if plan.is_due(step, plan.eval_every):
                yield from session.evaluated(step, "validation")
            if step in plan.measured_steps:
                yield from session.measured(step)
            yield from session.ended(step, session.curves.diverged)
            if step == plan.num_steps or not session.runs:
                break
            session.keep_weights(step)
            is_last = interruption.is_asked  # read once: a signal may set it between any two lines
            if is_last or (plan.checkpoint_every and step % plan.checkpoint_every == 0):
                yield session.checkpoint(step)
        if is_last:
            return
    yield from session.ended(step, range(len(session.runs)))


class _Session:
    """A cohort in training, with its curves and its clock; turns their values into records."""

    def __init__(self, cohort: Cohort, plan: Plan, start: Checkpoint | None) -> None:
        self.cohort = cohort
        self.plan = plan
        self.clock = Clock(plan.batch_size)
        runs = list(range(cohort.num_runs)) if start is None else list(start.states)
        self.curves = Curves(runs, plan.divergence_factor, plan.divergence_patience)
        if start is not None:
            states = list(start.states.values())
            cohort.load_state([state["cohort"] for state in states])
            self.curves.load_state([state["curve"] for state in states])
            self.clock.load_state(states[0]["clock"])

    @property
    def runs(self) -> list[int]:
        return self.curves.runs

    def read_curves(self, step: int) -> list[Record]:
        return self.curves.read(step, self.cohort.learning_rate(step))

    def evaluated(self, step: int, split: SplitName, only: Sequence[int] | None = None) -> Iterator[Record]:
        values = self.cohort.evaluate(split)
        for position in range(len(values)) if only is None else only:
            yield EvalRecord(step, split, values[position], self.runs[position])

    def keep_weights(self, step: int) -> None:
        if step in self.plan.kept_steps:
            self.cohort.keep_weights()

    def measured(self, step: int, only: Sequence[int] | None = None) -> Iterator[Record]:
        measured = self.cohort.measure(step, step in self.plan.heavy_steps)
        for position in range(len(measured)) if only is None else only:
            for name, values in measured[position].items():
                yield DiagnosticRecord(step, name, values, self.runs[position])

    def ended(self, step: int, positions: Sequence[int]) -> Iterator[Event]:
        """Yield the last records of some runs, and remove these runs from training."""
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
            run, diverged_at = self.runs[position], self.curves.watches[position].diverged_at
            yield FinalWeights(step, weights[position], run)
            if diverged_at is None:
                yield EndRecord(step, "finished", {}, run)
            else:
                yield EndRecord(step, "diverged", {"diverged_at_step": diverged_at}, run)
        if len(positions) < len(self.runs):
            self.cohort.drop(positions)
        self.curves.drop(positions)

    def checkpoint(self, step: int) -> Checkpoint:
        clock = self.clock.state(step)
        parts = zip(self.runs, self.cohort.state(), self.curves.state(), strict=True)
        states = {run: {"cohort": own, "curve": curve, "clock": clock} for run, own, curve in parts}
        return Checkpoint(step, states)
