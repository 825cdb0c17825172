"""A condition of a study with its verdict, in words and as plain values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnlab.stats.verdict import Verdict, Word
from bnlab.studies.bounds import in_unit, numbers_in_unit
from bnlab.studies.condition import Condition, Text
from bnlab.studies.interval_method import interval_method
from bnlab.studies.judged import LARGEST_LOG, as_bracket
from bnlab.studies.quantity import Quantity
from bnlab.studies.readings import Readings
from bnlab.studies.stress import Stress


@dataclass(frozen=True)
class JudgedCondition:
    """A condition with its verdict.

    Attributes:
        condition: What must hold, of which arms, by how much.
        readings: Its values, seed by seed, under each analysis.
        verdict: The verdict word.
        reason: Why, one sentence; may be empty.
        interval: The mean of its values with the interval; on the log scale for a ratio.
        stress: The other analyses.
        holds_at: The share of the error, below 0.05, at which the verdict would just hold; None: it is inconclusive.
        to_change: What would change the verdict, in words; may be empty.
    """

    condition: Condition
    readings: Readings
    verdict: Word
    reason: str
    interval: Verdict
    stress: Stress
    holds_at: float | None
    to_change: str

    @property
    def says(self) -> Text:
        """The condition as a sentence."""
        return self.condition.says or _sentence(self.condition, self.readings.quantity, self.readings.labels)

    @property
    def bound(self) -> str:
        """Where the interval must lie, in words and in the unit in which its effect is written."""
        return in_unit(self.condition.bound, self.condition.kind, self.unit)

    @property
    def name(self) -> str:
        """What is measured, and where, in a few words."""
        condition = self.condition
        places = [*([condition.part] if condition.part else []), *condition.where]
        return f"{condition.metric or condition.law}" + (f" ({', '.join(places)})" if places else "")

    @property
    def unit(self) -> str:
        """The unit of effect and interval."""
        return _unit(self.condition, self.readings.quantity)

    @property
    def method(self) -> str:
        """How its interval was made, in few words; empty where it has none."""
        is_paired, brackets = self.condition.kind in {"pair", "recovered"}, self.readings.all[0].brackets
        return interval_method(self.interval, brackets, is_paired=is_paired, is_log=self.readings.is_ratio)

    def shown(self, value: float | None) -> float | None:
        """Return an effect or an end of its interval in the unit; None for a ratio beyond all floats."""
        if value is None or math.isinf(value) or not self.readings.is_ratio:
            return value if value is None or math.isfinite(value) else None
        return math.exp(value) if value < LARGEST_LOG else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; what is not known is None."""
        readings, interval, says = self.readings, self.interval, self.says
        return {
            "part": self.condition.part,
            "kind": self.condition.kind,
            "says": _both(self.condition.says, says),
            "statement": self.condition.statement,
            "metric": self.condition.metric or self.condition.law,
            "arms": list(readings.labels),
            "where": list(self.condition.where),
            "bound": self.condition.bound,
            "verdict": self.verdict,
            "reason": self.reason,
            "effect": self.shown(interval.effect),
            "low": self.shown(interval.low),
            "high": self.shown(interval.high),
            "unit": self.unit,
            "level": interval.level,
            "method": self.method,
            "n": interval.n,
            "sesoi": self.condition.sesoi,
            "looks": interval.looks,
            "seeds": list(readings.seeds),
            "first": [as_bracket(figure) for figure in readings.first],
            "second": [as_bracket(figure) for figure in readings.second],
            "differences": [self.shown(value) for value in self._known_values],
            "learning_rates": None if readings.rates is None else list(readings.rates),
            "rates_chosen": readings.how,
            "stress": {"agree": self.stress.agree, "of": self.stress.of, "flips": list(self.stress.flips)},
            "holds_at": self.holds_at,
            "to_change": self.to_change,
            "sentences": list(readings.sentences),
            "seconds": readings.seconds,
        }

    @property
    def _known_values(self) -> list[float | None]:
        reading = self.readings.all[0]
        unknown = (-math.inf, math.inf)
        return [
            None if bracket == unknown else value
            for value, bracket in zip(reading.values, reading.brackets, strict=True)
        ]


def unreadable(condition: Condition, why: str) -> dict[str, Any]:
    """Return what is said of a condition whose figure cannot be read, in the form of `JudgedCondition.as_dict`.

    Args:
        condition: The condition whose values cannot be read.
        why: Why it cannot be read, one sentence.
    """
    arms, quantity = condition.arms or condition.recovered or (str(condition.arm),), condition.quantity()
    says = condition.says or _sentence(condition, quantity, arms)
    nothing = ("effect", "low", "high", "level", "learning_rates", "holds_at")
    return {
        **dict.fromkeys(nothing),
        "part": condition.part,
        "kind": condition.kind,
        "says": _both(condition.says, says),
        "statement": condition.statement,
        "metric": condition.metric,
        "arms": list(arms),
        "where": list(condition.where),
        "bound": condition.bound,
        "verdict": "inconclusive",
        "reason": why,
        "unit": _unit(condition, quantity),
        "method": "",
        "n": 0,
        "sesoi": condition.sesoi,
        "seeds": [],
        "first": [],
        "second": [],
        "differences": [],
        "rates_chosen": "",
        "stress": {"agree": 0, "of": 0, "flips": []},
        "to_change": "",
        "sentences": [why],
        "seconds": 0.0,
    }


def _unit(condition: Condition, quantity: Quantity | None) -> str:
    """Return the unit of the effect and the interval of a condition; the quantity is None for a law."""
    if quantity is None or condition.kind == "recovered":
        return "deviation" if quantity is None else "share of the way"
    return quantity.unit if condition.kind == "pair" else quantity.unit_of_values


def _sentence(condition: Condition, quantity: Quantity | None, labels: Sequence[str]) -> Text:
    """Return a condition that has no sentence of its own as one, in English.

    Args:
        condition: The condition.
        quantity: What is measured; None for a law.
        labels: The names of its arms.
    """
    bound = in_unit(condition.bound, condition.kind, _unit(condition, quantity))
    if quantity is None:
        return Text(en=f"The deviation from the formula ({condition.law}) is {bound}.")
    if condition.kind == "pair":
        if condition.above is not None:
            return Text(en=quantity.claim(labels[0], labels[-1], condition.above))
        assert isinstance(condition.within, float)
        amount = numbers_in_unit([condition.within], condition.kind, quantity.unit)
        return Text(en=f"The {quantity.name} of {labels[0]} and {labels[-1]} differs by less than {amount}.")
    if condition.kind == "arm":
        return Text(en=f"The {quantity.name} of {labels[0]} is {bound}.")
    way = f"of the way from {labels[1]} to {labels[2]} that {labels[0]} goes"
    return Text(en=f"The share {way}, by {quantity.name}, is {bound}.")


def _both(written: Text | None, says: Text) -> dict[str, str]:
    """Return a sentence in both languages: one that nobody translated has the same words, one of ours none in Chinese.

    Args:
        written: The sentence of the file; None: it has none.
        says: The sentence that is said.
    """
    return {"en": says.en, "zh": "" if written is None else says.zh or says.en}
