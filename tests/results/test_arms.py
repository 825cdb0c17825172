"""The one rule: what an arm is, what the outcome of a run is, which rate is best, and what is missing."""

import math
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import run_folder
from written_runs import write_planned, write_runs

from bnlab.results.arms import Arm, SweepArms, label_of
from bnlab.results.sweep import read_sweep
from bnlab.sweeps.plan import plan_sweep


def arms_in(folder: Path) -> SweepArms:
    return read_sweep(folder).read_arms()


def best_of(arm: Arm) -> float | None:
    best = arm.best()
    return None if best is None else best.lr


def one_of_three_diverges_at_1(_: str, lr: float, seed: int) -> dict[str, Any]:
    """At 0.1 all end with 0.5; at 1 two with 0.1, and one diverges: (0.1 + 0.1 + 2.3) / 3 = 0.83."""
    if lr == 1.0 and seed == 0:
        return {"status": "diverged", "loss": float("nan"), "accuracy": 0.6, "start_loss": 2.3, "start_accuracy": 0.1}
    return {"loss": {0.01: 1.0, 0.1: 0.5, 1.0: 0.1}[lr], "accuracy": 0.7}


def test_every_run_stands_where_its_arm_its_learning_rate_and_its_seed_say(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any]:
        return {"loss": lr + 100 * seed, "accuracy": 0.5 if norm == "none" else 0.6, "start_loss": 700.0 + seed}

    found = arms_in(write_runs(tmp_path, outcome, lrs=(10.0, 0.1, 1.0), seeds=(4, 2)))
    assert [arm.label for arm in found.arms] == ["batch", "none"]
    assert (found.lrs, found.seeds, found.missing, found.sentences()) == ((0.1, 1.0, 10.0), (2, 4), [], [])
    none = found.arms[1]
    assert [cell.lr for cell in none.cells] == [10.0, 0.1, 1.0]  # as swept
    curve = none.response_curve(found.lrs)
    assert curve is not None
    assert curve.loss == ((200.1, 201.0, 210.0), (400.1, 401.0, 410.0))
    assert (curve.accuracy[0][0], curve.start_loss, curve.start_accuracy) == (0.5, (702.0, 704.0), (0.1, 0.1))


def test_the_outcome_of_a_run_that_diverged_is_its_start(tmp_path: Path) -> None:
    (arm, _) = arms_in(write_runs(tmp_path, one_of_three_diverges_at_1, lrs=(0.01, 0.1, 1.0))).arms
    cell = arm.cells[-1]
    assert (len(cell.outcomes), cell.num_diverged, cell.num_missing) == (3, 1, {})
    assert cell.mean("loss").value == pytest.approx((0.1 + 0.1 + 2.3) / 3)
    assert cell.mean("accuracy").value == pytest.approx((0.7 + 0.7 + 0.1) / 3)
    assert best_of(arm) == 0.1


def test_a_rate_that_mostly_does_better_can_be_the_best_though_one_of_its_runs_diverged(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
        return {**one_of_three_diverges_at_1("", lr, seed), **({"loss": 0.9} if lr == 0.1 else {})}

    assert best_of(arms_in(write_runs(tmp_path, outcome, lrs=(0.01, 0.1, 1.0))).arms[0]) == 1.0


def test_every_kind_of_ending_has_the_outcome_that_the_rule_says(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"loss": 0.4, "accuracy": 0.8},
        {"loss": 9.0, "accuracy": 0.05},  # worse than its start
        {"loss": 9.0, "accuracy": 0.3},  # worse in one figure only
        {"loss": math.nan, "accuracy": 0.6},  # finished, without a loss
        {"loss": 0.1, "accuracy": 0.9, "status": "diverged"},
        {"loss": 0.5, "accuracy": math.nan},
    ]

    def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
        return {**kinds[(seed + (lr > 1)) % 6], "start_loss": 2.3 + seed / 10, "start_accuracy": 0.1 + seed / 100}

    (arm,) = arms_in(write_runs(tmp_path, outcome, norms=("none",), lrs=(0.1, 10.0), seeds=range(6))).arms
    first = [arm.cells[0].outcomes[seed] for seed in range(6)]
    assert [one.loss for one in first] == pytest.approx([0.4, 2.4, 2.5, 2.6, 2.7, 0.5])
    assert [one.accuracy for one in first] == pytest.approx([0.8, 0.11, 0.3, 0.13, 0.14, 0.15])
    assert [cell.num_diverged for cell in arm.cells] == [2, 2]
    curve = arm.response_curve((0.1, 10.0))
    assert curve is not None
    for place, cell in enumerate(arm.cells):  # statistics of the curve see the same outcomes
        assert curve.outcome("loss")[:, place].tolist() == [cell.outcomes[seed].loss for seed in range(6)]
        assert curve.outcome("accuracy")[:, place].tolist() == [cell.outcomes[seed].accuracy for seed in range(6)]
        assert curve.has_diverged()[:, place].sum() == cell.num_diverged


