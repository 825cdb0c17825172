"""A verdict on two arms of a sweep, with all that a reader needs to doubt it; in words and as plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.results.arms import Arm
from bnlab.stats.verdict import Verdict
from bnlab.studies.interval_method import interval_method
from bnlab.studies.pairs import Pairs
from bnlab.studies.quantity import Quantity
from bnlab.studies.run_values import Figure
from bnlab.studies.stress import Stress

LARGEST_LOG = 700.0
"""A little below the log of the largest float."""


@dataclass(frozen=True)
class Judged:
    """A verdict on two arms of a sweep, with all that a reader needs to doubt it.

    Attributes:
        folder: The folder of the sweep.
        quantity: What the arms are compared by.
        sesoi: The smallest effect of interest, in the quantity's unit.
        arms: The first arm and the second one.
        verdict: The verdict; its figures are on the log scale where arms are compared by a ratio.
        pairs: The figures of both arms, seed by seed.
        stress: The other analyses.
        where: The conditions by which runs were chosen.
        facts: The settings that all runs of the sweep share.
        rates: How the learning rates were chosen, in words; empty where the whole grid counts.
        to_change: What would change the verdict, in words; empty where nothing can be said.
        seconds: How long the runs of both arms took to train, added up.
        sentences: What must be said aloud.
    """

    folder: Path
    quantity: Quantity
    sesoi: float
    arms: tuple[Arm, Arm]
    verdict: Verdict
    pairs: Pairs
    stress: Stress
    where: tuple[str, ...]
    facts: Mapping[str, Any]
    rates: str
    to_change: str
    seconds: float
    sentences: tuple[str, ...]

    @property
    def claim(self) -> str:
        """The claim in words."""
        return self.quantity.claim(self.arms[0].label, self.arms[1].label, self.sesoi)

    @property
    def criterion(self) -> str:
        """When the claim is supported and when it is refuted, in words."""
        what = "ratio" if self.quantity.scale == "ratio" else "difference"
        return (
            f"supported if the interval of the mean {what} lies above {self.sesoi:g}, refuted if it lies below; each "
            "end misses the mean in at most 5% of the cases, also for differences as skewed as an exponential"
            + (f"; {self.verdict.looks} looks share that" if self.verdict.looks > 1 else "")
        )

    @property
    def method(self) -> str:
        """How its interval was made, in few words; empty where it has none."""
        is_log = self.quantity.scale == "ratio"
        return interval_method(self.verdict, self.pairs.brackets, is_paired=True, is_log=is_log)

    def shown(self, value: float | None) -> float | None:
        """Return an effect or an end of its interval in the quantity's unit; None for ratios beyond all floats."""
        if value is None or math.isinf(value) or self.quantity.scale == "difference":
            return value
        return math.exp(value) if value < LARGEST_LOG else None

    def number(self, value: float | None) -> str:
        """Return an effect or an end of its interval as text without its unit; accuracies in points."""
        shown = self.shown(value)
        if shown is None:
            return "more than any number"
        return f"{100 * shown:.2f}" if self.quantity.is_share else f"{shown:.3g}"

    def amount(self, value: float | None, *, signed: bool = False) -> str:
        """Return an effect or an end of its interval as text with its unit."""
        sign = "+" if signed and value is not None and value > 0 and self.quantity.scale == "difference" else ""
        unit = "points" if self.quantity.is_share else self.quantity.unit
        return f"{sign}{self.number(value)} {unit}".strip()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; what is not known is None."""
        verdict, rates = self.verdict, self.pairs.rates
        return {
            "study": self.folder.name,
            "claim": self.claim,
            "statement": None,
            "verdict": verdict.verdict,
            "effect": self.shown(verdict.effect),
            "low": self.shown(verdict.low),
            "high": self.shown(verdict.high),
            "unit": self.quantity.unit,
            "n": verdict.n,
            "sesoi": self.sesoi,
            "criterion": self.criterion,
            "stress": {"agree": self.stress.agree, "of": self.stress.of, "flips": list(self.stress.flips)},
            "seconds": self.seconds,
            "arms": [arm.label for arm in self.arms],
            "metric": self.quantity.name,
            "where": list(self.where),
            "level": verdict.level,
            "method": self.method,
            "reason": verdict.reason,
            "p": verdict.p,
            "looks": verdict.looks,
            "num_missing": verdict.num_missing,
            "learning_rates": None if rates is None else list(rates),
            "seeds": list(self.pairs.seeds),
            "first": [as_bracket(figure) for figure in self.pairs.first],
            "second": [as_bracket(figure) for figure in self.pairs.second],
            "differences": [
                None if bracket == (-math.inf, math.inf) else self.shown(difference)
                for difference, bracket in zip(self.pairs.differences, self.pairs.brackets, strict=True)
            ],
            "to_change": self.to_change,
            "sentences": list(self.sentences),
        }


def as_bracket(figure: Figure | None) -> Any:
    """Return a figure as plain values: a number if it is exact, else what was seen and its bounds.

    Args:
        figure: The figure; None, or one of which nothing is known, becomes None.
    """
    if figure is None or not figure.is_known:
        return None
    if figure.least == figure.greatest:
        return figure.value
    greatest = figure.greatest if math.isfinite(figure.greatest) else None
    return {"seen": figure.value, "least": figure.least, "greatest": greatest}
