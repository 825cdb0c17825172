"""Interrupted runs, observers, and the comparison of two runs; for the tests of resuming."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from bnlab.config.compose import compose_run
from bnlab.experiment import cohort_run
from bnlab.experiment.checking import Checked
from bnlab.experiment.cohort_run import run_experiment
from bnlab.experiment.observer import RunObserver
from bnlab.identity.run_id import run_id
from bnlab.records import Record, RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.checkpoint import read_checkpoint
from bnlab.training.loop import Plan

# nothing is aligned: checkpoints are in the middle of an epoch (11 batches), of a point of the curve, of the schedule
QUICK = [
    *["data=synthetic", "train.steps=26", "train.log_every=5", "train.eval_every=9", "train.checkpoint_every=4"],
    *[
        "model.width=8",
        "model.depth=2",
        "loggers=[]",
        "diagnostics.schedule.at=[0,3,17]",
        "diagnostics.schedule.log_spaced=0",
        "diagnostics.schedule.evenly=0",
        "accept=[statistics_not_settled]",
    ],
]


class Notes(RunObserver):
    """Keeps all that a run tells its observer."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.resumed_at: list[int] = []

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_resumed(self, step: int) -> None:
        self.resumed_at.append(step)


class InterruptAt(RunObserver):
    """A logger, and the observer that opens it: it interrupts the run at the first record of a step or later."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def take(self, record: Record) -> None:
        if record.step >= self.at_step:
            raise KeyboardInterrupt

    def close(self, summary: RunSummary | None) -> None:
        pass

    def open_logger(self, config: RunConfig, run_id: str, plan: Plan) -> "InterruptAt":  # noqa: ARG002
        return self


def check_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a config once, however often its run is trained: that takes half of the time of a short run.

    Checking comes before any file is written or read, and what it finds is not changed by training.
    """
    found: dict[str, Checked] = {}
    check = cohort_run.check

    def checked(config: RunConfig) -> Checked:
        key = config.model_dump_json()
        if key not in found:
            found[key] = check(config)
        return found[key]

    monkeypatch.setattr(cohort_run, "check", checked)


def train_until(step: int, config: RunConfig, folder: RunFolder) -> None:
    """Train a run and interrupt it at a step, if that is not past its end."""
    try:
        run_experiment(config, folder, InterruptAt(step))
    except KeyboardInterrupt:
        return


@functools.cache
def composed(*words: str) -> RunConfig:
    """Return the config of some words; composing takes 80 ms, and tests share few configs."""
    return compose_run(list(words))


_SHARED = tempfile.TemporaryDirectory(prefix="bnlab-whole-runs-")
_whole: dict[str, RunFolder] = {}


def trained_in_one_go(config: RunConfig) -> RunFolder:
    """Return the folder of a run that was never interrupted and wrote no checkpoint on its way.

    Tests only read it, so those of one config share it.
    """
    name = run_id(config)
    if name not in _whole:
        _whole[name] = RunFolder(Path(_SHARED.name) / name)
        train = config.train.model_copy(update={"checkpoint_every": None})
        run_experiment(config.model_copy(update={"train": train}), _whole[name])
    return _whole[name]


def figures(folder: RunFolder) -> dict[str, Any]:
    own = {"duration_s", "run_id"}
    return {
        key: value for key, value in json.loads((folder.path / "summary.json").read_text()).items() if key not in own
    }


def assert_equal(one: RunFolder, other: RunFolder) -> None:
    """Compare two runs: the bytes of their records, their summaries, the bits of their weights."""
    assert (one.path / "metrics.jsonl").read_bytes() == (other.path / "metrics.jsonl").read_bytes()
    assert figures(one) == figures(other)
    weights, expected = (read_checkpoint(folder.checkpoint_path) for folder in (one, other))
    assert weights["training"] is None
    assert weights["step"] == expected["step"]
    assert list(weights["model"]) == list(expected["model"])
    for name, tensor in weights["model"].items():
        torch.testing.assert_close(tensor, expected["model"][name], rtol=0, atol=0, equal_nan=True, check_stride=True)