ENDS = {0.1: 1.0, 0.3: 0.5, 1.0: 0.1, 3.0: 0.9}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("status", ["failed", "interrupted", "running", None])
def test_a_run_missing_at_the_best_rate_does_not_change_the_best_rate(
    tmp_path: Path, seed: int, status: str | None
) -> None:
    def outcome(norm: str, lr: float, of: int) -> dict[str, Any] | None:
        if (norm, lr, of) == ("batch", 1.0, seed):
            return {"status": status} if status else None
        return {"loss": ENDS[lr] + 0.01 * of}

    found = arms_in(write_runs(tmp_path, outcome, lrs=ENDS))
    batch, none = found.arms
    others = tuple({0, 1, 2} - {seed})
    assert (best_of(batch), batch.seeds, none.seeds) == (1.0, others, (0, 1, 2))
    word = {None: "not there", "running": "interrupted"}.get(status, status)  # running without a process
    assert found.missing == batch.missing == [f"batch at 1, seed {seed}: {word}"]
    assert found.sentences() == [
        f"1 of 24 runs is missing (batch at 1, seed {seed}: {word}).",
        f"batch: learning rates are compared on seeds {others[0]}, {others[1]}, the only ones with an "
        "outcome at each of them.",
    ]


def test_rates_are_compared_on_the_same_seeds(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any] | None:
        if (lr, seed) == (0.1, 2):  # of the worse rate, the seed that is hard for both
            return None
        return {"loss": (1.0 if seed == 2 else 0.1) + (0.0 if lr == 1.0 else 0.05)}

    (arm,) = arms_in(write_runs(tmp_path, outcome, norms=("batch",), lrs=(0.1, 1.0))).arms
    assert arm.cells[0].mean("loss").value < arm.cells[1].mean("loss").value  # each on the seeds that it has
    best = arm.best()
    assert best is not None
    assert (best.lr, list(best.cell.outcomes), best.cell.mean("loss").value) == (1.0, [0, 1], pytest.approx(0.1))


def test_a_rate_without_any_outcome_takes_no_part(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any]:
        return {"status": "failed"} if (norm, lr) == ("none", 3.0) else {"loss": ENDS[lr] + seed}

    found = arms_in(write_runs(tmp_path, outcome, lrs=ENDS))
    none = found.arms[1]
    best = none.best()
    assert best is not None
    assert (best.lr, best.edge, none.seeds) == (1.0, "highest", (0, 1, 2))
    assert none.response_curve(found.lrs) is None  # figures on part of the grid are not those of the others
    assert found.sentences()[1:] == ["none: no outcome at 3."]


def test_where_no_seed_is_complete_each_rate_is_judged_by_what_it_has(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any] | None:
        gone = norm == "batch" and (lr, seed) in {(0.1, 0), (0.3, 1), (3.0, 2)}
        return None if gone else {"loss": ENDS[lr] + 0.01 * seed}

    found = arms_in(write_runs(tmp_path, outcome, lrs=ENDS))
    batch = found.arms[0]
    assert (batch.seeds, best_of(batch)) == ((), 1.0)
    assert [list(cell.outcomes) for cell in batch.compared] == [[1, 2], [0, 2], [0, 1, 2], [0, 1]]
    assert found.sentences()[1] == (
        "batch: learning rates are compared on different seeds, since no seed has an outcome at each of them."
    )


def test_a_sweep_in_training_has_a_best_rate_as_soon_as_a_run_has_ended(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any] | None:
        return {"loss": ENDS[lr]} if norm == "batch" and (lr < 0.3 or (lr, seed) == (0.3, 0)) else None

    found = arms_in(write_runs(tmp_path, outcome, lrs=ENDS))
    (batch,) = found.arms
    assert (best_of(batch), batch.seeds) == (0.3, (0,))
    # 2 of 6 runs at rates that were begun are known by name; nothing is known yet of 2 rates and of an arm
    assert found.missing == ["batch at 0.3, seed 1: not there", "batch at 0.3, seed 2: not there"]
    assert found.num_unnamed == 18
    assert found.sentences()[0].startswith("20 of 24 runs are missing (batch at 0.3, seed 1: not there; ")
    assert found.sentences()[0].endswith("; 18 more).")


