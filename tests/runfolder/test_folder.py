import contextlib
import json
import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from filelock import FileLock

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError, RunError
from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, RunSummary, StepRecord, TimingRecord
from bnlab.runfolder.finding import find_run_folders
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows
from bnlab.runfolder.json_lines import record_line

Start = Callable[[], Callable[[], None]]


def finished(folder: RunFolder, accuracy: float) -> None:
    summary = RunSummary(folder.path.name, "finished", str(folder.path), seed=0, test_accuracy=accuracy)
    for record in (EvalRecord(9, "test", {"accuracy": accuracy}), EndRecord(9, "finished", {})):
        folder.append(record)
    folder.write_summary(summary)
    folder.write_manifest({"status": "finished"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "single" / "a-run")


def test_a_line_has_the_keys_of_the_contract_and_words_for_what_json_cannot_say() -> None:
    line = record_line(DiagnosticRecord(3, "gradient_norm", {"hidden1": math.nan, "output": -math.inf, "x": 1.0}))
    assert json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON")) == {
        "kind": "diagnostic",
        "step": 3,
        "split": None,
        "name": "gradient_norm",
        "values": {"hidden1": None, "output": None, "x": 1.0},
        "nonfinite": {"hidden1": "nan", "output": "-inf"},
    }
    assert "nonfinite" not in json.loads(record_line(StepRecord(1, {"loss": 2.0})))


def test_wall_clock_facts_go_to_a_file_of_their_own(folder: RunFolder) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        for record in (
            EvalRecord(0, "test", {"loss": 1.0}),
            TimingRecord(0, {"elapsed_s": 9.0}),
            EndRecord(0, "finished", {}),
        ):
            folder.append(record)
    assert [record["kind"] for record in folder.read_records()] == ["eval", "end"]
    assert "elapsed_s" in (folder.path / "timings.jsonl").read_text()


def test_a_run_whose_process_is_gone_was_interrupted(folder: RunFolder) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        assert folder.read_manifest()["status"] == "running"
    assert folder.read_manifest()["status"] == "interrupted"


def _train_for_ever(path: str, ready: str) -> None:
    with RunFolder(Path(path)).opened_for_training(compose_run([]), {}):
        Path(ready).touch()
        time.sleep(60)


@pytest.fixture
def kill_while_it_trains(folder: RunFolder, tmp_path: Path) -> Iterator[Start]:
    """Start a process that trains; return what kills it."""
    processes: list[BaseProcess] = []

    def start() -> Callable[[], None]:
        ready = tmp_path / "ready"
        arguments = (str(folder.path), str(ready))
        process = multiprocessing.get_context("spawn").Process(target=_train_for_ever, args=arguments)
        processes.append(process)
        process.start()
        while not ready.exists():
            time.sleep(0.02)
        return lambda: (process.kill(), process.join())[1]

    yield start
    for process in processes:
        process.kill()
        process.join()


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_dies(folder: RunFolder, kill_while_it_trains: Start) -> None:
    kill = kill_while_it_trains()
    assert folder.read_manifest()["status"] == "running"
    with pytest.raises(RunError, match="is being trained by another process"):
        folder.opened_for_training(compose_run([]), {}).__enter__()
    kill()
    assert folder.read_manifest()["status"] == "interrupted"
    with folder.opened_for_training(compose_run([]), {}):
        pass


@pytest.mark.slow
def test_whoever_looks_whether_a_run_is_trained_does_not_keep_it_from_being_trained(folder: RunFolder) -> None:
    with folder.locked():
        pass
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            RunFolder(folder.path).is_locked()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with folder.locked():
                pass
    finally:
        done.set()
        looking.join()


