"""BatchNorm's two faces: what a network does with running statistics, with a population's, and with a batch's own.

For norms that keep running statistics; where there is none, all is left out.

Shape letters: N images, K classes, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named, Passes
from bnlab.norms.precise import Pool, is_poolable, pooling

VARIANCE_FLOOR = 1e-5
"""Added to both variances that are compared, as a norm adds eps: a channel that never moves has none."""


@dataclass(frozen=True)
class Faces:
    """Logits of one set of images by the statistics that the norms used, and the labels.

    Attributes:
        running: Running statistics: eval mode.
        precise: Those of the population: eval mode, with these in place of the running ones.
        batch: Those of each batch of the training's size: else eval mode, so that dropout and noise are off.
        labels: (N,).
    """

    running: Tensor
    precise: Tensor
    batch: Tensor
    labels: Tensor


def poolable_norms(seen: Observation) -> dict[str, nn.Module]:
    """Return the norms by role whose running statistics can be compared with a population's."""
    return {role: norm for role, norm in seen.norms.items() if is_poolable(norm)}


def population(seen: Observation) -> dict[str, Pool]:
    """Return, by role, the statistics of a norm's inputs over all training batches, and over each.

    In training mode, as running statistics see them: each layer's input is normalized by batch statistics, and dropout
    and noise are on. Pooled by the law of total variance.
    """

    def compute(seen: Observation) -> dict[str, Pool]:
        assert seen.passes is not None
        assert seen.probe is not None
        norms = poolable_norms(seen)
        pools = {norm: Pool() for norm in norms.values()}
        with pooling(pools):
            for batch in seen.probe.training_batches:
                seen.passes.logits(batch.inputs)
        return {role: pools[norm] for role, norm in norms.items() if pools[norm].num_values}

    return seen.derived("population", compute)


def _precise_buffers(seen: Observation, passes: Passes) -> Named:
    names = {module: name for name, module in passes.network.named_modules()}
    buffers = {}
    for role, pool in population(seen).items():
        for name, value in pool.statistics.items():
            full_name = f"{names[seen.norms[role]]}.{name}"
            if full_name in passes.buffers:
                buffers[full_name] = value.to(passes.buffers[full_name].dtype)
    return buffers


def _by_batch_statistics(seen: Observation, passes: Passes, parts: Sequence[Tensor]) -> Tensor:
    logits = []
    for part in parts:
        with pooling({norm: Pool() for norm in poolable_norms(seen).values()}):
            logits.append(passes.logits(part, training=False))
    return torch.cat(logits)


def _faces(seen: Observation) -> dict[str, Faces]:
    """Return the faces of held-out images (no prefix) and of training images (``train_``); none without such norms."""

    def compute(seen: Observation) -> dict[str, Faces]:
        if not poolable_norms(seen) or seen.probe is None or seen.passes is None or not seen.probe.training_batches:
            return {}
        passes, batches = seen.passes, seen.probe.training_batches
        precise = _precise_buffers(seen, passes)
        size = len(batches[0].labels)
        trained_on = Batch(torch.cat([b.inputs for b in batches]), torch.cat([b.labels for b in batches]))
        found = {}
        for prefix, (inputs, labels) in {"": (seen.probe.inputs, seen.probe.labels), "train_": trained_on}.items():
            parts = [part for part in torch.split(inputs, size) if len(part) == size] or [inputs]
            found[prefix] = Faces(
                passes.logits(inputs, training=False),
                passes.logits(inputs, training=False, buffers=precise),
                _by_batch_statistics(seen, passes, parts),
                labels,
            )
        return found

    return seen.derived("faces", compute)


def _rows(face: Faces) -> dict[str, tuple[Tensor, Tensor]]:
    """Return logits and labels by the statistics used; the last images are left out where they do not fill a batch."""
    num_whole = len(face.batch)
    return {
        "running": (face.running, face.labels),
        "precise": (face.precise, face.labels),
        "batch": (face.batch, face.labels[:num_whole]),
    }


