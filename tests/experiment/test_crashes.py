"""A process dies, or a disk fails, before any file operation of a run: no result is lost, no run is stuck.

Death is simulated: from some operation on, every file operation raises, so that no cleanup can happen.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import QUICK, assert_equal, check_once, train_until, trained_in_one_go

from bnlab.config.compose import compose_run
from bnlab.errors import BnlabError, RunError
from bnlab.experiment.cohort_run import run_experiment
from bnlab.records import Record, RunSummary
from bnlab.runfolder.folder import RunFolder, record_line
from bnlab.training.checkpoint import read_checkpoint

WORDS = [*QUICK, "train.steps=5", "train.log_every=3", "train.checkpoint_every=2", "train.eval_every=50"]
WORDS += ["diagnostics=none", "norm=none", "model.depth=1", "model.width=4"]  # hundreds of them are trained
CONFIG = compose_run(WORDS)


class Death(BaseException):
    """The process is gone."""


class Operations:
    """Counts file operations, and lets them fail from one on, or only that one."""

    def __init__(self) -> None:
        self.num_seen = 0
        self.fails_at: int | None = None
        self.for_good = True
        self.error: Callable[[], BaseException] = Death

    def begin(self) -> bool:
        """Count an operation; return whether it fails."""
        self.num_seen += 1
        if self.fails_at is None:
            return False
        return self.num_seen == self.fails_at or (self.for_good and self.num_seen > self.fails_at)

    def check(self) -> None:
        if self.begin():
            raise self.error()


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operations]:
    check_once(monkeypatch)
    counted = Operations()
    for place, name in [
        *[(Path, name) for name in ("replace", "rename", "unlink", "mkdir", "rmdir")],
        (shutil, "rmtree"),
    ]:
        monkeypatch.setattr(place, name, _failing(getattr(place, name), counted))
    for name in ("write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, _failing_halfway(getattr(Path, name), counted))
    append = RunFolder.append

    def failing_append(folder: RunFolder, record: Record) -> None:
        counted.check()
        if counted.begin():
            line = record_line(record)
            name = "timings.jsonl" if record.kind == "timing" else "metrics.jsonl"
            with (folder.path / name).open("a") as file:
                file.write(line[: len(line) // 2])
            raise counted.error()
        append(folder, record)

    monkeypatch.setattr(RunFolder, "append", failing_append)
    yield counted
    monkeypatch.undo()


def _failing(operation: Callable[..., Any], counted: Operations) -> Callable[..., Any]:
    def failing(*arguments: Any, **more: Any) -> Any:
        counted.check()
        return operation(*arguments, **more)

    return failing


def _failing_halfway(operation: Callable[..., Any], counted: Operations) -> Callable[..., Any]:
    def failing(path: Path, content: Any, **more: Any) -> Any:
        counted.check()
        if counted.begin():
            operation(path, content[: len(content) // 2], **more)
            raise counted.error()
        return operation(path, content, **more)

    return failing


def train(folder: Path, again: bool = False) -> RunSummary:
    return run_experiment(CONFIG, RunFolder(folder), again=again)


def newest_checkpoint(folder: RunFolder) -> int | None:
    """The last step that a run could resume from, found without bnlab's own search."""
    steps = []
    for path in (folder.checkpoint_path, folder.previous_checkpoint_path):
        try:
            checkpoint = read_checkpoint(path)
        except RunError:
            continue
        if checkpoint["training"] is not None:
            steps.append(checkpoint["step"])
    return max(steps, default=None)


def fresh(path: Path) -> None:
    """Nothing exists."""


def interrupted(path: Path) -> None:
    """A run that was interrupted at its end, with checkpoints at 2 and 4."""
    train_until(5, CONFIG, RunFolder(path))


def interrupted_with_a_damaged_checkpoint(path: Path) -> None:
    interrupted(path)
    (path / "checkpoint.pt").write_bytes(b"damaged")


BEFORE = [fresh, interrupted, interrupted_with_a_damaged_checkpoint]


def prepared(before: Callable[[Path], None], place: Path) -> Callable[[Path], None]:
    """Do once, in a place, what comes before; return a function that puts a copy of it where a run is to be trained."""
    before(place)

    def copy(path: Path) -> None:
        if place.exists():
            shutil.copytree(place, path)

    return copy


