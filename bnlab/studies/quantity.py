"""What two arms are compared by: an accuracy, a loss, steps to a target, the largest trainable rate, a diagnostic."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.errors import ConfigError, did_you_mean
from bnlab.renamed import current_name
from bnlab.stats.verdict import Verdict

Kind = Literal[
    "test_accuracy", "test_loss", "steps_to", "seconds_to", "max_lr", "area", "lr_sensitivity", "width", "diagnostic"
]
Scale = Literal["difference", "ratio"]

RATIO = 1.25
"""The smallest factor of interest for steps and seconds: a quarter more."""

LR_RATIO = 3.0
"""The smallest factor of interest for learning rates: one step of a grid with two rates per decade."""

POINTS = 0.01
"""The smallest difference of interest between accuracies: 1 point, one image of a hundred."""

CIFAR_POINTS = 0.005
"""The same on CIFAR, whose test set has 10,000 images: half a point."""

DECADES = 1.0
"""The smallest difference of interest between widths: one power of ten."""

EXAMPLES = (
    "test_accuracy, test_loss, steps_to:0.9, seconds_to:0.9, max_lr, area, lr_sensitivity, width:model.init_std, or a "
    "diagnostic and a layer, gradient_norm/hidden1"
)

OF_THE_GRID = frozenset({"max_lr", "lr_sensitivity", "width"})
"""Kinds whose figure is one of all learning rates, or of all values of another key, together."""


@dataclass(frozen=True)
class Quantity:
    """What two arms are compared by.

    Attributes:
        name: As it was typed, ``steps_to:0.9``.
        kind: Which of the kinds it is.
        target: Validation accuracy to reach, a share; None for all kinds but steps and seconds to a target.
        diagnostic: Name of the diagnostic; empty for all other kinds.
        key: Layer, or layer and facet, of the diagnostic; the swept key of a width; empty for all other kinds.
        minus: Layer and facet whose value is taken away from it, at the same step; empty for none.
        less_is_better: Whether the arm with the lower value is the better one.
        is_mean: Of a diagnostic: whether its mean over all measured steps counts, not its last value.
        by_ratio: Of a diagnostic: whether the arms are compared by the ratio of their values, which are above 0.
    """

    name: str
    kind: Kind
    target: float | None = None
    diagnostic: str = ""
    key: str = ""
    minus: str = ""
    less_is_better: bool = False
    by_ratio: bool = False
    is_mean: bool = False

    @property
    def scale(self) -> Scale:
        """Whether arms are compared by a difference or by a ratio, which is averaged on the log scale."""
        return "ratio" if self.by_ratio or self.is_of_positive_values else "difference"

    @property
    def is_of_positive_values(self) -> bool:
        """Whether its values are above 0: steps, seconds and learning rates."""
        return self.kind in {"steps_to", "seconds_to", "max_lr"}

    @property
    def unit(self) -> str:
        """The unit of effects and smallest effects of interest."""
        images = "share of images"
        units = {"test_accuracy": images, "area": images, "lr_sensitivity": images, "width": "decades"}
        units["test_loss"] = "nats"
        return units.get(self.kind, "times" if self.scale == "ratio" else "")

    @property
    def unit_of_values(self) -> str:
        """The unit of the value of one arm, which is not compared with another one."""
        own = {"steps_to": "steps", "seconds_to": "seconds"}
        return own.get(self.kind, "" if self.scale == "ratio" else self.unit)

    @property
    def is_share(self) -> bool:
        """Whether its values are shares of images, and differences are told in points."""
        return self.kind in {"test_accuracy", "area", "lr_sensitivity"}

    def within_limits(self, found: Verdict, *, is_pair: bool = True) -> Verdict:
        """Return a verdict whose interval ends where values do: a share at 0 and 1, a difference of two at -1 and 1.

        Args:
            found: The verdict; its word is about a bound within these limits, and stays.
            is_pair: Whether it is on a difference of two arms, not on the value of one.
        """
        if not self.is_share:
            return found
        low = None if found.low is None else max(found.low, -1.0 if is_pair else 0.0)
        return replace(found, low=low, high=None if found.high is None else min(found.high, 1.0))

    def usual_sesoi(self, data: str) -> float:
        """Return the smallest effect that is usually of interest, in `unit`.

        Args:
            data: Name of the data set.

        Raises:
            ConfigError: There is none for this quantity.
        """
        if self.is_share:
            return CIFAR_POINTS if data.startswith("cifar") else POINTS
        if self.kind == "width":
            return DECADES
        if self.kind in {"steps_to", "seconds_to"}:
            return RATIO
        if self.kind == "max_lr":
            return LR_RATIO
        unit = " in nats" if self.kind == "test_loss" else ""
        raise ConfigError(
            f"--sesoi is missing: {self.name} has no usual smallest effect of interest. Give one{unit}, such as "
            "--sesoi 0.05; --sesoi 0 asks for any difference."
        )

    def checked_sesoi(self, sesoi: float) -> float:
        """Return a smallest effect of interest, if it is one.

        Raises:
            ConfigError: It is out of range.
        """
        least = 1.0 if self.scale == "ratio" else 0.0
        if not (math.isfinite(sesoi) and sesoi >= least):
            ratio = " (a factor: 1.25 is a quarter more)" if least else ""
            raise ConfigError(f"--sesoi for {self.name} must be finite, {least:g} or more{ratio}, got {sesoi:g}.")
        if self.is_share and sesoi >= 1:
            raise ConfigError(f"--sesoi for {self.name} is a share, below 1: 0.01 is 1 point. Got {sesoi:g}.")
        return sesoi

    def claim(self, first: str, second: str, sesoi: float) -> str:
        """Return the claim in words: the first arm is better than the second one by more than that."""
        if self.kind == "test_accuracy":
            return f"{first} has a higher test accuracy than {second}, by more than {points(sesoi)}."
        if self.kind == "test_loss":
            return f"{first} has a lower test loss than {second}, by more than {sesoi:g} nats."
        if self.kind in {"steps_to", "seconds_to"}:
            assert self.target is not None
            what = "steps" if self.kind == "steps_to" else "seconds of training"
            return (
                f"{second} needs more than {sesoi:g} times the {what} of {first} to reach a validation accuracy of "
                f"{100 * self.target:g}%."
            )
        if self.kind == "max_lr":
            return f"{first} trains at a learning rate more than {sesoi:g} times the largest one of {second}."
        if self.kind == "area":
            return f"{first} has a higher mean accuracy over training than {second}, by more than {points(sesoi)}."
        if self.kind == "lr_sensitivity":
            return (
                f"{first} loses less accuracy at learning rates that are not its best than {second}, by more than "
                f"{points(sesoi)}."
            )
        if self.kind == "width":
            decades = "1 decade" if sesoi == 1 else f"{sesoi:g} decades"
            return f"{first} trains over a wider range of {self.key} than {second}, by more than {decades}."
        than = "smaller" if self.less_is_better else "larger"
        if self.by_ratio:
            one, other = (second, first) if self.less_is_better else (first, second)
            return f"The {self.name} of {one} is more than {sesoi:g} times that of {other}."
        return f"{first} has a {than} {self.name} than {second}, by more than {sesoi:g}."


def read_quantity(text: str, less_is_better: bool = False, by_ratio: bool = False) -> Quantity:
    """Return what a word names.

    Args:
        text: ``test_accuracy``, ``test_loss``, ``steps_to:<accuracy>``, ``seconds_to:<accuracy>``, ``max_lr``,
            ``area``, ``lr_sensitivity``, ``width:<swept key>``, ``<diagnostic>/<layer>`` for its last value,
            ``<diagnostic>/<layer> - <layer>`` for the difference of two of its values, or ``mean`` before either for
            the mean over all measured steps.
        less_is_better: For a diagnostic: whether the claim is that the first arm's is smaller.
        by_ratio: For a diagnostic: whether the arms are compared by the ratio of their values.

    Raises:
        ConfigError: It names nothing of that kind.

    Example:
        >>> read_quantity("steps_to:90%").target, read_quantity("gradient_norm/hidden1").key
        (0.9, 'hidden1')
        >>> gap = read_quantity("accuracy_by_statistics/network/running - network/batch")
        >>> gap.key, gap.minus
        ('network/running', 'network/batch')
    """
    word, colon, value = text.strip().partition(":")
    if "/" in text:
        name, _, keys = text.strip().removeprefix("mean ").partition("/")
        key, minus, other = keys.partition(" - ")
        if not name or not key or bool(minus) != bool(other):
            raise ConfigError(f"--metric {text}: a diagnostic is named with its layer, as gradient_norm/hidden1.")
        is_mean = text.strip().startswith("mean ")
        return Quantity(text.strip(), "diagnostic", None, name, key, other, less_is_better, by_ratio, is_mean)
    if by_ratio:
        raise ConfigError(f"--ratio is for diagnostics: of {text} it is known how arms are compared.")
    if less_is_better:
        raise ConfigError(f"--less is for diagnostics: of {text} it is known which side is better.")
    if word in {"steps_to", "seconds_to"}:
        target = _share(value)
        if target is None:
            raise ConfigError(
                f"--metric {word} takes a validation accuracy between 0 and 1, as {word}:0.9, got {text!r}."
            )
        return Quantity(text.strip(), word, target, less_is_better=True)  # type: ignore[arg-type]  # just looked up
    if word == "width" and value.count(".") >= 1:
        return Quantity(text.strip(), "width", key=value.strip())
    if not colon and word in {"test_accuracy", "test_loss", "max_lr", "area", "lr_sensitivity"}:
        less = word in {"test_loss", "lr_sensitivity"}
        return Quantity(word, word, less_is_better=less)  # type: ignore[arg-type]  # just looked up
    if current_name(word) in DIAGNOSTICS:
        raise ConfigError(f"--metric {text}: a diagnostic is named with its layer, as {word}/hidden1.")
    near = did_you_mean(word, [*get_args(Kind)[:-1], *DIAGNOSTICS])
    cure = near if "mean" in near else "Diagnostics: bnlab list diagnostics."
    raise ConfigError(f"--metric must be {EXAMPLES}, got {text!r}. {cure}")


def points(share: float) -> str:
    """Return a difference of shares in percentage points.

    Example:
        >>> points(0.01), points(0.005)
        ('1 point', '0.5 points')
    """
    return "1 point" if round(100 * share, 9) == 1 else f"{100 * share:.6g} points"


def _share(text: str) -> float | None:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    return value if 0 < value < 1 else None
