"""Statistics comparison: a network's outputs with running statistics, with the population's, and with each batch's own.

For networks with norms that keep running statistics; a network without one has none of these values.

Shape letters: N images, K classes, C channels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Observation, OfRunningStatistics, Ranges
from bnlab.diagnostics.passes import Named, Passes
from bnlab.diagnostics.population_statistics import poolable_norms, population, samples_per_statistic
from bnlab.norms.precise import Pool, pooling

MOST_AT_ONCE = 300
"""Images per forward pass in eval mode, or one batch if that is more: this bounds the memory that a pass takes."""


@dataclass(frozen=True)
class ComparedLogits:
    """Logits of one set of images with three kinds of statistics, and the labels.

    Attributes:
        running: (N, K), with running statistics: eval mode.
        population: (N, K), in eval mode, with the population's statistics in place of the running ones.
        batch: (N, K), with the statistics of batches as large as in training, which norms cut as in training; all else
            is in eval mode, so that dropout and noise are off.
        labels: (N,), the right classes.
    """

    running: Tensor
    population: Tensor
    batch: Tensor
    labels: Tensor

    def by_statistics(self) -> Named:
        """Return the logits by the kind of statistics that gave them."""
        return {"running": self.running, "population": self.population, "batch": self.batch}


def _population_buffers(seen: Observation, passes: Passes) -> Named:
    names = {module: name for name, module in passes.network.named_modules()}
    buffers = {}
    for role, pool in population(seen).items():
        for name, value in pool.statistics.items():
            full_name = f"{names[seen.norms[role]]}.{name}"
            if full_name in passes.buffers:
                buffers[full_name] = value.to(passes.buffers[full_name].dtype)
    return buffers


@contextlib.contextmanager
def _cut_as_in_training(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Let norms that cut a batch into parts (ghosts, devices) do so while all else is in eval mode."""

    def begin(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        norm.training = samples_per_statistic(norm, args[0]) < len(args[0])

    def end(norm: nn.Module, *_: object) -> None:
        norm.training = False

    hooks = [norm.register_forward_pre_hook(begin) for norm in norms]
    hooks += [norm.register_forward_hook(end) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _by_batch_statistics(seen: Observation, passes: Passes, inputs: Tensor, size: int) -> Tensor:
    """Return logits with the statistics of batches of a size.

    If the last images do not fill a batch, the images before them fill it. If there are fewer images than one batch
    takes, they are one smaller batch.
    """
    norms = list(poolable_norms(seen).values())
    num_left = len(inputs) % size
    parts = torch.split(inputs[: len(inputs) - num_left], size) if len(inputs) > num_left else ()
    with pooling({norm: Pool() for norm in norms}), _cut_as_in_training(norms):
        logits = [passes.logits(part, training=False) for part in parts]
        if num_left:
            logits.append(passes.logits(inputs[-size:], training=False)[-num_left:])
    return torch.cat(logits)


def _compared(seen: Observation) -> dict[str, ComparedLogits]:
    """Return the logits of held-out images (key: empty) and of training images (key ``train_``).

    Empty for a network without norms that keep running statistics.
    """

    def compute(seen: Observation) -> dict[str, ComparedLogits]:
        if seen.probe is None or seen.passes is None or not seen.probe.training_batches or not poolable_norms(seen):
            return {}
        passes, batches = seen.passes, seen.probe.training_batches
        population_buffers, size = _population_buffers(seen, passes), len(batches[0].labels)
        trained_on = torch.cat([b.inputs for b in batches]), torch.cat([b.labels for b in batches])
        found = {}
        for prefix, (inputs, labels) in {"": (seen.probe.inputs, seen.probe.labels), "train_": trained_on}.items():
            pieces = torch.split(inputs, max(size, MOST_AT_ONCE))
            found[prefix] = ComparedLogits(
                torch.cat([passes.logits(piece, training=False) for piece in pieces]),
                torch.cat([passes.logits(piece, training=False, buffers=population_buffers) for piece in pieces]),
                _by_batch_statistics(seen, passes, inputs, size),
                labels,
            )
        return found

    return seen.derived("statistics comparison", compute)


def _share(flags: Tensor, *logits: Tensor) -> Tensor:
    # argmax finds a class in NaN too: without this line, two outputs that are all NaN would count as equal classes
    finite = torch.stack([one.isfinite().all() for one in logits]).all()
    return torch.where(finite, flags.float().mean(), torch.nan)


class AccuracyByStatistics(OfRunningStatistics):
    """The accuracy of the network with running, with the population's and with each batch's own statistics.

    On the held-out probe batch (``running``, ``population``, ``batch``) and on training images (``train_running`` ...).
    population: mean and variance of many training images, pooled at the present weights. batch: mean and variance of
    batches as large as in training, of the same images that are classified; norms that cut a batch (ghosts, devices)
    cut these too. Each image counts once. Dropout and noise are off in all three.

    Unit:
        Share of images, 0 to 1. NaN as soon as one logit is not finite.

    Reading:
        running below population: the running average lags behind the weights, or still contains its initial value. A
        gap between batch and population on training images: batches are too small to represent the population. A gap
        on the held-out images only: these are distributed differently. `bnlab show RUN` names the cause.

    Cost:
        Ten passes over as many images as the population has.

    Blind spots:
        The population's statistics are estimates too, from ``population_size`` images. With batch statistics, the class
        of an image depends on the other images of its batch: batches of one class each would give another accuracy.
        Dropout before a norm is on while the population's statistics are pooled, as in training, and off while images
        are classified (Li et al. 2019, arXiv:1801.05134).

    Source:
        Wu & Johnson 2021, arXiv:2105.07576, sections 3 and 5.
    """

    name = "accuracy_by_statistics"
    unit = "share of images"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the accuracies, of the whole network."""
        return {
            f"network/{prefix}{kind}": _share(logits.argmax(1) == compared.labels, logits)
            for prefix, compared in _compared(seen).items()
            for kind, logits in compared.by_statistics().items()
        }


class LossByStatistics(OfRunningStatistics):
    """The mean cross-entropy with running, with the population's and with each batch's own statistics.

    As `accuracy_by_statistics`.

    Unit:
        Nats per image.

    Reading:
        As `accuracy_by_statistics`; it moves before the accuracy does.

    Cost:
        Shared with `accuracy_by_statistics`.

    Blind spots:
        A few images with extreme logits can dominate the mean.

    Source:
        Wu & Johnson 2021, arXiv:2105.07576, sections 3 and 5.
    """

    name = "loss_by_statistics"
    unit = "nats per image"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the losses, of the whole network."""
        return {
            f"network/{prefix}{kind}": F.cross_entropy(logits, compared.labels)
            for prefix, compared in _compared(seen).items()
            for kind, logits in compared.by_statistics().items()
        }


class PredictionFlips(OfRunningStatistics):
    """The share of images that get another class when the norms use other statistics.

        running_batch       share of the held-out images whose class differs between running and batch statistics
        running_population  the same between running statistics and the population's

    Unit:
        Share of images, 0 to 1. NaN as soon as one logit is not finite.

    Reading:
        Two accuracies can be equal though different images are wrong: this value shows it.

    Cost:
        Shared with `accuracy_by_statistics`.

    Blind spots:
        Images near a decision boundary change class easily: a few percent are usual.

    Source:
        Ours.
    """

    name = "prediction_flips"
    unit = "share of images"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.1)}
    too_high = "of the images change class with the statistics: running ones do not stand for the batches'"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return both shares, of the whole network."""
        held_out = _compared(seen).get("")
        if held_out is None:
            return {}
        running, classes = held_out.running, held_out.running.argmax(1)
        return {
            f"network/running_{kind}": _share(classes != other.argmax(1), running, other)
            for kind, other in (("batch", held_out.batch), ("population", held_out.population))
        }