def points(operations: Operations, work: Callable[[], object]) -> range:
    """Return the numbers of all operations of some work, which is done once to count them."""
    operations.fails_at, operations.num_seen = None, 0
    work()
    return range(1, operations.num_seen + 1)


def fail_at(operations: Operations, at: int, work: Callable[[], object]) -> BaseException | None:
    """Do the work, and let it fail at an operation; return the error."""
    operations.num_seen, operations.fails_at = 0, at
    try:
        work()
    except (Death, BnlabError) as ending:
        return ending
    finally:
        operations.fails_at = None
    return None


def test_a_run_that_dies_before_some_file_operations_ends_as_if_it_had_not(
    tmp_path: Path, operations: Operations
) -> None:
    check_deaths(fresh, tmp_path, operations, every_nth=30)


@pytest.mark.slow
@pytest.mark.parametrize("before", BEFORE)
def test_a_run_that_dies_before_any_file_operation_ends_as_if_it_had_not(
    before: Callable[[Path], None], tmp_path: Path, operations: Operations
) -> None:
    check_deaths(before, tmp_path, operations)


def check_deaths(before: Callable[[Path], None], tmp_path: Path, operations: Operations, every_nth: int = 1) -> None:
    """Let a run die before its operations, and compare what a second attempt makes of it with an uninterrupted run."""
    whole = trained_in_one_go(CONFIG)
    put = prepared(before, tmp_path / "before")
    put(tmp_path / "first")
    every = points(operations, lambda: train(tmp_path / "first"))
    assert len(every) > 30
    for at in every[every_nth // 2 :: every_nth]:
        path = tmp_path / f"at{at}"
        put(path)
        died = fail_at(operations, at, lambda path=path: train(path))
        folder = RunFolder(path)
        kept, result = newest_checkpoint(folder), folder.read_finished()
        assert isinstance(died, Death) == (result is None) or result is not None
        summary = train(path)
        assert summary.cached == (result is not None)
        assert_equal(folder, whole)
        if result is None:
            resumed_at = [one["step"] for one in folder.read_manifest().get("resumed", [])]
            assert resumed_at[-1:] == ([] if kept is None else [kept]), f"at operation {at}"
            assert not list(path.glob(".*")), f"at operation {at}"
        shutil.rmtree(path)


@pytest.mark.slow
def test_an_older_result_outlives_a_death_at_any_file_operation_of_a_new_training(
    tmp_path: Path, operations: Operations
) -> None:
    whole = trained_in_one_go(CONFIG)
    train(tmp_path / "first")
    every = points(operations, lambda: train(tmp_path / "first", again=True))
    assert len(every) > 40
    for at in every:
        path = tmp_path / f"at{at}" / "run"
        shutil.copytree(tmp_path / "first", path)
        old = json.loads((path / "manifest.json").read_text())
        fail_at(operations, at, lambda path=path: train(path, again=True))
        summary = train(path)
        assert summary.cached, f"at operation {at}"
        assert_equal(RunFolder(path), whole)
        assert RunFolder(path).read_manifest()["ended"] >= old["ended"]
        assert [other.name for other in path.parent.iterdir() if other.name != ".locks"] == ["run"]
        shutil.rmtree(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("before", BEFORE)  # which have most operations in common: each is tried in both ways
def test_a_disk_that_fails_at_any_file_operation_is_one_sentence_and_nothing_is_lost(
    before: Callable[[Path], None], for_good: bool, tmp_path: Path, operations: Operations
) -> None:
    whole = trained_in_one_go(CONFIG)
    put = prepared(before, tmp_path / "before")
    put(tmp_path / "first")
    every = points(operations, lambda: train(tmp_path / "first"))
    operations.error, operations.for_good = (lambda: OSError(errno.ENOSPC, "No space left on device")), for_good
    for at in every[(BEFORE.index(before) + for_good) % 2 :: 2]:
        path = tmp_path / f"at{at}"
        put(path)
        told = fail_at(operations, at, lambda path=path: train(path))
        folder = RunFolder(path)
        if told is None:
            assert folder.read_finished() is not None
        else:
            assert "cannot be written to" in str(told), f"at operation {at}"
            assert "No space left on device" in str(told)
            assert len(str(told).splitlines()) <= 3
            assert folder.read_status() in {"failed", "interrupted", "finished"}
        train(path)
        assert_equal(folder, whole)
        shutil.rmtree(path)
