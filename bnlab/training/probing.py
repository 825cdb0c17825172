"""The images that a run's diagnostics measure: the same for every seed and arm of one split."""

import torch

from bnlab.data.splits import DataSet, Split
from bnlab.diagnostics.diagnostic import Batch, ProbeBatch
from bnlab.schema import RunConfig
from bnlab.seeding import generator_for


def build_probe(config: RunConfig, data: DataSet, activation: str) -> ProbeBatch:
    """Return the held-out probe batch that every diagnostic gets, and batches of the training set.

    Both are drawn at random with the split's seed, because in some data sets the images are sorted by class.

    Args:
        config: The settings of a run.
        data: The three splits of the run, on its device.
        activation: The name of the network's activation.
    """
    measured, size = config.diagnostics, config.train.part_size
    if config.norm.options.get("sync", False):
        size *= config.train.processes
    probe = _drawn(data.validation, measured.probe_size, config.data.split_seed, "validation")
    population = _drawn(data.train, max(size, measured.population_size // size * size), config.data.split_seed, "train")
    batches = zip(torch.split(population.inputs, size), torch.split(population.labels, size), strict=True)
    return ProbeBatch(
        inputs=probe.inputs,
        labels=probe.labels,
        activation=activation,
        training_batches=tuple(Batch(*batch) for batch in batches if len(batch[1]) == size),
        step_size=measured.step_size,
    )


def _drawn(split: Split, num_images: int, split_seed: int, name: str) -> Batch:
    order = torch.randperm(len(split), generator=generator_for(split_seed, "probe", name))
    chosen = order[:num_images].to(split.images.device)
    return Batch(split.images[chosen], split.labels[chosen])
