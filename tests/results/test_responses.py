from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.errors import StudyError
from bnlab.results.responses import read_responses


def test_every_run_stands_where_its_arm_its_learning_rate_and_its_seed_say(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any]:
        return {"loss": lr + 100 * seed, "accuracy": 0.5 if norm == "none" else 0.6, "start_loss": 7.0 + seed}

    found = read_responses(write_runs(tmp_path, outcome, lrs=(10.0, 0.1, 1.0), seeds=(4, 2)))
    assert [arm.label for arm in found.arms] == ["batch", "none"]
    assert (found.lrs, found.seeds, found.num_unknown) == ((0.1, 1.0, 10.0), (2, 4), 0)
    curve = found.arms[1].curve
    assert curve is not None
    assert curve.loss == ((200.1, 201.0, 210.0), (400.1, 401.0, 410.0))
    assert (curve.accuracy[0][0], curve.start_loss, curve.start_accuracy) == (0.5, (9.0, 11.0), (0.1, 0.1))
    assert found.facts["model"] == "mlp"
    assert "optim.lr" not in found.facts


def test_a_diverged_run_is_kept_even_without_any_figure(tmp_path: Path) -> None:
    def outcome(_: str, lr: float, __: int) -> dict[str, Any]:
        return {"status": "diverged", "loss": float("nan"), "accuracy": float("nan")} if lr > 1 else {}

    curve = read_responses(write_runs(tmp_path, outcome)).arms[0].curve
    assert curve is not None
    assert curve.diverged[0] == (False, False, False, True)
    assert curve.counted("loss")[0].tolist() == [0.1, 0.1, 0.1, 2.3]
    assert curve.counted("accuracy")[0].tolist() == [0.9, 0.9, 0.9, 0.1]


@pytest.mark.parametrize("status", ["failed", "interrupted", "running", None])
def test_a_missing_run_takes_its_seed_along_and_is_named(tmp_path: Path, status: str | None) -> None:
    def outcome(norm: str, lr: float, seed: int) -> dict[str, Any] | None:
        if (norm, lr, seed) == ("batch", 1.0, 1):
            return {"status": status} if status else None
        return {}

    batch, none = read_responses(write_runs(tmp_path, outcome)).arms
    assert batch.curve is not None
    assert none.curve is not None
    assert (batch.curve.seeds, none.curve.seeds) == ((0, 2), (0, 1, 2))
    word = {None: "not there", "running": "interrupted"}.get(status, status)  # running without a process
    assert (batch.missing, none.missing) == ([f"batch at 1, seed 1: {word}"], [])


def test_what_was_planned_and_left_no_trace_at_all_is_counted(tmp_path: Path) -> None:
    found = read_responses(write_runs(tmp_path, lambda norm, _, seed: {} if (norm, seed) != ("none", 2) else None))
    assert (len(found.arms[1].missing), found.num_unknown) == (4, 0)
    gone = read_responses(write_runs(tmp_path / "b", lambda norm, *_: {} if norm == "batch" else None))
    assert ([arm.label for arm in gone.arms], gone.num_unknown) == (["batch"], 12)


def test_an_arm_without_a_whole_seed_has_no_curve(tmp_path: Path) -> None:
    def outcome(norm: str, lr: float, _: int) -> dict[str, Any]:
        return {"status": "failed"} if (norm, lr) == ("none", 0.1) else {}

    assert read_responses(write_runs(tmp_path, outcome)).arms[1].curve is None


def test_a_seed_whose_start_is_not_finite_is_left_out_and_named(tmp_path: Path) -> None:
    def outcome(norm: str, _: float, seed: int) -> dict[str, Any]:
        return {"start_loss": None} if (norm, seed) == ("none", 0) else {}

    none = read_responses(write_runs(tmp_path, outcome)).arms[1]
    assert none.missing == ["none, seed 0: no finite loss before its first step"]
    assert none.curve is not None
    assert none.curve.seeds == (1, 2)


def test_an_arm_is_named_by_all_that_is_swept_but_learning_rate_and_seed(tmp_path: Path) -> None:
    config = {"norm": lambda n: {"model": {"name": "mlp", "activation": n}, "norm": {"name": "batch"}}}["norm"]
    found = read_responses(write_runs(tmp_path, lambda *_: {}, norms=("relu", "tanh"), config=config))
    assert [arm.label for arm in found.arms] == ["activation=relu", "activation=tanh"]
    assert found.arms[0].settings == {"model.activation": "relu"}


def test_one_learning_rate_is_no_curve(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"needs 2 or more learning rates, .* has 1 \(0\.1\)"):
        read_responses(write_runs(tmp_path, lambda *_: {}, lrs=(0.1,)))


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no runs that can be read"):
        read_responses(tmp_path)


def test_a_damaged_run_counts_as_missing(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {})
    damaged = folder / "batch-mlp-digits-lr1-s1-00000000"
    (damaged / "manifest.json").write_text("{")
    (damaged / "config.yaml").write_text("")
    found = read_responses(folder)
    assert found.arms[0].missing == ["batch at 1, seed 1: not there"]


def test_a_damaged_file_of_records_costs_nothing_while_another_run_of_its_seed_tells_the_start(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {}, norms=("batch",))
    whole = read_responses(folder)
    for lr in ("0.01", "0.1"):
        (folder / f"batch-mlp-digits-lr{lr}-s1-00000000" / "metrics.jsonl").write_text("{\n{}\n")
    assert read_responses(folder) == whole


def test_where_all_files_of_a_seed_are_damaged_that_seed_is_missing_and_the_damage_is_told(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda *_: {}, norms=("batch",))
    for path in folder.glob("*-s1-*/metrics.jsonl"):
        path.write_text("{\n{}\n")
    (arm,) = read_responses(folder).arms
    assert arm.curve is not None
    assert arm.curve.seeds == (0, 2)
    (text,) = arm.missing
    assert text.startswith("batch, seed 1: ")
    assert "metrics.jsonl, line 1 is damaged" in text
