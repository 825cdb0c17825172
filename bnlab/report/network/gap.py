"""Why a network is better or worse with running statistics than with those of its batches: the cause, in a sentence.

Three kinds of statistics on two sets of images tell the causes apart (bnlab.diagnostics.statistics_comparison): running
statistics, population statistics (pooled over training images at the present weights) and each batch's own. The weights
are the same in all of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.report.network.read import Measured, MeasuredRun

Cause = Literal[
    "no gap",
    "batch too small",
    "too few steps",
    "momentum too slow for the steps made",
    "shift between training and evaluation data",
    "shift between training and evaluation mode",
]

ACCURACY_TOLERANCE = 0.03
"""Accuracies closer than this count as equal. In a healthy network, two kinds of statistics disagree on about 3% of the
images; with 180 images, the difference then has a standard error of 1.3%."""

LOSS_TOLERANCE = 0.1
"""Nats per image. Losses closer than this count as equal: the right class has 10% more or less probability. Healthy
networks differ by up to 0.06 with batches of 60, by 0.2 with batches of 8, and by about 0.1 with 16 (digits, 3x100)."""

SMALL_START = 0.05
"""Largest share of its start, mean 0 and variance 1, that a running average may still contain."""

BRIEFEST_AVERAGE = 0.82
"""Momentum m of an average that is as good as a mean over (1 + m) / (1 - m) = 10 batches. A smaller one would be noisy.
Below 15 steps even this average still contains its start: then the steps are too few, and the momentum is not wrong."""

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Gap:
    """The explanation of a gap between statistics.

    Attributes:
        cause: One of the six causes; ``no gap`` if all statistics do equally well.
        sentence: The evidence and a cure, for the reader of a terminal or a report.
    """

    cause: Cause
    sentence: str


@dataclass(frozen=True)
class Circumstances:
    """The settings of a run that decide how its statistics are averaged.

    Attributes:
        updates: Number of updates of the running statistics so far.
        momentum: Share of the old running value that an update keeps, 0 to 1; None for a plain average, or if unknown.
        batch_size: Images per forward pass in training.
        samples_per_statistic: Images behind one batch statistic; fewer than batch_size if a norm cuts batches (ghosts,
            devices).
        dropout: Probability that dropout sets a value to 0; 0 without dropout.
    """

    updates: int
    momentum: float | None
    batch_size: int
    samples_per_statistic: int
    dropout: float = 0.0


def explain_gap(run: MeasuredRun) -> Gap | None:
    """Return the cause of a gap between a run's statistics, at the last step at which they were compared.

    Args:
        run: The run and its diagnostics.

    Returns:
        The cause; None if the run's norms keep no running statistics, if they were not compared, or if the network's
        outputs are not finite.
    """
    accuracy, loss = (run.measured.get(f"{name}_by_statistics") for name in ("accuracy", "loss"))
    if accuracy is None:
        return None
    losses = _last(loss) if loss is not None and loss.steps[-1] == accuracy.steps[-1] else None
    return explain(_last(accuracy), losses, circumstances_of(run.row, int(accuracy.steps[-1])))


def _last(measured: Measured) -> dict[str, float]:
    """Return facet -> last value of a diagnostic of the whole network."""
    return {key.facet: curve.last for key, curve in measured.curves.items()}


def circumstances_of(settings: Mapping[str, Any], steps: int) -> Circumstances:
    """Return the settings of a run that decide how its statistics are averaged.

    Args:
        settings: The run's config, by dotted keys.
        steps: Optimizer steps so far.
    """
    num_parts = int(settings.get("train.accumulation", 1))
    batch_size = int(settings["train.batch_size"]) // num_parts
    samples = min(batch_size, int(settings.get("norm.ghost_size") or batch_size))
    if settings.get("norm.num_devices") and not settings.get("norm.sync"):
        samples = batch_size // int(settings["norm.num_devices"])
    momentum = settings.get("norm.momentum")
    if ":" in str(settings.get("norm", "")):  # an own layer's momentum may be the share of the new value
        momentum = None
    if settings.get("norm.source") == "frozen":
        momentum = 1.0
    return Circumstances(steps * num_parts, momentum, batch_size, samples, float(settings.get("model.dropout") or 0))


def explain(accuracies: Figures, losses: Figures | None, circumstances: Circumstances) -> Gap | None:
    """Return the cause of a gap between statistics.

    Four differences are compared, each divided by its tolerance, of accuracy or of loss, whichever gives more. The
    largest one names the cause, if it is more than 1:

    - **Average**: on training images, the network does worse with running statistics than with the population's. A
      share momentum^steps of the running average still is its start. If no average of ten batches could have forgotten
      its start by now, there were *too few steps*. Else the *momentum is too slow for the steps made*: the average
      still contains its start, or lags behind the weights. (A momentum below 0.82 can do neither for long: the
      average holds a few batches only, whose noise is the fault: *batch too small*.)
    - **Noise**: on training images, the network does worse with batch statistics than with the population's: *batch too
      small* to represent the training set.
    - **Mode**: on training images, the network does better with batch statistics than with the population's. Both are
      of the same images, but the population's are pooled in training mode, with dropout and noise on: a *shift between
      training and evaluation mode*.
    - **Data**: on held-out images, the network does better with batch statistics than with the population's, by more
      than on training images: held-out images are distributed differently, and their own statistics correct for it: a
      *shift between training and evaluation data*. (A shift that no mean and variance can correct is no gap between
      statistics.)

    Args:
        accuracies: Facet of `accuracy_by_statistics` -> its value: ``running``, ``population``, ``batch`` on held-out
            images, and each with ``train_`` before it on training images; shares, 0 to 1.
        losses: The same facets of `loss_by_statistics`, in nats per image; None if it was not measured.
        circumstances: The settings of the run that decide how its statistics are averaged.

    Returns:
        The cause; None if an accuracy is missing or not finite.
    """
    names = [f"{prefix}{how}" for prefix in ("train_", "") for how in ("running", "population", "batch")]
    if not all(math.isfinite(accuracies.get(name, math.nan)) for name in names):
        return None
    compared = _Comparison(accuracies, losses or {})
    sizes = {
        "average": compared.worse("train_running", "train_population"),
        "noise": compared.worse("train_batch", "train_population"),
        "mode": compared.worse("train_population", "train_batch"),
        "data": compared.worse("population", "batch", beyond=("train_population", "train_batch")),
    }
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] <= 1:
        return Gap(
            "no gap", f"Running, population and batch statistics do equally well ({accuracies['running']:.0%} right)."
        )
    if largest == "average":
        return _wrong_average(compared, circumstances)
    if largest == "noise":
        return _noisy_batches(compared, circumstances)
    return _shifted_mode(compared, circumstances) if largest == "mode" else _shifted_data(compared)


@dataclass(frozen=True)
class _Comparison:
    accuracies: Figures
    losses: Figures

    def worse(self, one: str, other: str, beyond: tuple[str, str] | None = None) -> float:
        """Return by how many tolerances the network does worse with one kind of statistics than with another.

        The larger of two values: by accuracy and by loss.

        Args:
            one: Facet of the statistics that may be worse, such as ``train_running``.
            other: Facet of the statistics that it is compared with.
            beyond: Two more facets; the difference between them, if the first is worse, is subtracted. None: nothing is
                subtracted.
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

    def words(self, name: str) -> str:
        """Return accuracy and loss of a facet in words."""
        loss = self.losses.get(name)
        return f"{self.accuracies[name]:.0%} right" + ("" if loss is None else f", loss {loss:.2f}")


