"""A sweep is read once per process, and again where anything on disk has changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from written_runs import write_runs

from bnlab.results import curves, sweep
from bnlab.results.arms import LEARNING_RATE, SEED, read_arms
from bnlab.results.curves import read_best_curves
from bnlab.results.sweep import read_sweep, write_sweep
from bnlab.results.swept import _LEARNING_RATE, _SEED
from bnlab.runfolder.index import flatten, read_run_rows
from bnlab.runfolder.stamps import stamp_of_runs

RUN = "batch-mlp-digits-lr0.1-s0-00000000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve runs that ended a minute ago."""
    written = write_runs(tmp_path / "s", lambda *_: {}, lrs=(0.1, 1.0))
    for path in written.rglob("*.json*"):
        _age(path)
    return written


def _age(path: Path) -> None:
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns - 60_000_000_000))


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(text)
    beside.replace(path)


def _change(name: str, before: str, after: str) -> Callable[[Path], Any]:
    return lambda folder: _replace(folder / RUN / name, (folder / RUN / name).read_text().replace(before, after))


def test_the_same_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_sweep(folder)
    monkeypatch.setattr(sweep, "read_run_rows", lambda _: pytest.fail("the runs were read again"))
    assert read_sweep(folder) is first
    assert read_sweep(folder).read_arms() is first.read_arms()


@pytest.mark.parametrize(
    "change",
    [
        _change("summary.json", "0.9", "0.8"),  # of the same size
        _change("manifest.json", '"lr": 0.1', '"lr": 0.2'),
        _change("metrics.jsonl", "0.9}", "0.8}"),
        lambda folder: (folder / RUN / "marks.json").write_text(json.dumps({"note": "look", "tags": []})),
        lambda folder: (folder / RUN / "config.yaml").write_text("seed: 1\n"),
        lambda folder: (folder / RUN / "summary.json").unlink(),
        lambda folder: shutil.rmtree(folder / RUN),
        lambda folder: (folder / RUN).rename(folder / "renamed"),
        lambda folder: write_sweep(folder, ["norm=batch"], [RUN]),
        lambda folder: (folder / "sweep.json").unlink(),
    ],
)
def test_any_change_on_disk_is_seen(folder: Path, change: Callable[[Path], Any]) -> None:
    before = read_sweep(folder)
    assert read_sweep(folder) is before
    change(folder)
    after = read_sweep(folder)
    rows = {row["run_id"]: row for row in read_run_rows(folder) if row["run_id"] in after.planned}
    assert after is not before
    assert {row["run_id"]: row for row in after.rows} == rows


def test_files_that_were_just_written_are_read_again(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "s", lambda *_: {}, lrs=(0.1,), seeds=(0,))
    os.utime(folder / RUN / "summary.json", (4e9, 4e9))  # by a clock that is ahead
    found = stamp_of_runs(folder)
    assert found is not None
    assert not found.is_safe
    assert read_sweep(folder) is not read_sweep(folder)


def test_a_run_whose_lock_is_taken_or_freed_is_read_again(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "s", lambda *_: {"status": "running"}, lrs=(0.1,), seeds=(0,), norms=("batch",))
    for path in folder.rglob("*.json*"):
        _age(path)
    assert [row["status"] for row in read_sweep(folder).rows] == ["interrupted"]
    (folder / ".locks").mkdir()
    with FileLock(folder / ".locks" / f"{RUN}.lock"):
        assert [row["status"] for row in read_sweep(folder).rows] == ["running"]
    assert [row["status"] for row in read_sweep(folder).rows] == ["interrupted"]


def test_only_the_sweep_read_last_is_kept(folder: Path, tmp_path: Path) -> None:
    first = read_sweep(folder)
    shutil.copytree(folder, tmp_path / "t")
    assert read_sweep(tmp_path / "t").folder == tmp_path / "t"
    assert read_sweep(folder) is not first


def test_a_folder_where_nobody_can_write_is_read_once_too(folder: Path) -> None:
    """Nothing is written for it, whoever reads."""
    before = sorted(folder.rglob("*"))
    read_sweep(folder)
    assert sorted(folder.rglob("*")) == before


def test_settings_that_are_changed_by_a_caller_stay_in_the_sweep(folder: Path) -> None:
    found = read_sweep(folder)
    found.shared_settings().clear()
    assert found.shared_settings()["model"] == "mlp"


def test_the_records_of_an_arm_are_read_once_for_all_its_curves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    records = curves.RunFolder.read_records
    monkeypatch.setattr(curves.RunFolder, "read_records", lambda run: read.append(run.path) or records(run))
    arm = read_sweep(folder).read_arms().arms[0]
    first = read_best_curves(arm, every_diagnostic=True)
    assert read_best_curves(arm) == first
    assert len(read) == len(set(read)) == 3


def test_the_work_for_arms_grows_with_the_runs_and_not_with_their_square() -> None:
    comparisons = []

    class Seed(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            comparisons.append(other)
            return int.__eq__(self, other)

        def __lt__(self, other: int) -> bool:
            comparisons.append(other)
            return int.__lt__(self, other)

    rows = [
        {SEED: Seed(n), LEARNING_RATE: 0.1, "norm": "batch", "run_id": str(n), "status": "failed"} for n in range(300)
    ]
    (arm,) = read_arms(rows, [SEED], [str(n) for n in range(300)]).arms
    assert [run.seed for run in arm.cells[0].runs] == list(range(300))
    assert len(comparisons) < 300 * 40  # each seed with each: 90,000


def test_settings_that_are_equal_for_python_alone_have_columns_of_their_own(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "s", lambda *_: {}, lrs=(0.1,), seeds=(0, 1, 2))
    values = (1, 1.0, True)
    for seed, value in enumerate(values):
        path = folder / RUN.replace("s0", f"s{seed}") / "manifest.json"
        facts = json.loads(path.read_text())
        facts["config"]["norm"]["gain"] = value
        path.write_text(json.dumps(facts))
    rows = [row for row in read_run_rows(folder) if row["norm"] == "batch"]
    assert [json.dumps(row["norm.gain"]) for row in rows] == ["1", "1.0", "true"]
    assert [row["seed"] for row in rows] == [0, 1, 2]


def test_rows_do_not_share_what_may_be_added_to_one(folder: Path) -> None:
    first, second, *_ = read_run_rows(folder)
    first["own"] = 1
    assert "own" not in second
    assert "own" not in read_run_rows(folder)[1]


def test_the_keys_of_seed_and_rate_are_those_of_arms() -> None:
    assert (_SEED, _LEARNING_RATE) == (SEED, LEARNING_RATE)
    assert flatten({"optim": {"lr": 1}}) == {LEARNING_RATE: 1}