def test_a_result_stays_until_there_is_a_new_one(folder: RunFolder) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        finished(folder, 0.5)
    with contextlib.suppress(KeyboardInterrupt), folder.opened_for_training(compose_run([]), {}):
        assert folder.read_finished() is None
        raise KeyboardInterrupt
    kept = folder.read_finished()
    assert kept is not None
    assert kept.test_accuracy == 0.5
    with folder.opened_for_training(compose_run([]), {}):
        finished(folder, 0.75)
    replaced = folder.read_finished()
    assert replaced is not None
    assert replaced.test_accuracy == 0.75
    assert [path.name for path in folder.path.parent.iterdir() if path.name != ".locks"] == ["a-run"]


def test_the_log_of_an_attempt_that_fails_is_kept_with_the_result_that_stays(folder: RunFolder) -> None:
    for text in ("the first\n", "the second\n"):
        with contextlib.suppress(ZeroDivisionError), folder.opened_for_training(compose_run([]), {}):
            folder.log_path.write_text(text)
            if folder.log_path.read_text() == "the second\n":
                raise ZeroDivisionError
            finished(folder, 0.5)
    assert folder.log_path.read_text() == "the first\nthe second\n"


@pytest.mark.slow
def test_a_result_survives_a_kill_while_it_is_trained_anew(folder: RunFolder, kill_while_it_trains: Start) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        finished(folder, 0.5)
    kill_while_it_trains()()
    with contextlib.suppress(ZeroDivisionError), folder.opened_for_training(compose_run([]), {}):
        raise ZeroDivisionError
    kept = folder.read_finished()
    assert kept is not None
    assert kept.test_accuracy == 0.5


def test_a_summary_moves_with_its_folder(folder: RunFolder, tmp_path: Path) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        finished(folder, 0.5)
    moved = RunFolder(tmp_path / "elsewhere")
    folder.path.rename(moved.path)
    summary = moved.read_finished()
    assert summary is not None
    assert (summary.folder, summary.cached) == (str(moved.path), True)


def test_a_line_cut_off_by_a_crash_is_left_out(folder: RunFolder) -> None:
    with folder.opened_for_training(compose_run([]), {}):
        folder.append(StepRecord(1, {"loss": 1.0}))
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')
    assert [record["step"] for record in folder.read_records()] == [1]


def test_a_damaged_manifest_is_named(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"a-run.manifest\.json cannot be read"):
        folder.read_manifest()


def test_rows_of_runs_made_by_an_older_version_still_list(folder: RunFolder, tmp_path: Path) -> None:
    folder.path.mkdir(parents=True)
    config = {"seed": 3, "norm": {"name": "batch", "gone": 1}, "optim": {"name": "sgd", "lr": 0.1}, "old_key": True}
    folder.write_manifest({"status": "finished", "config": config})
    folder.write_summary(RunSummary("a-run", "finished", "", seed=3, steps=9))
    (folder.path / "metrics.jsonl").write_text(record_line(EndRecord(9, "finished", {})) + "\n")
    (row,) = read_run_rows(tmp_path / "runs")
    assert (row["run_id"], row["status"], row["seed"], row["norm"]) == ("a-run", "finished", 3, "batch")
    assert "problem" not in row
    assert (row["optim.lr"], row["norm.gone"], row["old_key"]) == (0.1, 1, True)
    assert list(row)[:2] == ["run_id", "status"]


def test_no_runs_yet_is_an_empty_list_but_a_wrong_path_is_an_error(tmp_path: Path) -> None:
    assert find_run_folders(tmp_path / "runs") == []
    with pytest.raises(ConfigError, match="is not a folder of runs"):
        find_run_folders(tmp_path / "rusn")


def test_a_place_that_cannot_be_written_to_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be written to .*file.single: .*--runs or BNLAB_RUNS"):
        RunFolder(tmp_path / "file" / "single" / "a-run").opened_for_training(compose_run([]), {}).__enter__()


def test_somebody_who_only_looks_does_not_keep_a_run_from_being_trained(folder: RunFolder) -> None:
    with folder.locked():
        pass
    looking = FileLock(folder.path.parent / ".locks" / f"{folder.path.name}.lock", thread_local=False)
    looking.acquire()
    threading.Timer(0.05, looking.release).start()
    with folder.locked():
        assert folder.is_locked()