def _wrong_average(compared: _Comparison, circumstances: Circumstances) -> Gap:
    updates, momentum = circumstances.updates, circumstances.momentum
    kept = 0.0 if momentum is None else momentum**updates
    gap = (
        f"on training images the network does worse with running statistics ({compared.words('train_running')}) than "
        f"with those of the training set ({compared.words('train_population')})"
    )
    fitting = SMALL_START ** (1 / max(updates, 1))
    if momentum == 1:
        sentence = f"The norms never move their running statistics: {gap}. Set them (bnlab.norms.precise_batch_stats)."
        return Gap("momentum too slow for the steps made", sentence)
    if fitting < BRIEFEST_AVERAGE:
        why = f"{kept:.0%} of each running average still is its start" if kept else "a running average has few batches"
        sentence = f"After {updates} steps {why}: {gap}. Train longer, or pool them (bnlab.norms.precise_batch_stats)."
        return Gap("too few steps", sentence)
    if momentum is not None and momentum < BRIEFEST_AVERAGE and kept <= SMALL_START:
        held = (1 + momentum) / (1 - momentum)
        sentence = (
            f"With norm.momentum={momentum:g} running statistics average about {held:.0f} batches of "
            f"{circumstances.batch_size}: {gap}. Raise train.batch_size, or norm.momentum."
        )
        return Gap("batch too small", sentence)
    name = "The running average" if momentum is None else f"norm.momentum={momentum:g}"
    why = f"{kept:.0%} of each running average still is its start" if kept > 0.01 else "it lags behind the weights"
    largest = min(math.floor(100 * fitting) / 100, 0.9)
    cure = "Lower it, or the learning rate" if momentum is not None else "Set norm.momentum=0.9"
    if momentum is not None and momentum > largest:
        cure = f"Lower it to {largest:g}"
    return Gap(
        "momentum too slow for the steps made",
        f"{name} is too slow for {updates} steps, {why}: {gap}. {cure}, train longer, or pool them "
        "(bnlab.norms.precise_batch_stats).",
    )


def _noisy_batches(compared: _Comparison, circumstances: Circumstances) -> Gap:
    samples = circumstances.samples_per_statistic
    option = "train.batch_size" if samples == circumstances.batch_size else "norm.ghost_size (or take fewer devices)"
    return Gap(
        "batch too small",
        f"Statistics of {samples} images do not represent the training set: on training images the network does worse "
        f"with them ({compared.words('train_batch')}) than with those of many ({compared.words('train_population')}). "
        f"Raise {option}, or take a norm of single samples (norm=layer).",
    )


def _shifted_mode(compared: _Comparison, circumstances: Circumstances) -> Gap:
    what = f"dropout ({circumstances.dropout:g})" if circumstances.dropout else "random noise"
    return Gap(
        "shift between training and evaluation mode",
        f"Training mode with {what} gives the norms other statistics than eval mode meets: on training images the "
        f"network does worse with them ({compared.words('train_population')}) than with those of eval mode "
        f"({compared.words('train_batch')}). Put dropout behind the last norm, or take a norm without running "
        "statistics.",
    )


def _shifted_data(compared: _Comparison) -> Gap:
    return Gap(
        "shift between training and evaluation data",
        "Held-out images are distributed differently from training images: the network does worse with the training "
        f"set's statistics ({compared.words('population')}) than with their own ({compared.words('batch')}). "
        "Look at how the two sets were made, or pool statistics of the new images (bnlab.norms.precise_batch_stats).",
    )
