"""Runs that are cut off, and what must be equal of two runs; for the tests of resuming."""

from pathlib import Path
from typing import Any

import torch

from bnlab.experiment.cohort_run import run_experiment
from bnlab.records import Record, RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.checkpoint import read_checkpoint

# nothing is aligned: a checkpoint in the middle of an epoch (11 batches), of a point of the curve, of the schedule
QUICK = [
    *["data=synthetic", "train.steps=26", "train.log_every=5", "train.eval_every=9", "train.checkpoint_every=4"],
    *[
        "model.width=8",
        "model.depth=2",
        "loggers=[]",
        "diagnostics.schedule.at=[0,3,17]",
        "accept=[statistics_not_settled]",
    ],
]


class CutOff:
    """A view that ends the run at the first record of a step or later."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def take(self, record: Record) -> None:
        if record.step >= self.at_step:
            raise KeyboardInterrupt

    def close(self, summary: RunSummary | None) -> None:
        pass


def train_until(step: int, config: RunConfig, folder: RunFolder) -> None:
    """Train a run that is cut off at a step, if that is not past its end."""
    try:
        run_experiment(config, folder, lambda *_: CutOff(step))
    except KeyboardInterrupt:
        return


def trained_in_one_go(config: RunConfig) -> RunFolder:
    """Return the folder of a run that was never cut off and never made a checkpoint."""
    folder = RunFolder(Path("whole").absolute())
    train = config.train.model_copy(update={"checkpoint_every": None})
    run_experiment(config.model_copy(update={"train": train}), folder)
    return folder


def figures(folder: RunFolder) -> dict[str, Any]:
    own = {"duration_s", "run_id"}
    return {key: value for key, value in folder.read_summary().items() if key not in own}


def assert_equal(one: RunFolder, other: RunFolder) -> None:
    """Hold two runs against each other: records by their bytes, figures, weights by their bits."""
    assert (one.path / "metrics.jsonl").read_bytes() == (other.path / "metrics.jsonl").read_bytes()
    assert figures(one) == figures(other)
    weights, expected = (read_checkpoint(folder.checkpoint_path) for folder in (one, other))
    assert weights["training"] is None
    assert weights["step"] == expected["step"]
    assert list(weights["model"]) == list(expected["model"])
    for name, tensor in weights["model"].items():
        torch.testing.assert_close(tensor, expected["model"][name], rtol=0, atol=0, equal_nan=True, check_stride=True)
