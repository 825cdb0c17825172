import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import BNLAB_WITH_ONE_WORKER

from bnlab.config.compose import compose_run
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member, Recorder
from bnlab.identity.run_id import run_id
from bnlab.records import Record
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.execute import execute
from bnlab.training.interruption import SIGNALS, Interruption

Say = Callable[..., Any]
QUICK = [
    *["data=synthetic", "train.steps=60", "train.log_every=5", "model.width=8"],
    *["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=3"],
]
NUMBERS = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _signals_are_handled() -> Iterator[None]:
    """Set the usual handlers, whatever the process that started the tests ignores."""
    usual = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(NUMBERS, signal.SIG_DFL)}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    left = {number: signal.getsignal(number) for number in usual}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert left == usual


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Raise a signal when a step is recorded; called twice, both."""

    def arrange(step: int, number: int) -> None:
        take = Recorder.take

        def take_and_signal(recorder: Recorder, record: Record) -> None:
            take(recorder, record)
            if record.kind == "step" and record.step == step:
                signal.raise_signal(number)

        monkeypatch.setattr(Recorder, "take", take_and_signal)

    return arrange


def metrics(runs: Path) -> bytes:
    (path,) = runs.glob("single/*/metrics.jsonl")
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_announces_an_end_leaves_a_checkpoint_and_the_same_command_resumes_from_it(
    bnlab_says: Say, signal_at: Callable[[int, int], None], tmp_path: Path, number: int
) -> None:
    bnlab_says("train", "-q", *QUICK, "--runs", str(tmp_path / "whole"))
    signal_at(25, number)
    answer = bnlab_says("train", *QUICK)
    assert (answer.status, answer.out) == (128 + number, "")
    assert "asked to stop at step 25; the same command resumes from there" in answer.err
    assert signal.getsignal(number) is signal.SIG_DFL
    answer = bnlab_says("train", "--json", *QUICK)
    assert "The run was interrupted; it resumes from its checkpoint at step 25." in answer.err
    assert json.loads(answer.out)["status"] == "finished"
    assert metrics(tmp_path / "runs") == metrics(tmp_path / "whole")


def test_json_tells_of_the_interruption_and_quiet_does_not(
    bnlab_says: Say, signal_at: Callable[[int, int], None]
) -> None:
    signal_at(25, signal.SIGTERM)
    answer = bnlab_says("train", "--json", "--quiet", *QUICK)
    assert (answer.status, answer.err) == (143, "")
    facts = json.loads(answer.out)
    assert (facts["status"], facts["steps"]) == ("interrupted", 25)


def test_a_signal_at_the_last_step_is_too_late_to_stop_anything(
    bnlab_says: Say, signal_at: Callable[[int, int], None]
) -> None:
    signal_at(60, signal.SIGTERM)
    answer = bnlab_says("train", "--json", "-q", *QUICK)
    assert (answer.status, json.loads(answer.out)["status"]) == (0, "finished")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_last_step_of_a_sweep_is_too_late_to_stop_anything(
    bnlab_says: Say, signal_at: Callable[[int, int], None], number: int
) -> None:
    signal_at(60, number)
    answer = bnlab_says("sweep", "--json", "--jobs", "1", "seed=0", *QUICK)
    assert (answer.status, json.loads(answer.out)["status"]) == (0, "finished")
    assert "missing" not in answer.err


@pytest.mark.parametrize(
    ("when", "options", "missing"),
    [
        ("behind", [], "no run is missing"),
        ("before", [], "1 of 1 runs are missing"),
        ("before", ["--again"], "1 of 1 runs are missing"),  # the old result is no new one
    ],
)
def test_a_sweep_that_is_cut_off_says_how_many_runs_are_missing(
    bnlab_says: Say, monkeypatch: pytest.MonkeyPatch, when: str, options: list[str], missing: str
) -> None:
    words = ["sweep", "--jobs", "1", "seed=0", "name=s", *QUICK]
    if options:
        bnlab_says(*words, "--quiet")

    def cut_off(*given: Any, **named: Any) -> None:
        if when == "behind":
            execute(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr("bnlab.sweeps.execute.execute", cut_off)
    answer = bnlab_says(*words, *options)
    assert (answer.status, answer.out) == (130, "")
    assert f"interrupted; {missing}; what was recorded is in" in answer.err


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on_from_it(
    bnlab_says: Say, signal_at: Callable[[int, int], None], tmp_path: Path
) -> None:
    bnlab_says("train", "-q", *QUICK, "--runs", str(tmp_path / "whole"))
    signal_at(25, signal.SIGINT)
    answer = bnlab_says("train", *QUICK)
    assert (answer.status, answer.out) == (130, "")
    assert "Ctrl-C again stops at once" in answer.err
    assert "asked to stop at step 25; the same command resumes from there" in answer.err
    answer = bnlab_says("train", "--json", *QUICK)
    assert "resumes from its checkpoint at step 25" in answer.err
    assert json.loads(answer.out)["status"] == "finished"
    assert metrics(tmp_path / "runs") == metrics(tmp_path / "whole")


def test_a_second_ctrl_c_stops_at_once(bnlab_says: Say, signal_at: Callable[[int, int], None], tmp_path: Path) -> None:
    signal_at(25, signal.SIGINT)
    signal_at(25, signal.SIGINT)
    assert bnlab_says("train", "-q", *QUICK).status == 130
    assert not list(tmp_path.rglob("checkpoint*.pt"))


@pytest.mark.slow
def test_a_run_that_was_interrupted_together_with_others_does_not_resume_alone(bnlab_says: Say, tmp_path: Path) -> None:
    configs = [compose_run([*QUICK, f"seed={seed}"]) for seed in (0, 1)]
    members = [Member(config, RunFolder(tmp_path / "runs" / "single" / run_id(config))) for config in configs]
    interruption = Interruption()
    interruption.is_asked = True
    run_cohort(members, "vectorized", interruption=interruption)
    answer = bnlab_says("train", *QUICK, "seed=1")
    assert (answer.status, answer.out) == (2, "")
    assert (
        "was interrupted while a sweep trained 2 runs together, and resumes only with them. Run the sweep" in answer.err
    )
    assert len(answer.err.strip().splitlines()) == 2
    assert all(member.folder.checkpoint_path.exists() for member in members)
    assert bnlab_says("train", "-q", "--again", *QUICK, "seed=1").status == 0


@pytest.mark.slow
def test_a_run_that_was_begun_by_the_vectorized_engine_resumes_with_it(bnlab_says: Say, tmp_path: Path) -> None:
    config = compose_run(QUICK)
    whole = Member(config, RunFolder(tmp_path / "whole" / run_id(config)))
    run_cohort([whole], "vectorized")
    folder = RunFolder(tmp_path / "runs" / "single" / run_id(config))
    interruption = Interruption()
    interruption.is_asked = True
    run_cohort([Member(config, folder)], "vectorized", interruption=interruption)
    answer = bnlab_says("train", *QUICK)
    assert "The run was interrupted; it resumes from its checkpoint at step 1." in answer.err
    assert folder.read_manifest()["engine"] == "vectorized"
    assert (folder.path / "metrics.jsonl").read_bytes() == (whole.folder.path / "metrics.jsonl").read_bytes()


def _take_the_terminal() -> None:
    import fcntl  # noqa: PLC0415  (Windows has neither)
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other terminals")
@pytest.mark.parametrize("words", [["train"], ["sweep", "seed=0,1", "sweep.engine=sequential", "--jobs", "2"]])
def test_a_terminal_that_is_closed_leaves_a_checkpoint(words: list[str], started: Callable[..., Any]) -> None:
    ours, theirs = os.openpty()
    endless = [*QUICK[:1], *QUICK[2:], "diagnostics=none", "train.steps=1000000"]
    process = started(
        *(sys.executable, "-c", BNLAB_WITH_ONE_WORKER, *words, *endless),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        preexec_fn=_take_the_terminal,
    )
    os.close(theirs)
    deadline = time.monotonic() + 300
    while not [path for path in Path("runs").glob("*/*/metrics.jsonl") if path.stat().st_size]:
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 10_000)  # else its view would wait for somebody to read
        assert process.poll() is None
        assert time.monotonic() < deadline
    os.close(ours)
    process.wait(120)
    statuses = [json.loads(path.read_text())["status"] for path in Path("runs").glob("*/*/manifest.json")]
    assert statuses == ["interrupted"]
    assert len(list(Path("runs").glob("*/*/checkpoint.pt"))) == 1