class AccuracyByStatistics(Diagnostic):
    """How often the network is right with running, with a population's and with a batch's own statistics.

    On the held-out probe batch (``running``, ``precise``, ``batch``) and on training images (``train_running``, ...).
    precise: moments of the training images' own, pooled at the weights as they are. batch: of batches as large as in
    training, of the images that are looked at.

    Unit:
        Share of images, 0 to 1.

    Reading:
        running below precise: the running average trails the weights, or remembers its start. batch and precise apart
        on training images: batches are too small to stand for the population. Together there, and apart on the
        probe: its images are distributed differently. `bnlab show RUN` names the cause.

    Cost:
        Ten passes over as many images as the population has.

    Blind spots:
        With ``population_size`` images the population's moments are estimates too. In batch mode an image's class
        depends on its neighbors: on batches of one class each it would be another number.

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
            f"network/{prefix}{how}": (logits.argmax(1) == labels).float().mean()
            for prefix, face in _faces(seen).items()
            for how, (logits, labels) in _rows(face).items()
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
            f"network/{prefix}{how}": F.cross_entropy(logits, labels)
            for prefix, face in _faces(seen).items()
            for how, (logits, labels) in _rows(face).items()
        }


class PredictionFlips(Diagnostic):
    """How many images get another class when the norms use other statistics.

        running_batch    share of the probe whose argmax differs between running and batch statistics
        running_precise  likewise between running and the population's

    Unit:
        Share of images, 0 to 1.

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
        faces = _faces(seen)
        if "" not in faces:
            return {}
        face = faces[""]
        running = face.running.argmax(1)
        return {
            "network/running_batch": (running[: len(face.batch)] != face.batch.argmax(1)).float().mean(),
            "network/running_precise": (running != face.precise.argmax(1)).float().mean(),
        }


class RunningMeanDistance(Diagnostic):
    """How far each norm's running mean is from the population's.

        distance = mean over C of |running_mean_c - mean_c| / sqrt(var_c + 1e-5)

    Unit:
        Standard deviations of the population.

    Reading:
        0: it stands for the population. A distance that stays while the loss has settled points at noise, one that
        follows the learning rate at an average that is too slow.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        The population's mean is an estimate from ``population_size`` images: do not read below 1/sqrt of their number.

    Source:
        Ours; precise statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_mean_distance"
    unit = "standard deviations"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "standard deviations lie between its running mean and the population's"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the distance per norm."""
        found = {}
        for role, (buffers, pooled) in _both(seen, "running_mean", "running_var").items():
            deviation_C = (pooled["running_var"].float() + VARIANCE_FLOOR).sqrt()
            distance_C = (buffers["running_mean"].float() - pooled["running_mean"].float()).abs() / deviation_C
            found[role] = distance_C.mean()
        return found


class RunningVarianceDistance(Diagnostic):
    """How far each norm's running variance is from the population's.

        distance = mean over C of |log((running_var_c + 1e-5) / (var_c + 1e-5))|

    Unit:
        Natural logarithm of a factor: 0.69 is a factor of two.

    Reading:
        As `running_mean_distance`. With batches of two, a biased running variance is half the population's.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        Too large and too small look alike.

    Source:
        Ours; precise statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_variance_distance"
    unit = "log factor"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "in natural logarithms lie between its running variance and the population's"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the distance per norm."""
        found = {}
        for role, (buffers, pooled) in _both(seen, "running_var").items():
            ours, theirs = (x["running_var"].float() + VARIANCE_FLOOR for x in (buffers, pooled))
            found[role] = (ours / theirs).log().abs().mean()
        return found


def _both(seen: Observation, *names: str) -> dict[str, tuple[Named, Named]]:
    """Return, by role, a norm's own buffers and the population's values, where it has all of some names."""
    if seen.passes is None:
        return {}
    found = {}
    for role, pool in population(seen).items():
        own = seen.passes.tensors_of(seen.norms[role])
        if all(name in own and name in pool.statistics for name in names):
            found[role] = (own, pool.statistics)
    return found
