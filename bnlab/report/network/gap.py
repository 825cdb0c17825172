"""Why a network does otherwise with running statistics than with those of its batches: the cause, in a sentence.

Three sets of statistics on two sets of images tell causes apart (bnlab.diagnostics.statistics_comparison): running
statistics, population statistics (pooled over training images at the weights as they are) and each batch's own. The
weights are the same in all.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.report.network.read import Measured, RunInside

Cause = Literal[
    "no gap",
    "batch too small",
    "too few steps",
    "momentum too slow for the steps made",
    "shift between training and evaluation data",
    "shift between training and evaluation mode",
]

ACCURACY_TOLERANCE = 0.03
"""Accuracies closer than this are alike. In a healthy network two sets of statistics disagree on some 3% of the images:
on 180 of them the difference then has a standard error of 1.3%."""

LOSS_TOLERANCE = 0.1
"""Nats per image. Losses closer than this are alike: the right class is given 10% more or less probability. Healthy
networks with batches of 60 stay within 0.06, batches of 8 are 0.2 apart, of 16 near the bound (digits, 3x100)."""

SMALL_START = 0.05
"""Share of a running average that its start, mean 0 and variance 1, may still be."""

BRIEFEST_AVERAGE = 0.82
"""Momentum of an average that is as good as one of (1 + m) / (1 - m) = 10 batches. To ask for less is to ask for noise:
where even this one would remember its start (below 15 steps), not the momentum is wrong: the steps are few."""

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Gap:
    """What was found.

    Attributes:
        cause: Its name.
        sentence: Place, what, cure.
    """

    cause: Cause
    sentence: str


@dataclass(frozen=True)
class Circumstances:
    """What a run's config says about its statistics.

    Attributes:
        updates: Times that the running statistics have moved.
        momentum: Share of the old running value that is kept; None: a plain average, or not known.
        batch_size: Images that go through the network at a time.
        samples_per_statistic: Images that the smallest statistic sees: fewer for ghosts and devices.
        dropout: Probability of a 0.
    """

    updates: int
    momentum: float | None
    batch_size: int
    samples_per_statistic: int
    dropout: float = 0.0


def explain_gap(inside: RunInside) -> Gap | None:
    """Return the cause of a gap between a run's statistics at the last step at which they were compared.

    Args:
        inside: What was measured in the run.

    Returns:
        None where its norms keep none, it was not measured, or the network's outputs are no numbers.
    """
    accuracy, loss = (inside.measured.get(f"{name}_by_statistics") for name in ("accuracy", "loss"))
    if accuracy is None:
        return None
    losses = _last(loss) if loss is not None and loss.steps[-1] == accuracy.steps[-1] else None
    return explain(_last(accuracy), losses, circumstances_of(inside.row, int(accuracy.steps[-1])))


def _last(measured: Measured) -> dict[str, float]:
    """Return the last values of what was measured of the whole network, by facet."""
    return {key.facet: curve.last for key, curve in measured.curves.items()}


def circumstances_of(settings: Mapping[str, Any], steps: int) -> Circumstances:
    """Return what a run's config says about its statistics.

    Args:
        settings: Its config, by dotted keys.
        steps: Made so far.
    """
    num_parts = int(settings.get("train.accumulation", 1))
    batch_size = int(settings["train.batch_size"]) // num_parts
    samples = min(batch_size, int(settings.get("norm.ghost_size") or batch_size))
    if settings.get("norm.num_devices") and not settings.get("norm.sync"):
        samples = batch_size // int(settings["norm.num_devices"])
    momentum = settings.get("norm.momentum")
    if ":" in str(settings.get("norm", "")):  # somebody's own layer, whose momentum may be the share of the new
        momentum = None
    if settings.get("norm.source") == "frozen":
        momentum = 1.0
    return Circumstances(steps * num_parts, momentum, batch_size, samples, float(settings.get("model.dropout") or 0))


def explain(accuracies: Figures, losses: Figures | None, circumstances: Circumstances) -> Gap | None:
    """Return the cause of a gap between statistics.

    Four differences, each in tolerances of accuracy or of loss, whichever is more; the largest names the cause, if it
    is more than one tolerance:

    - **Wrong average**: on training images, running statistics do worse than precise ones. A share momentum^steps of
      the average still is its start. If no average worth the name could have forgotten it, there were *too few steps*;
      else the *momentum is too slow for the steps made*: it remembers its start, or trails the weights. (Below 0.82 it
      can do neither for long: it holds a few batches only, whose noise is wrong: *batch too small*.)
    - **Noise**: on training images, batch statistics do worse than precise ones: *batch too small* to stand for the
      training set.
    - **Mode**: there, batch statistics do better than precise ones. Both are of the same images, but precise ones are
      pooled in training mode, with dropout and noise on: a *shift between training and evaluation mode*.
    - **Data**: on held-out images, batch statistics do better than precise ones, by more than on training images:
      they are distributed otherwise, and their own statistics make up for it: a *shift between training and evaluation
      data*. (A shift that no mean and variance makes up for is no gap between statistics.)

    Args:
        accuracies: As `accuracy_by_statistics` records them: ``running``, ``precise``, ``batch``, and each with
            ``train_`` before it.
        losses: As `loss_by_statistics` does, or None.
        circumstances: Of the run.

    Returns:
        None where an accuracy is missing or no number.
    """
    names = [f"{prefix}{how}" for prefix in ("train_", "") for how in ("running", "precise", "batch")]
    if not all(math.isfinite(accuracies.get(name, math.nan)) for name in names):
        return None
    faces = _Faces(accuracies, losses or {})
    sizes = {
        "average": faces.worse("train_running", "train_precise"),
        "noise": faces.worse("train_batch", "train_precise"),
        "mode": faces.worse("train_precise", "train_batch"),
        "data": faces.worse("precise", "batch", beyond=("train_precise", "train_batch")),
    }
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] <= 1:
        return Gap("no gap", f"Running, population and batch statistics do alike ({accuracies['running']:.0%} right).")
    if largest == "average":
        return _wrong_average(faces, circumstances)
    if largest == "noise":
        return _noisy_batches(faces, circumstances)
    return _shifted_mode(faces, circumstances) if largest == "mode" else _shifted_data(faces)


@dataclass(frozen=True)
class _Faces:
    accuracies: Figures
    losses: Figures

    def worse(self, one: str, other: str, beyond: tuple[str, str] | None = None) -> float:
        """Return by how many tolerances one set of statistics does worse than another; by loss or by accuracy.

        Args:
            one: Which.
            other: Which.
            beyond: Two more: by how much more than there, where the first of them does worse too.
        """
        less = self._difference(self.accuracies, other, one) / ACCURACY_TOLERANCE
        more = self._difference(self.losses, one, other) / LOSS_TOLERANCE
        if beyond is not None:
            less -= max(0.0, self._difference(self.accuracies, *reversed(beyond)) / ACCURACY_TOLERANCE)
            more -= max(0.0, self._difference(self.losses, *beyond) / LOSS_TOLERANCE)
        return max(less, 0.0 if math.isnan(more) else more)

    @staticmethod
    def _difference(figures: Figures, one: str, other: str) -> float:
        return figures.get(one, math.nan) - figures.get(other, math.nan)

    def told(self, name: str) -> str:
        """Return accuracy and loss in words."""
        loss = self.losses.get(name)
        return f"{self.accuracies[name]:.0%} right" + ("" if loss is None else f", loss {loss:.2f}")


def _wrong_average(faces: _Faces, circumstances: Circumstances) -> Gap:
    updates, momentum = circumstances.updates, circumstances.momentum
    kept = 0.0 if momentum is None else momentum**updates
    gap = (
        f"on training images the network does worse with running statistics ({faces.told('train_running')}) than with "
        f"those of the training set ({faces.told('train_precise')})"
    )
    fitting = SMALL_START ** (1 / max(updates, 1))
    if momentum == 1:
        sentence = f"The norms never move their running statistics: {gap}. Set them (bnlab.norms.precise_batch_stats)."
        return Gap("momentum too slow for the steps made", sentence)
    if fitting < BRIEFEST_AVERAGE:
        why = f"{kept:.0%} of each running average still is its start" if kept else "a running average has seen little"
        sentence = f"After {updates} steps {why}: {gap}. Train longer, or pool them (bnlab.norms.precise_batch_stats)."
        return Gap("too few steps", sentence)
    if momentum is not None and momentum < BRIEFEST_AVERAGE and kept <= SMALL_START:
        held = (1 + momentum) / (1 - momentum)
        sentence = (
            f"With norm.momentum={momentum:g} running statistics stand for about {held:.0f} batches of "
            f"{circumstances.batch_size}: {gap}. Raise train.batch_size, or norm.momentum."
        )
        return Gap("batch too small", sentence)
    name = "The running average" if momentum is None else f"norm.momentum={momentum:g}"
    why = f"{kept:.0%} of each running average still is its start" if kept > 0.01 else "it trails the weights"
    largest = min(math.floor(100 * fitting) / 100, 0.9)
    cure = "Lower it, or the learning rate" if momentum is not None else "Set norm.momentum=0.9"
    if momentum is not None and momentum > largest:
        cure = f"Lower it to {largest:g}"
    return Gap(
        "momentum too slow for the steps made",
        f"{name} is too slow for {updates} steps, {why}: {gap}. {cure}, train longer, or pool them "
        "(bnlab.norms.precise_batch_stats).",
    )


def _noisy_batches(faces: _Faces, circumstances: Circumstances) -> Gap:
    samples = circumstances.samples_per_statistic
    option = "train.batch_size" if samples == circumstances.batch_size else "norm.ghost_size (or take fewer devices)"
    return Gap(
        "batch too small",
        f"Statistics of {samples} images do not stand for the training set: on training images the network does worse "
        f"with them ({faces.told('train_batch')}) than with those of many ({faces.told('train_precise')}). Raise "
        f"{option}, or take a norm of single samples (norm=layer).",
    )


def _shifted_mode(faces: _Faces, circumstances: Circumstances) -> Gap:
    what = f"dropout ({circumstances.dropout:g})" if circumstances.dropout else "what draws"
    return Gap(
        "shift between training and evaluation mode",
        f"Training mode with {what} gives the norms other statistics than eval mode meets: on training images the "
        f"network does worse with them ({faces.told('train_precise')}) than with those of eval mode "
        f"({faces.told('train_batch')}). Put dropout behind the last norm, or take a norm without running statistics.",
    )


def _shifted_data(faces: _Faces) -> Gap:
    return Gap(
        "shift between training and evaluation data",
        "Held-out images are distributed otherwise than training images: the network does worse with the training "
        f"set's statistics ({faces.told('precise')}) than with their own ({faces.told('batch')}). Look at how the two "
        "sets were made, or pool statistics of the new images (bnlab.norms.precise_batch_stats).",
    )
