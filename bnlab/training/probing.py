"""What the diagnostics of a run look at, out of its data: the same for every seed and arm of one split."""

import torch

from bnlab.data.splits import DataSet
from bnlab.diagnostics.diagnostic import Batch, ProbeBatch
from bnlab.schema import RunConfig


def build_probe(config: RunConfig, data: DataSet) -> ProbeBatch:
    """Return the held-out images that every diagnostic looks at, and batches of the training set.

    Args:
        config: Of a run.
        data: Its data, on its device.
    """
    measured, size = config.diagnostics, config.train.part_size
    validation, train = data.validation, data.train
    probe, population = slice(0, measured.probe_size), slice(0, max(size, measured.population_size // size * size))
    batches = zip(torch.split(train.images[population], size), torch.split(train.labels[population], size), strict=True)
    return ProbeBatch(
        inputs=validation.images[probe],
        labels=validation.labels[probe],
        activation=config.model.activation,
        training_batches=tuple(Batch(*batch) for batch in batches),
        step_size=measured.step_size,
    )
