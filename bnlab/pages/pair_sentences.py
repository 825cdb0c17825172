"""One sentence on a pair of networks, with a norm and without: what was measured, and what follows from it.

Which sentence it is depends on the runs alone. Nothing is said of saturation where it was not measured, or where
the activation has no bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnlab.pages.words import Words
from bnlab.report.interval_text import points_with_interval, share_with_interval
from bnlab.report.wording import BOUNDED
from bnlab.results.arms import Arm
from bnlab.results.curves import Curve, read_best_curves
from bnlab.results.race import Saturated, cell_of, gain, saturated
from bnlab.results.versus import cells_against_first
from bnlab.stats.estimate import Estimate
from bnlab.stats.trainable import MARGIN

LEARNED = MARGIN
"""Rise of the validation accuracy below which nothing was learned: what counts as trained is told by the same 5 points.
"""

FEW_SATURATED = 0.05
"""Share of a layer's units below which saturation is no explanation, as in conf/study/vanishing-gradients.yaml."""

MOST_OF_THEM = 0.5
"""Share of all units from which on a network is called saturated at its start."""


@dataclass(frozen=True)
class Pair:
    """Two arms of a race, the first one with a norm and the second one without.

    Attributes:
        first: The arm with the norm.
        second: The plain arm.
        settings: The settings that the runs share, by their dotted keys.
        curves: The curves of both, by tag.
    """

    first: Arm
    second: Arm
    settings: Mapping[str, Any]
    curves: tuple[Mapping[str, Curve], Mapping[str, Curve]]

    @classmethod
    def of(cls, first: Arm, second: Arm) -> "Pair":
        """Return a pair with its curves, which are read from the folders of its runs."""
        rows = [run.row for arm in (first, second) for cell in arm.cells for run in cell.runs if run.row is not None]
        return cls(first, second, rows[0] if rows else {}, (_curves(first), _curves(second)))

    @property
    def saturation(self) -> Saturated | None:
        """How much of the plain network was saturated; None where that says nothing."""
        if self.settings.get("model.activation") not in BOUNDED:
            return None
        return saturated(self.curves[1])


def _curves(arm: Arm) -> dict[str, Curve]:
    return read_best_curves(arm, every_diagnostic=True)


def name_network(settings: Mapping[str, Any], words: Words) -> str:
    """Return the network of a pair in words: its layers and its initial weights.

    Args:
        settings: The settings of its runs, by their dotted keys.
        words: The fixed words of the language.
    """
    std = settings.get("model.init_std")
    weights = words("usual_weights") if std is None else words("wide_weights", std=f"{std:g}")
    depth, activation = settings.get("model.depth", "?"), settings.get("model.activation", "?")
    return words("pair_network", depth=depth, activation=activation, weights=weights)


def say_pair(pair: Pair, words: Words) -> str:
    """Return the sentence on a pair.

    Args:
        pair: Both arms, as measured.
        words: The fixed words of the language.
    """
    seen = pair.saturation
    clause = _difference(pair, words) if seen is None else _saturation(pair, seen, words)
    if is_stuck(pair.first):
        clause = f"{words('with_norm_stuck')}{words('semicolon')}{clause}"
    figures = {"first": _accuracy(pair.first, words), "second": _accuracy(pair.second, words)}
    return words("pair_sentence", network=name_network(pair.settings, words), clause=clause, **figures)


def is_stuck(arm: Arm) -> bool:
    """Return whether an arm learned nothing: its validation accuracy rose by less than 5 points."""
    risen = gain(arm)
    return risen is not None and risen < LEARNED


def _saturation(pair: Pair, seen: Saturated, words: Words) -> str:
    """Return what the plain network learned, and how much of it was saturated."""
    start, most = _percent(seen.start), _percent(seen.most)
    if is_stuck(pair.second):
        return words("stuck_free" if seen.most < FEW_SATURATED else "stuck_saturated", most=most)
    if seen.start >= MOST_OF_THEM:
        return words("learned_saturated", start=start)
    return words("learned_free" if seen.most < FEW_SATURATED else "learned_partly", most=most)


def _difference(pair: Pair, words: Words) -> str:
    """Return what the norm gained or lost in test accuracy, seed by seed."""
    found = cells_against_first([cell_of(pair.second), cell_of(pair.first)])[1].get("test_accuracy")
    if found is None:
        return words("no_difference_known")
    estimate = found.difference
    if found.is_apart:
        return words("gained" if estimate.value > 0 else "lost", points=points_with_interval(estimate))
    if estimate.low is None or estimate.high is None or not estimate.low <= 0 <= estimate.high:
        return words(
            "few_seeds", n=estimate.n, points=points_with_interval(estimate)
        )  # none, or they agree: an interval of no width
    return words("no_gain", n=estimate.n, points=points_with_interval(estimate))


def _accuracy(arm: Arm, words: Words) -> str:
    cell = cell_of(arm)
    return share_in_words(None if cell is None else cell.mean_test_accuracy(), words)


def share_in_words(estimate: Estimate | None, words: Words) -> str:
    """Return a mean share in percent with its interval, such as 91.1% [90.4, 91.8].

    Args:
        estimate: The mean over seeds; None: it is not known.
        words: The fixed words of the language.
    """
    return words("unknown") if estimate is None else share_with_interval(estimate)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share < 0.1 else f"{100 * share:.0f}%"