def test_an_arm_without_an_outcome_says_so(tmp_path: Path) -> None:
    found = arms_in(write_runs(tmp_path, lambda norm, *_: {"status": "failed"} if norm == "none" else {}))
    assert found.arms[1].best() is None
    assert found.sentences()[1:] == ["none: no run has an outcome."]


def test_an_arm_that_never_beats_its_start_has_no_best_rate(tmp_path: Path) -> None:
    (arm, _) = arms_in(write_runs(tmp_path, lambda *_: {"loss": 9.0, "accuracy": 0.5})).arms
    best = arm.best()
    assert best is not None
    assert (best.lr, best.cell.mean("loss").value, best.edge) == (None, 2.3, None)
    by_accuracy = arm.best("accuracy")
    assert by_accuracy is not None
    assert (by_accuracy.lr, by_accuracy.edge) == (0.01, "lowest")  # the lowest among equals


def test_planned_runs_without_a_folder_are_named_by_their_ids_where_nothing_else_tells_of_them(tmp_path: Path) -> None:
    found = arms_in(write_runs(tmp_path, lambda norm, *_: {} if norm == "batch" else None, lrs=(1.0, 2.0), seeds=(0,)))
    assert found.missing == [f"none-mlp-digits-lr{lr}-s0-00000000: not there" for lr in (1, 2)]
    assert found.num_unnamed == 0


def test_nothing_is_missing_where_the_learning_rates_are_no_grid(tmp_path: Path) -> None:
    def as_a_search_does(norm: str, lr: float, seed: int) -> dict[str, Any] | None:
        return {"loss": lr} if (norm == "batch") == (lr < 0.5) and seed == 0 else None

    folder = write_runs(tmp_path, as_a_search_does)
    (folder / "sweep.json").unlink()
    found = arms_in(folder)
    assert (found.missing, found.sentences()) == ([], [])
    assert [best_of(arm) for arm in found.arms] == [0.01, 1.0]


def test_missing_runs_are_counted_by_status(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, seed: int) -> dict[str, Any] | None:
        if lr == 0.1 and seed == 2:
            return None
        return {"status": "failed"} if lr == 0.1 and seed == 1 else {"loss": lr}

    (arm,) = arms_in(write_runs(tmp_path, outcome, norms=("batch",), lrs=(0.01, 0.1))).arms
    assert [cell.num_missing for cell in arm.cells] == [{}, {"failed": 1, "missing": 1}]
    assert [len(cell.runs) for cell in arm.cells] == [3, 3]


def test_a_run_whose_manifest_is_damaged_is_missing(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {})
    damaged = folder / "batch-mlp-digits-lr1-s1-00000000"
    (damaged / "manifest.json").write_text("{")
    (damaged / "config.yaml").write_text("")
    assert arms_in(folder).missing == ["batch at 1, seed 1: not there"]


def damage_first_record(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(["{", *lines[1:]]) + "\n")


def test_a_run_that_lost_its_end_is_missing_whatever_its_summary_says(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {}, norms=("batch",), lrs=(0.1,))
    records = folder / "batch-mlp-digits-lr0.1-s0-00000000" / "metrics.jsonl"
    records.write_text(records.read_text().partition("\n")[0] + "\n")
    (arm,) = arms_in(folder).arms
    assert arm.cells[0].num_missing == {"failed": 1}
    assert 0 not in arm.cells[0].outcomes


def test_damaged_records_cost_nothing_while_another_run_of_the_seed_tells_the_start(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, one_of_three_diverges_at_1, norms=("batch",), lrs=(0.01, 0.1, 1.0))
    whole = arms_in(folder)
    for lr in ("0.01", "1"):
        damage_first_record(folder / f"batch-mlp-digits-lr{lr}-s0-00000000")
    damaged = arms_in(folder)
    for now, then in zip(damaged.arms, whole.arms, strict=True):
        assert [cell.outcomes for cell in now.compared] == [cell.outcomes for cell in then.compared]
        assert (now.seeds, now.missing, now.choice()) == (then.seeds, then.missing, then.choice())


