"""Slices of the loss around a run's final weights, computed when a user asks to see them."""

from pathlib import Path

import torch

from bnlab.data.opening import open_data
from bnlab.diagnostics.slices import LossSlice, slice_1d, slice_2d
from bnlab.experiment.loading import load_model
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.training.probing import build_probe


def slice_run(run: Path, *, is_plane: bool = False, span: float = 1.0, seed: int = 0) -> LossSlice:
    """Return the loss around a run's final weights, on training images.

    Args:
        run: The folder of the run.
        is_plane: Slice along two directions; otherwise along one.
        span: The distance to either side, in units of each filter's own norm.
        seed: Chooses the random directions.

    Raises:
        RunError: The run has no weights.
        DataError: The data are missing or damaged.
    """
    model = load_model(run)
    config = RunConfig.model_validate(RunFolder(run).read_config())
    batches = build_probe(config, open_data(config.data), "none").training_batches
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if is_plane:
            return slice_2d(model, batches, span=span, seed=seed)
        return slice_1d(model, batches, span=span, seed=seed)
    finally:
        torch.set_num_threads(before)
