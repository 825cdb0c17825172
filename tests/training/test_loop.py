import copy
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from folded import folded
from torch import Tensor

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, SplitName, StepRecord, TimingRecord
from bnlab.training.cohort import Cohort
from bnlab.training.interruption import Interruption
from bnlab.training.loop import Checkpoint, FinalWeights, Plan, train


class Scripted(Cohort):
    """Replicas whose losses are written down; the first of two images is always right, the second never."""

    def __init__(self, *losses: list[float]) -> None:
        self.losses = list(losses)
        self.names = list(range(len(losses)))
        self.num_made = 0

    @property
    def num_runs(self) -> int:  # type: ignore[override]
        return len(self.names)

    def steps(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for step in range(start, len(self.losses[0])):
            self.num_made = step + 1
            logits_RBK = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(self.num_runs, 2, 2)
            losses_R = torch.tensor([self.losses[name][step] for name in self.names])
            yield losses_R, logits_RBK, torch.tensor([0, 1]).expand(self.num_runs, 2)

    def evaluate(self, split: SplitName) -> list[dict[str, float]]:  # noqa: ARG002
        return [{"loss": float(name), "accuracy": 0.5} for name in self.names]

    def keep_weights(self) -> None:
        self.num_kept_at = self.num_made

    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:  # noqa: ARG002
        return [{"saturation": {"hidden1": float(name)}} for name in self.names]

    def learning_rate(self, step: int) -> list[float]:
        return [0.1 * step * (name + 1) for name in self.names]

    def weights(self) -> list[dict[str, Tensor]]:
        return [{"weight": torch.tensor(float(name))} for name in self.names]

    def drop(self, positions: Collection[int]) -> None:
        self.names = [name for position, name in enumerate(self.names) if position not in positions]

    def state(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.names]

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        self.names = [state["name"] for state in states]


def plan(num_steps: int, **changes: object) -> Plan:
    values = {
        "log_every": 2,
        "eval_every": 4,
        "measured_steps": frozenset({0, 3}),
        "heavy_steps": frozenset(),
        "measures_updates": False,
        "checkpoint_every": None,
    }
    return Plan(
        num_steps=num_steps, batch_size=2, divergence_factor=3.0, divergence_patience=2, **{**values, **changes}
    )  # type: ignore[arg-type]


def facts(cohort: Cohort, plan: Plan) -> list[Record]:
    records = list(train(cohort, plan))
    assert not any(isinstance(record, Checkpoint) for record in records)
    return [record for record in records if not isinstance(record, TimingRecord | Checkpoint | FinalWeights)]


def test_everything_happens_in_order_at_its_step() -> None:
    assert facts(Scripted([3.0, 1.0, 2.0, 0.0, 5.0]), plan(5)) == [
        EvalRecord(0, "validation", {"loss": 0.0, "accuracy": 0.5}),
        DiagnosticRecord(0, "saturation", {"hidden1": 0.0}),
        StepRecord(2, {"loss": 2.0, "accuracy": 0.5, "lr": 0.2}),
        DiagnosticRecord(3, "saturation", {"hidden1": 0.0}),
        StepRecord(4, {"loss": 1.0, "accuracy": 0.5, "lr": 0.4}),
        EvalRecord(4, "validation", {"loss": 0.0, "accuracy": 0.5}),
        StepRecord(5, {"loss": 5.0, "accuracy": 0.5, "lr": 0.5}),
        EvalRecord(5, "validation", {"loss": 0.0, "accuracy": 0.5}),
        EvalRecord(5, "test", {"loss": 0.0, "accuracy": 0.5}),
        EndRecord(5, "finished", {}),
    ]


class Kept(Scripted):
    """Tells when its weights are kept, and with what it is measured."""

    def __init__(self, *losses: list[float]) -> None:
        super().__init__(*losses)
        self.told: list[tuple[str, int] | tuple[str, int, bool]] = []

    def keep_weights(self) -> None:
        self.told.append(("kept", self.num_made))

    def measure(self, step: int, heavy: bool) -> list[dict[str, dict[str, float]]]:
        self.told.append(("measured", step, heavy))
        return super().measure(step, heavy)


def test_weights_are_kept_right_before_the_update_that_leads_to_a_measured_step() -> None:
    cohort = Kept([1.0] * 6)
    measured = {"measured_steps": frozenset({0, 1, 4}), "heavy_steps": frozenset({0, 4})}
    facts(cohort, plan(6, measures_updates=True, **measured))
    assert cohort.told == [
        ("measured", 0, True),
        ("kept", 0),
        ("measured", 1, False),
        ("kept", 3),
        ("measured", 4, True),
    ]


def test_weights_are_kept_only_where_somebody_compares_them() -> None:
    cohort = Kept([1.0] * 6)
    facts(cohort, plan(6))
    assert cohort.told == [("measured", 0, False), ("measured", 3, False)]


def test_a_training_that_goes_on_from_the_step_before_a_measured_one_keeps_the_weights_first() -> None:
    cohort, planned = Kept([1.0] * 6), plan(6, measures_updates=True, checkpoint_every=2)
    start = next(event for event in train(cohort, planned) if isinstance(event, Checkpoint))
    assert start.step == 2
    other = Kept([1.0] * 6)
    list(train(other, planned, start))
    assert other.told == [("kept", 0), ("measured", 3, False)]  # 0: it has made no step of its own yet


def test_records_carry_the_run_and_a_diverged_one_does_not_stop_the_others() -> None:
    cohort = Scripted([1.0] * 8, [1.0, math.nan] + [1.0] * 6)
    records = facts(cohort, plan(8))
    assert cohort.num_made == 8
    steps = [(record.step, record.run) for record in records if isinstance(record, StepRecord)]
    assert steps == [(2, 0), (2, 1), (4, 0), (6, 0), (8, 0)]
    rates = {r.run: r.values["lr"] for r in records if isinstance(r, StepRecord) and r.step == 2}
    assert rates == {0: 0.2, 1: 0.4}
    ends = [record for record in records if isinstance(record, EndRecord)]
    assert ends == [EndRecord(2, "diverged", {"diverged_at_step": 2}, 1), EndRecord(8, "finished", {}, 0)]


CURVES = [
    [2.0, 1.0, 3.0, 1.0, 2.0, 1.5, 1.0],
    [1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, math.inf],
]


def records_of(records: list[Record], number: int) -> list[str]:
    return [repr(dataclasses.replace(r, run=0)) for r in records if r.run == number]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("num_steps", [6, 7])
def test_a_run_among_others_has_the_records_of_one_alone(number: int, num_steps: int) -> None:
    alone = Scripted(*CURVES)
    alone.names = [number]
    expected = records_of(facts(alone, plan(num_steps)), 0)
    assert records_of(facts(Scripted(*CURVES), plan(num_steps)), number) == expected


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_going_on_from_a_checkpoint_gives_the_records_that_would_have_followed(every: int) -> None:
    planned = plan(7, checkpoint_every=every)
    events = list(train(Scripted(*CURVES), planned))
    checkpoints = [at for at, event in enumerate(events) if isinstance(event, Checkpoint)]
    assert [events[at].step for at in checkpoints] == list(range(every, 7, every))
    for at in checkpoints:
        start = events[at]
        assert isinstance(start, Checkpoint)
        again = list(train(Scripted(*CURVES), planned, copy.deepcopy(start)))
        later = [e for e in events[at + 1 :] if not isinstance(e, TimingRecord | Checkpoint)]
        assert repr([e for e in again if not isinstance(e, TimingRecord | Checkpoint)]) == repr(later)


def test_asked_to_stop_it_makes_one_checkpoint_and_ends_after_it() -> None:
    interruption = Interruption()
    events = []
    for event in train(Scripted(*CURVES), plan(7), interruption=interruption):
        events.append(event)
        if isinstance(event, DiagnosticRecord) and event.step == 3:
            interruption.is_asked = True
    assert isinstance(events[-1], Checkpoint)
    assert events[-1].step == 3
    assert not any(isinstance(event, EndRecord) for event in events)


class AskedWhileLookingOn(Interruption):
    """Asked for between two looks at it: the n-th look is the first that sees it."""

    def __init__(self, at_look: int) -> None:
        self.looks_left = at_look

    @property
    def is_asked(self) -> bool:  # type: ignore[override]
        self.looks_left -= 1
        return self.looks_left < 0


@folded("at_look", range(12))
def test_there_is_a_checkpoint_between_whichever_two_lines_a_stop_is_asked_for(at_look: int) -> None:
    events = list(train(Scripted(*CURVES), plan(7), interruption=AskedWhileLookingOn(at_look)))
    assert isinstance(events[-1], Checkpoint | EndRecord)
    if isinstance(events[-1], EndRecord):
        assert events[-1].step == 7


def test_a_start_of_another_cohort_is_refused_before_anything_happens() -> None:
    cohort = Scripted(*CURVES)
    with pytest.raises(KeyError, match="curve"):
        train(cohort, plan(7), Checkpoint(3, {0: {"cohort": {"name": 0}}}))
    assert cohort.num_made == 0


def test_training_stops_when_all_runs_have_diverged() -> None:
    cohort = Scripted([1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, math.inf, 1.0, 1.0, 1.0])
    records = facts(cohort, plan(7))
    assert cohort.num_made == 4
    ends = [record.values for record in records if isinstance(record, EndRecord)]
    assert ends == [{"diverged_at_step": 3}, {"diverged_at_step": 4}]
    assert [record.split for record in records if isinstance(record, EvalRecord)][-2:] == ["test", "test"]


def test_checkpoints_are_asked_for_at_their_steps() -> None:
    asked = [r.step for r in train(Scripted([1.0] * 7), plan(7, checkpoint_every=3)) if isinstance(r, Checkpoint)]
    assert asked == [3, 6]


def test_the_clock_counts_samples_and_never_runs_backwards() -> None:
    timings = [r.values for r in train(Scripted([1.0] * 6), plan(6)) if isinstance(r, TimingRecord)]
    assert len(timings) == 3
    assert all(values["samples_per_s"] > 0 for values in timings)
    assert sorted(values["train_s"] for values in timings) == [values["train_s"] for values in timings]
    assert all(values["train_s"] <= values["elapsed_s"] for values in timings)
