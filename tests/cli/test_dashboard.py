import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import bnlab
from bnlab.cli import dashboard_command
from bnlab.loggers.tensorboard import first_page, serving
from bnlab.report import dashboard as dashboard_report
from bnlab.results.sweep import write_sweep

Say = Callable[..., Any]
PATIENCE_S = 120.0
QUICK = ["data=synthetic", "model.width=16", "train.steps=20"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def start(started: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start the dashboard in a process of its own; it ends with the test."""
    return lambda *words: started(sys.executable, "-m", "bnlab.cli.app", "dashboard", *words)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_it_prints_its_address_and_ends_with_ctrl_c(start: Callable[..., subprocess.Popen[str]]) -> None:
    bnlab.train(QUICK)
    port = free_port()
    process = start("--port", str(port))
    assert line_of(process) == f"http://127.0.0.1:{port}/"
    status, err = ended(process)
    assert status == 130
    assert "Traceback" not in err
    assert "experimental fast data loading" not in err


@pytest.fixture
def sweep() -> Path:
    """A sweep of two runs, one of which is still missing."""
    summary = bnlab.train([*QUICK, "name=mine"])
    write_sweep(Path("runs/mine"), ["seed=0,1"], [summary.run_id, summary.run_id.replace("-s0-", "-s1-")])
    return Path("runs/mine").absolute()


@pytest.mark.slow
def test_a_sweep_is_shown_by_its_name_with_its_arms_and_the_pages_to_look_at(
    sweep: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("mine", "--port", "0")
    address = line_of(process)
    deadline = time.monotonic() + PATIENCE_S
    runs: list[str] = []
    while "arms/batch" not in runs and time.monotonic() < deadline:
        with urllib.request.urlopen(f"{address}data/runs", timeout=PATIENCE_S) as answer:
            runs = json.loads(answer.read())
        time.sleep(0.1)
    assert set(runs) == {".", "arms/batch", next(sweep.glob("batch-*")).name}
    status, err = ended(process)
    assert status == 130
    assert f"{address}#hparams" in err
    assert f"{address}#timeseries" in err
    assert "1 of 2 runs have ended. Runs that end from now on are added." in err


def test_it_says_how_many_of_many_runs_are_checked(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, bnlab_says: Say
) -> None:
    monkeypatch.setattr(serving, "serve", lambda *_: "http://127.0.0.1:1/")
    monkeypatch.setattr(dashboard_command, "threading", Mock(Event=Mock(side_effect=KeyboardInterrupt)))
    monkeypatch.setattr(first_page, "MOST", 2)
    monkeypatch.setattr(first_page, "FEW", 2)
    assert "checked" not in bnlab_says("dashboard", str(sweep.parent)).err
    for number in range(3):
        shutil.copytree(next(sweep.glob("batch-*")), sweep.parent / "single" / f"batch-s{number}")
    assert "2 newest of 4 runs and arms are checked" in bnlab_says("dashboard").err


def test_what_ends_while_it_is_shown_joins_its_arm(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_command, "REFRESH_S", 0.05)
    monkeypatch.setattr(serving, "serve", lambda *_: "http://127.0.0.1:1/")
    sizes = []
    refresh = dashboard_report.refresh_dashboard

    def one_more_ends(folder: Path, known: frozenset[str] | None) -> frozenset[str]:
        if known is not None:
            (first,) = known
            other = folder / first.replace("-s0-", "-s1-")
            shutil.copytree(folder / first, other)
            manifest = (other / "manifest.json").read_text()
            (other / "manifest.json").write_text(manifest.replace('"seed": 0', '"seed": 1'))
            write_sweep(folder, ["seed=0,1"], [first, other.name])
        now = refresh(folder, known)
        sizes.append(len(now))
        return now

    monkeypatch.setattr(dashboard_report, "refresh_dashboard", one_more_ends)
    dashboard_command._show_sweep(sweep, None)  # comes back when there is nothing left to wait for
    assert sizes == [1, 2]
    (text,) = (path.read_bytes() for path in sweep.glob("*.bnlab") if path.stat().st_size)
    assert b"2 of 2 runs have ended." in text


def test_a_dashboard_is_not_written_again_when_nothing_has_ended(sweep: Path) -> None:
    known = dashboard_report.refresh_dashboard(sweep, None)
    before = sorted(sweep.rglob("*.bnlab"))
    assert dashboard_report.refresh_dashboard(sweep, known) == known
    assert sorted(sweep.rglob("*.bnlab")) == before


def test_a_sweep_that_cannot_be_written_to_is_shown_all_the_same(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dashboard_report, "refresh_dashboard", refuse)
    monkeypatch.setattr(serving, "serve", lambda *_: "http://127.0.0.1:1/")
    dashboard_command._show_sweep(sweep, None)
    out, err = capfd.readouterr()
    assert out == "http://127.0.0.1:1/\n"
    assert "cannot be written: Permission denied" in err


def test_without_runs_it_says_what_to_do(bnlab_says: Say) -> None:
    answer = bnlab_says("dashboard")
    assert answer.status == 2
    assert "Train one: bnlab train" in answer.err


def test_a_name_that_is_not_there_gets_one_line(bnlab_says: Say, sweep: Path) -> None:
    assert sweep.is_dir()
    answer = bnlab_says("dashboard", "mien")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "Did you mean mine?" in answer.err


@pytest.mark.slow
def test_a_port_that_is_taken_gets_one_line(sweep: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = start(str(sweep), "--port", str(listener.getsockname()[1]))
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert "already in use. Leave --port out" in err
