"""Runs that TensorBoard shows, written by bnlab's own logger without any training."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from bnlab.identity.run_id import run_id
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.records import DiagnosticRecord, EvalRecord, Record, StepRecord
from bnlab.sweeps.grid import expand

SHOWN = ("saturation", "dead_fraction", "gradient_norm")
"""Diagnostics that each run has."""


def write_runs(root: Path, number: int, folder: str = "single", keys: Sequence[str] | None = None) -> list[str]:
    """Write runs; return their names in TensorBoard, in the order in which they were trained.

    Args:
        root: The folder of all runs.
        number: How many.
        folder: The name of the folder in it.
        keys: For runs of a sweep, which have no Custom Scalars page, what is swept.
    """
    names = []
    grid = expand(["data=synthetic", "norm=batch,none", f"seed=range({math.ceil(number / 2)})"])
    for config in grid.configs[:number]:
        path = root / folder / run_id(config)
        logger = TensorBoardLogger(path, config, keys)
        for step in range(0, 50, 10):
            for record in _records(step, len(names)):
                logger.take(record)
        logger.close(None)
        manifest = path / "manifest.json"
        manifest.write_text(json.dumps({"status": "finished", "config": config.as_dict()}))
        os.utime(manifest, (1e9 + len(names),) * 2)
        names.append(f"{folder}/{path.name}")
    return names


def _records(step: int, run: int) -> list[Record]:
    loss = 2.3 * math.exp(-step / 50) + run / 1000
    values = {"loss": loss, "accuracy": 1 - loss / 3}
    inside = {"hidden1": 0.1 + run / 1000, "hidden2": 0.2 + step / 1000}
    measured = [DiagnosticRecord(step, name, inside) for name in SHOWN]
    return [StepRecord(step, {**values, "lr": 0.1}), EvalRecord(step, "validation", values), *measured]
