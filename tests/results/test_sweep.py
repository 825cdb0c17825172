import threading
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.results.sweep import read_sweep, write_sweep
from bnlab.results.swept import swept_keys


def grid(**factors: list[Any]) -> list[dict[str, Any]]:
    """Rows of every combination."""
    rows: list[dict[str, Any]] = [{}]
    for key, values in factors.items():
        rows = [{**row, key: value} for row in rows for value in values]
    return rows


def test_an_option_that_only_some_arms_have_is_no_factor() -> None:
    rows = [
        {**row, "norm.eps": None if row["norm"] == "none" else 1e-5}
        for row in grid(norm=["batch", "none"], seed=[0, 1])
    ]
    assert swept_keys(rows, ["norm=batch,none", "seed=0,1"]) == ["norm", "seed"]
    assert swept_keys(rows) == ["norm", "seed"]


def test_what_was_asked_for_comes_first_and_one_value_is_no_factor() -> None:
    rows = grid(**{"optim.lr": [0.1, 1], "seed": [0], "norm": ["batch", "none"]})
    assert swept_keys(rows, ["seed=0", "norm=batch,none", "optim.lr=0.1,1"]) == ["norm", "optim.lr"]


def test_a_group_of_settings_is_told_by_one_of_them() -> None:
    rows = [
        {"norm": n, "schedule": s, "optim.lr": lr} for n in ("batch", "none") for s, lr in (("cosine", 1), ("step", 2))
    ]
    assert swept_keys(rows, ["norm=batch,none", "tuning=a,b"]) == ["norm", "optim.lr"]


def test_what_cannot_change_a_number_and_what_came_out_are_no_factors() -> None:
    rows: list[dict[str, Any]] = [
        {"norm": "batch", "device": "cpu", "test_loss": 1.0, "run_id": "a", "started": "x", "steps": 3},
        {"norm": "batch", "device": "cuda", "test_loss": 2.0, "run_id": "b", "started": "y", "steps": 4},
    ]
    assert swept_keys(rows) == []


def test_a_sweep_that_was_continued_with_checkpoints_has_the_arms_that_it_had() -> None:
    rows = [
        {**row, "train.checkpoint_every": 50 if row["seed"] else None} for row in grid(norm=["a", "b"], seed=[0, 1])
    ]
    assert swept_keys(rows, ["norm=a,b", "seed=0,1", "train.checkpoint_every=50"]) == ["norm", "seed"]
    assert swept_keys([{"norm": "a", "train.checkpoint_every": n} for n in (None, 50)]) == []


def test_a_damaged_run_tells_nothing_about_the_factors() -> None:
    rows = [*grid(norm=["batch", "none"]), {"norm": None, "depth": None, "problem": "damaged"}]
    assert swept_keys(rows) == ["norm"]


def test_lists_and_numbers_are_told_apart_by_value() -> None:
    assert swept_keys(grid(**{"schedule.milestones": [[0.5], [0.7]]})) == ["schedule.milestones"]


@pytest.mark.parametrize("origin", ["data.content", "norm.code", "diagnostics.code"])
def test_runs_of_other_data_or_other_code_are_never_seeds_of_one_arm(origin: str) -> None:
    rows = [{"norm": norm, "seed": seed, origin: "old" if seed < 2 else "new"} for norm in "ab" for seed in range(4)]
    assert swept_keys(rows, ["norm=a,b", "seed=range(4)"]) == ["norm", "seed", origin]
    told_already = [{**row, "data.root": row[origin]} for row in rows]
    assert swept_keys(told_already, ["norm=a,b", "data.root=old,new"])[:2] == ["norm", "data.root"]
    assert origin not in swept_keys(told_already, ["norm=a,b", "data.root=old,new"])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two runs that nobody planned."""
    folder = write_runs(tmp_path / "s", lambda *_: {}, norms=("batch",), lrs=(0.1,), seeds=(1, 0))
    (folder / "sweep.json").unlink()
    return folder


def test_a_sweep_has_its_own_runs_in_its_own_order(sweep: Path) -> None:
    ids = {row["seed"]: row["run_id"] for row in read_sweep(sweep).rows}
    assert [row["seed"] for row in read_sweep(sweep).rows] == [0, 1]
    write_sweep(sweep, ["seed=1,0,2"], [ids[1], ids[0], "not-yet-there"])
    runs = read_sweep(sweep)
    assert [row["seed"] for row in runs.rows] == [1, 0]
    assert runs.planned == (ids[1], ids[0], "not-yet-there")
    assert (runs.swept, runs.arm_keys) == (("seed",), ("norm",))
    write_sweep(sweep, ["seed=0"], [ids[0]])
    assert [row["seed"] for row in read_sweep(sweep).rows] == [0]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"overrides": 3}'])
def test_a_damaged_sweep_json_leaves_a_folder_of_runs(sweep: Path, text: str) -> None:
    (sweep / "sweep.json").write_text(text)
    assert [row["seed"] for row in read_sweep(sweep).rows] == [0, 1]


def test_many_may_write_the_same_sweep_at_once(tmp_path: Path) -> None:
    troubles: list[Exception] = []

    def write(number: int) -> None:
        try:
            for i in range(50):
                write_sweep(tmp_path, ["seed=0,1"], [f"{number}-{i}"])
        except Exception as error:
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_a_sweep_that_is_written_already_is_left_alone(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["seed=0,1"], ["a"])
    before = (tmp_path / "sweep.json").stat()
    write_sweep(tmp_path, ["seed=0,1"], ["a"])
    after = (tmp_path / "sweep.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
