from pathlib import Path

import pytest
from interrupted_runs import QUICK, train_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bnlab.config.compose import compose_run
from bnlab.runfolder.folder import RunFolder

WORDS = [*QUICK, "loggers=[tensorboard]"]


def curves(folder: RunFolder) -> dict[str, list[int]]:
    events = EventAccumulator(str(folder.path), size_guidance={"scalars": 0}).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["nothing", "the tail", "everything"])
def test_a_resumed_run_is_complete_in_tensorboard_even_if_a_kill_lost_events(tmp_path: Path, lost: str) -> None:
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train_until(100, compose_run(WORDS), whole)
    train_until(18, compose_run(WORDS), cut)
    (events,) = cut.path.glob("events.out.tfevents.*")
    size = {"nothing": events.stat().st_size, "the tail": events.stat().st_size - 700, "everything": 0}[lost]
    with events.open("r+b") as file:
        file.truncate(size)
    events.rename(events.with_name("events.out.tfevents.0000000001.earlier"))  # as if a second had passed
    train_until(100, compose_run(WORDS), cut)
    assert cut.read_manifest()["resumed"][0]["step"] == 16
    expected = curves(whole)
    assert expected["eval/loss"] == [0, 9, 18, 26]
    assert curves(cut) == expected
    metadata = EventAccumulator(str(cut.path)).Reload().summary_metadata
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info", "config"} <= set(metadata)
