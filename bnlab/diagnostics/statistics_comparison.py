"""BatchNorm's two faces: what a network does with running statistics, with a population's, and with a batch's own.

For norms that keep running statistics; where there is none, all is left out.

Shape letters: N images, K classes, C channels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named, Passes
from bnlab.diagnostics.population_statistics import poolable_norms, population, samples_per_statistic
from bnlab.norms.precise import Pool, pooling

MOST_AT_ONCE = 300
"""Images that go through in eval mode at a time, or one batch: so much of each layer is in memory, however many images
there are."""


@dataclass(frozen=True)
class Faces:
    """Logits of one set of images by the statistics that the norms used, and the labels.

    Attributes:
        running: (N, K), by running statistics: eval mode.
        precise: (N, K), by those of the population: eval mode, with these in place of the running ones.
        batch: (N, K), by those of each batch of the training's size, cut as in training; all else as in eval mode, so
            that dropout and noise are off.
        labels: (N,).
    """

    running: Tensor
    precise: Tensor
    batch: Tensor
    labels: Tensor

    def by_statistics(self) -> Named:
        """Return the logits by the statistics that gave them."""
        return {"running": self.running, "precise": self.precise, "batch": self.batch}


def _precise_buffers(seen: Observation, passes: Passes) -> Named:
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
    """Let norms that cut a batch into parts (ghosts, devices) do so though all else is in eval mode."""

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
    """Return logits by the statistics of batches of a size.

    The last images, where they do not fill a batch, go through in one with images before them; where there are fewer
    than one batch altogether, they make a smaller one.
    """
    norms = list(poolable_norms(seen).values())
    num_left = len(inputs) % size
    parts = torch.split(inputs[: len(inputs) - num_left], size) if len(inputs) > num_left else ()
    with pooling({norm: Pool() for norm in norms}), _cut_as_in_training(norms):
        logits = [passes.logits(part, training=False) for part in parts]
        if num_left:
            logits.append(passes.logits(inputs[-size:], training=False)[-num_left:])
    return torch.cat(logits)


def _faces(seen: Observation) -> dict[str, Faces]:
    """Return the faces of held-out images (no prefix) and of training images (``train_``); none without such norms."""

    def compute(seen: Observation) -> dict[str, Faces]:
        if seen.probe is None or seen.passes is None or not seen.probe.training_batches or not poolable_norms(seen):
            return {}
        passes, batches = seen.passes, seen.probe.training_batches
        precise, size = _precise_buffers(seen, passes), len(batches[0].labels)
        trained_on = torch.cat([b.inputs for b in batches]), torch.cat([b.labels for b in batches])
        found = {}
        for prefix, (inputs, labels) in {"": (seen.probe.inputs, seen.probe.labels), "train_": trained_on}.items():
            pieces = torch.split(inputs, max(size, MOST_AT_ONCE))
            found[prefix] = Faces(
                torch.cat([passes.logits(piece, training=False) for piece in pieces]),
                torch.cat([passes.logits(piece, training=False, buffers=precise) for piece in pieces]),
                _by_batch_statistics(seen, passes, inputs, size),
                labels,
            )
        return found

    return seen.derived("faces", compute)


def _share(flags: Tensor, *logits: Tensor) -> Tensor:
    # argmax finds a class in NaN too: without this a network full of NaN would never change its mind
    finite = torch.stack([one.isfinite().all() for one in logits]).all()
    return torch.where(finite, flags.float().mean(), torch.nan)


class AccuracyByStatistics(Diagnostic):
    """How often the network is right with running, with a population's and with a batch's own statistics.

    On the held-out probe batch (``running``, ``precise``, ``batch``) and on training images (``train_running``, ...).
    precise: the training images' own moments, pooled at the weights as they are. batch: of batches as large as in
    training, of the images that are looked at; norms that cut a batch (ghosts, devices) cut these. Each image counts
    once: the last ones fill their batch with images before them. Dropout and noise are off in all three.

    Unit:
        Share of images, 0 to 1. NaN as soon as one logit is not finite.

    Reading:
        running below precise: the running average trails the weights, or remembers its start. batch and precise apart
        on training images: batches are too small to stand for the population. Together there, and apart on the
        probe: its images are distributed differently. `bnlab show RUN` names the cause.

    Cost:
        Ten passes over as many images as the population has.

    Blind spots:
        With ``population_size`` images the population's moments are estimates too. In batch mode an image's class
        depends on its neighbors: on batches of one class each it would be another number. Dropout before a norm is on
        while the population's moments are pooled, as in training, and off here (Li et al. 2019, arXiv:1801.05134).

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
            f"network/{prefix}{how}": _share(logits.argmax(1) == face.labels, logits)
            for prefix, face in _faces(seen).items()
            for how, logits in face.by_statistics().items()
        }


class LossByStatistics(Diagnostic):
    """The mean cross-entropy with running, with a population's and with a batch's own statistics.

    As `accuracy_by_statistics`.

    Unit:
        Nats per image.

    Reading:
        As `accuracy_by_statistics`; it moves before the accuracy does.

    Cost:
        Shared with `accuracy_by_statistics`.

    Blind spots:
        A few images with absurd logits can decide it.

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
            f"network/{prefix}{how}": F.cross_entropy(logits, face.labels)
            for prefix, face in _faces(seen).items()
            for how, logits in face.by_statistics().items()
        }


class PredictionFlips(Diagnostic):
    """How many images get another class when the norms use other statistics.

        running_batch    share of the probe whose argmax differs between running and batch statistics
        running_precise  likewise between running and the population's

    Unit:
        Share of images, 0 to 1. NaN as soon as one logit is not finite.

    Reading:
        Accuracies can agree while other images are wrong: this sees it.

    Cost:
        Shared with `accuracy_by_statistics`.

    Blind spots:
        Images near a boundary flip for any reason: some per cent are usual.

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
        return {
            f"network/running_{how}": _share(face.running.argmax(1) != other.argmax(1), face.running, other)
            for prefix, face in _faces(seen).items()
            if not prefix
            for how, other in (("batch", face.batch), ("precise", face.precise))
        }
