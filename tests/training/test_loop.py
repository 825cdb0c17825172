import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, SplitName, StepRecord, TimingRecord
from bnlab.training.cohort import Cohort
from bnlab.training.loop import CheckpointDue, Plan, train


class Scripted(Cohort):
    """Replicas whose losses are written down; the first of two images is always right, the second never."""

    def __init__(self, *losses: list[float]) -> None:
        self.losses = losses
        self.num_replicas = len(losses)
        self.num_made = 0

    def steps(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for losses_R in zip(*self.losses, strict=True):
            self.num_made += 1
            logits_RBK = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(self.num_replicas, 2, 2)
            yield torch.tensor(losses_R), logits_RBK, torch.tensor([0, 1]).expand(self.num_replicas, 2)

    def evaluate(self, split: SplitName) -> list[dict[str, float]]:  # noqa: ARG002
        return [{"loss": float(replica), "accuracy": 0.5} for replica in range(self.num_replicas)]

    def measure(self) -> list[dict[str, dict[str, float]]]:
        return [{"saturation": {"hidden1": float(replica)}} for replica in range(self.num_replicas)]

    def learning_rate(self, step: int) -> list[float]:
        return [0.1 * step * (replica + 1) for replica in range(self.num_replicas)]


def plan(num_steps: int, **changes: object) -> Plan:
    values = {"log_every": 2, "eval_every": 4, "measured_steps": frozenset({0, 3}), "checkpoint_every": None}
    return Plan(
        num_steps=num_steps, batch_size=2, divergence_factor=3.0, divergence_patience=2, **{**values, **changes}
    )  # type: ignore[arg-type]


def facts(cohort: Cohort, plan: Plan) -> list[Record]:
    records = list(train(cohort, plan))
    assert not any(isinstance(record, CheckpointDue) for record in records)
    return [record for record in records if not isinstance(record, TimingRecord | CheckpointDue)]


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


def test_records_carry_the_replica_and_a_diverged_one_does_not_stop_the_others() -> None:
    cohort = Scripted([1.0] * 8, [1.0, math.nan] + [1.0] * 6)
    records = facts(cohort, plan(8))
    assert cohort.num_made == 8
    steps = [(record.step, record.replica) for record in records if isinstance(record, StepRecord)]
    assert steps == [(2, 0), (2, 1), (4, 0), (6, 0), (8, 0)]
    rates = {r.replica: r.values["lr"] for r in records if isinstance(r, StepRecord) and r.step == 2}
    assert rates == {0: 0.2, 1: 0.4}
    assert records[-2:] == [EndRecord(8, "finished", {}, 0), EndRecord(8, "diverged", {"diverged_at_step": 2}, 1)]


def test_training_stops_when_all_replicas_have_diverged() -> None:
    cohort = Scripted([1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, math.inf, 1.0, 1.0, 1.0])
    records = facts(cohort, plan(7))
    assert cohort.num_made == 4
    ends = [record.values for record in records if isinstance(record, EndRecord)]
    assert ends == [{"diverged_at_step": 3}, {"diverged_at_step": 4}]
    assert [record.split for record in records if isinstance(record, EvalRecord)][-2:] == ["test", "test"]


def test_checkpoints_are_asked_for_at_their_steps() -> None:
    asked = [r.step for r in train(Scripted([1.0] * 7), plan(7, checkpoint_every=3)) if isinstance(r, CheckpointDue)]
    assert asked == [3, 6]


def test_the_clock_counts_samples_and_never_runs_backwards() -> None:
    timings = [r.values for r in train(Scripted([1.0] * 6), plan(6)) if isinstance(r, TimingRecord)]
    assert len(timings) == 3
    assert all(values["samples_per_s"] > 0 for values in timings)
    assert sorted(values["train_s"] for values in timings) == [values["train_s"] for values in timings]
    assert all(values["train_s"] <= values["elapsed_s"] for values in timings)
