from collections.abc import Sequence
from pathlib import Path

import pytest
from live_board import live_tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bnlab.config.compose import compose_run
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.records import EvalRecord, RunSummary, StepRecord

CONFIG = compose_run(["data=synthetic"])
STEPS = list(range(0, 101, 10))


def log(folder: Path, steps: Sequence[int], status: str | None, base: float, purge_step: int | None = None) -> None:
    """Write a run's events; its values say who wrote them."""
    for number, earlier in enumerate(sorted(folder.glob("events*"))):
        # TensorBoard reads a run's files by name, which begins with the second; here none passes in between
        earlier.rename(folder / f"events.out.tfevents.{number:010}.earlier")
    logger = TensorBoardLogger(folder, CONFIG, ["norm"], purge_step)
    for step in steps:
        logger.take(StepRecord(step, {"loss": base + step, "accuracy": 0.5, "lr": 0.1}))
        logger.take(EvalRecord(step, "validation", {"loss": base + step, "accuracy": 0.5}))
    kind = None if status is None else RunSummary("r", status, str(folder), 0, test_accuracy=base, steps=steps[-1])  # type: ignore[arg-type]
    logger.close(kind)


EXPECTED = [(step, float(step) if step <= 60 else 1000.0 + step) for step in STEPS]


@pytest.fixture
def resumed(tmp_path: Path) -> Path:
    """A run that wrote steps 0 to 100, died, and went on from its checkpoint at step 60."""
    log(tmp_path / "r", STEPS, "interrupted", 0)
    log(tmp_path / "r", [step for step in STEPS if step > 60], "finished", 1000, purge_step=61)
    assert len(list((tmp_path / "r").iterdir())) == 2
    return tmp_path


def test_the_events_after_the_checkpoint_are_those_of_the_run_that_went_on(resumed: Path) -> None:
    events = EventAccumulator(str(resumed / "r"), size_guidance={"scalars": 0}).Reload()
    for tag in ("train/loss", "eval/loss"):
        assert [(event.step, event.value) for event in events.Scalars(tag)] == EXPECTED
    assert [event.value for event in events.Scalars("test/accuracy")] == [1000]


@pytest.mark.slow
@pytest.mark.parametrize("in_python", [False, True])
def test_a_live_tensorboard_shows_each_step_and_the_run_once(resumed: Path, in_python: bool) -> None:
    with live_tensorboard(resumed, in_python=in_python) as board:
        board.wait_for("data/plugin/scalars/scalars", lambda points: points[-1][2] == 1100, run="r", tag="eval/loss")
        assert board.points("r", "train/loss") == EXPECTED
        assert board.points("r", "eval/loss") == EXPECTED
        columns, rows = board.hparams()
        assert columns == ["norm"]
        (row,) = rows
        (session,) = row["sessions"]
        assert session["status"] == "STATUS_SUCCESS"  # not that of the run that was cut off
        assert row["hparams"] == {"norm": "batch"}


def test_a_run_that_died_twice_shows_each_step_once(resumed: Path) -> None:
    log(resumed / "r", [90, 100], "finished", 2000, purge_step=81)
    events = EventAccumulator(str(resumed / "r"), size_guidance={"scalars": 0}).Reload()
    values = [(step, value if step <= 80 else 2000.0 + step) for step, value in EXPECTED]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == values


def test_a_run_that_goes_on_without_its_earlier_events_declares_itself_again(tmp_path: Path) -> None:
    log(tmp_path / "r", [70, 80], "finished", 0, purge_step=61)
    events = EventAccumulator(str(tmp_path / "r")).Reload()
    assert "_hparams_/session_start_info" in events.summary_metadata