def test_where_all_records_of_a_seed_are_damaged_its_runs_are_missing_and_the_damage_is_told(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {}, norms=("batch",))
    for path in folder.glob("*-s1-*/metrics.jsonl"):
        damage_first_record(path.parent)
    (arm,) = arms_in(folder).arms
    assert arm.seeds == (0, 2)
    assert len(arm.missing) == 4
    assert arm.missing[0].startswith("batch at 0.01, seed 1: ")
    assert "metrics.jsonl, line 1 is damaged" in arm.missing[0]
    assert arm.cells[0].num_missing == {"missing": 1}


def test_a_start_that_is_not_finite_is_no_start(tmp_path: Path) -> None:
    def outcome(norm: str, _: float, seed: int) -> dict[str, Any]:
        return {"start_loss": math.nan} if (norm, seed) == ("none", 0) else {}

    none = arms_in(write_runs(tmp_path, outcome)).arms[1]
    assert none.missing[0] == "none at 0.01, seed 0: its records do not tell the loss at the start"
    assert none.seeds == (1, 2)


def test_an_arm_is_named_by_all_that_is_swept_but_learning_rate_and_seed(tmp_path: Path) -> None:
    for norm in ("batch", "none"):
        for depth in (1, 5):
            for lr in (0.1, 1.0):
                run_folder(tmp_path, norm, lr, 0, [2.0, 1.0, 0.5], settings={"depth": depth})
    arms = arms_in(tmp_path).arms
    assert sorted(arm.label for arm in arms) == ["batch depth=1", "batch depth=5", "none depth=1", "none depth=5"]
    assert all(arm.folder_name == arm.label.replace(" ", "-") for arm in arms)
    assert all(label_of(arm.settings) == arm.label for arm in arms)


@pytest.mark.parametrize("twin", ["Norm", "norm"])  # the same folder, where case tells no folder from another
def test_two_arms_never_share_the_name_of_a_folder(tmp_path: Path, twin: str) -> None:
    for number, norm in enumerate(("mine.layers:Norm", f"yours.layers:{twin}")):
        run_id = run_folder(tmp_path, f"n{number}", 0.1, 0, [2.0, 1.0, 0.5])
        manifest = tmp_path / run_id / "manifest.json"
        manifest.write_text(manifest.read_text().replace(f'"n{number}"', f'"{norm}"'))
    assert [arm.folder_name for arm in arms_in(tmp_path).arms] == ["Norm", f"{twin}-2"]


def test_where_the_learning_rate_is_not_swept_only_seeds_can_be_missing(tmp_path: Path) -> None:
    """Each optimizer has a learning rate of its own, and nobody planned the other's."""

    def config(optim: str) -> dict[str, Any]:
        lr = {"sgd": 0.1, "adam": 0.001}[optim]
        return {"norm": {"name": "batch"}, "optim": {"name": optim, "lr": lr}}

    gone = ("adam", 1)
    write_runs(
        tmp_path, lambda n, _, s: None if (n, s) == gone else {}, norms=("sgd", "adam"), lrs=(1.0,), config=config
    )
    found = arms_in(tmp_path)
    assert [arm.label for arm in found.arms] == ["sgd", "adam"]
    assert found.missing == ["adam at 0.001, seed 1: not there"]


def test_of_two_runs_with_the_same_settings_the_one_that_ended_enters(tmp_path: Path) -> None:
    run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0, 0.5])
    other = tmp_path / run_folder(tmp_path, "batch", 0.1, 0, [2.0, 1.0], status="failed", settings={"x": 1})
    (other / "manifest.json").write_text((other / "manifest.json").read_text().replace(', "x": 1', ""))
    (arm,) = arms_in(tmp_path).arms
    assert arm.cells[0].mean("loss").value == pytest.approx(0.5)


@pytest.mark.parametrize("swept", ["norm=batch,none", "seed=0,1"])
def test_a_sweep_in_training_calls_its_arms_as_the_tables_do(tmp_path: Path, swept: str) -> None:
    words = ["data=synthetic", swept]
    folder = write_planned(words, lambda *_: {}, tmp_path / "runs")
    sweep = plan_sweep(words, tmp_path / "runs")
    labels = {run.row["run_id"]: arm.label for arm in arms_in(folder).arms for run in arm.cells[0].runs if run.row}
    assert {name: sweep.arm(name) for name in sweep.configs} == labels
    assert set(labels.values()) == ({"batch", "none"} if "norm" in swept else {"batch"})
