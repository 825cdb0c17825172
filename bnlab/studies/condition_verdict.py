"""The verdict on one condition of a study: whether its interval lies where it must, under each analysis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bnlab.errors import StudyError
from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.verdict import SHARED_OUT, Verdict, Word, judge, without_each
from bnlab.studies.judged import LARGEST_LOG, as_bracket
from bnlab.studies.judging import judged
from bnlab.studies.quantity import points
from bnlab.studies.readings import Reading, Readings
from bnlab.studies.stress import FEWEST_FOR_LEAVING_OUT, Stress
from bnlab.studies.study_file import Condition, Text

MOST_SHARED = 2**30
"""Claims that may share the error before it is said that more would do as well."""

Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class JudgedCondition:
    """A condition with its verdict.

    Attributes:
        condition: The condition.
        readings: Its values.
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
        if self.condition.says is not None:
            return self.condition.says
        condition, quantity, labels = self.condition, self.readings.quantity, self.readings.labels
        if quantity is None:
            return Text(en=f"The deviation from the formula ({condition.law}) is {condition.bound}.")
        if condition.kind == "pair":
            if condition.above is not None:
                return Text(en=quantity.claim(labels[0], labels[-1], condition.above))
            assert isinstance(condition.within, float)
            amount = points(condition.within) if quantity.is_share else f"{condition.within:g} {quantity.unit}".strip()
            return Text(en=f"The {quantity.name} of {labels[0]} and {labels[-1]} differs by less than {amount}.")
        if condition.kind == "arm":
            return Text(en=f"The {quantity.name} of {labels[0]} is {condition.bound}.")
        way = f"of the way from {labels[1]} to {labels[2]} that {labels[0]} goes"
        return Text(en=f"The share {way}, by {quantity.name}, is {condition.bound}.")

    @property
    def name(self) -> str:
        """What is measured, and where, in a few words."""
        condition = self.condition
        places = [*([condition.part] if condition.part else []), *condition.where]
        return f"{condition.metric or condition.law}" + (f" ({', '.join(places)})" if places else "")

    @property
    def unit(self) -> str:
        """The unit of effect and interval."""
        if self.readings.quantity is None or self.condition.kind == "recovered":
            return "deviation" if self.readings.quantity is None else "share of the way"
        return self.readings.quantity.unit

    def shown(self, value: float | None) -> float | None:
        """Return an effect or an end of its interval in the unit; None for a ratio beyond all floats."""
        if value is None or math.isinf(value) or not self.readings.is_ratio:
            return value if value is None or math.isfinite(value) else None
        return math.exp(value) if value < LARGEST_LOG else None

    @property
    def sesoi(self) -> float:
        """The smallest effect of interest: the bound that the interval must reach."""
        within = self.condition.within
        if within is not None:
            return within if isinstance(within, float) else (within[1] - within[0]) / 2
        bound = self.condition.above if self.condition.above is not None else self.condition.below
        assert bound is not None
        return bound

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; what is not known is None."""
        readings, interval, says = self.readings, self.interval, self.says
        return {
            "part": self.condition.part,
            "kind": self.condition.kind,
            "says": {"en": says.en, "zh": says.zh or says.en},
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
            "n": interval.n,
            "sesoi": self.sesoi,
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


def judge_condition(condition: Condition, readings: Readings, looks: int) -> JudgedCondition:
    """Return the verdict on a condition: supported where its interval lies within its bounds, refuted where outside.

    Args:
        condition: The condition.
        readings: Its values.
        looks: How many verdicts share the error: the planned looks times the conditions of the study.
    """
    base = readings.all[0]
    ends = _ends(condition, readings.is_ratio)
    interval = judge(base.values, sesoi=0.0, looks=looks, brackets=base.brackets)
    word = _word(base, ends, looks)
    found = JudgedCondition(condition, readings, word, "", interval, _stress(readings, ends, looks, word), None, "")
    return replace(
        found,
        reason=_reason(found, ends, looks),
        holds_at=_holds_at(base, ends, looks, word),
        to_change=_to_change(found),
    )


def _ends(condition: Condition, is_ratio: bool) -> Ends:
    low, high = condition.ends
    if is_ratio and isinstance(condition.within, float):
        return -math.log(condition.within), math.log(condition.within)
    if is_ratio:
        assert low is not None
        return math.log(low), None
    return low, high


def _tests(reading: Reading, ends: Ends, looks: int) -> list[Verdict]:
    """Return a verdict for each end: that the values lie on the right side of it."""
    found = []
    for end, sign in zip(ends, (1.0, -1.0), strict=True):
        if end is not None:
            shift = 0.0 if sign > 0 and end >= 0 else -sign * end
            values, brackets = _turned(reading, sign, shift)
            sesoi = end if shift == 0 else 0.0
            found.append(judge(values, sesoi=sesoi, looks=looks, brackets=brackets, center=reading.center))
    return found


def _turned(reading: Reading, sign: float, shift: float) -> tuple[list[float | None], list[tuple[float, float]]]:
    values = [None if value is None else sign * value + shift for value in reading.values]
    pairs = [(sign * least + shift, sign * greatest + shift) for least, greatest in reading.brackets]
    return values, [(min(pair), max(pair)) for pair in pairs]


def _word(reading: Reading, ends: Ends, looks: int) -> Word:
    return _combined([test.verdict for test in _tests(reading, ends, looks)])


def _combined(words: Sequence[Word]) -> Word:
    """Return the verdict on several things that must all hold."""
    if "refuted" in words:
        return "refuted"
    return "supported" if all(word == "supported" for word in words) else "inconclusive"


def _stress(readings: Readings, ends: Ends, looks: int, decided: Word) -> Stress:
    base = readings.all[0]
    if sum(value is not None for value in base.values) < LEAST_SEEDS:
        return Stress(0, 0, ())
    words: list[tuple[tuple[str, ...], Word]] = []
    for reading in readings.all:
        if reading.is_of_another_figure and ends[1] is not None:
            continue  # of two arms that must not differ by more than X: X has the unit of the first figure
        words.append((reading.changes, _word(reading, (0.0, None) if reading.is_of_another_figure else ends, looks)))
    agree, of = sum(word == decided for _, word in words), len(words)
    flips = [f"with {changes[0]}: {word}" for changes, word in words if word != decided and len(changes) == 1]
    if not flips and agree < of:
        flips.append(f"only where two or more choices change at once ({of - agree} of {of})")
    without = _without_one(readings, ends, looks, decided)
    if without is not None:
        of, agree = of + 1, agree + (not without)
        for word in dict.fromkeys(without.values()):
            seeds = [str(seed) for seed, changed in without.items() if changed == word]
            which = f"seed {seeds[0]}" if len(seeds) == 1 else f"any one of the seeds {', '.join(seeds)}"
            flips.append(f"without {which}: {word}")
    return Stress(agree, of, tuple(flips))


def _without_one(readings: Readings, ends: Ends, looks: int, decided: Word) -> dict[int, Word] | None:
    """Return the seeds without which the verdict is another one; None where there are too few seeds to ask."""
    base = readings.all[0]
    known = [place for place, value in enumerate(base.values) if value is not None]
    if len(known) < FEWEST_FOR_LEAVING_OUT:
        return None
    kept = replace(base, values=tuple(base.values[p] for p in known), brackets=tuple(base.brackets[p] for p in known))
    by_test = []
    for end, sign in zip(ends, (1.0, -1.0), strict=True):
        if end is not None:
            shift = 0.0 if sign > 0 and end >= 0 else -sign * end
            values, brackets = _turned(kept, sign, shift)
            present = [value for value in values if value is not None]
            by_test.append(without_each(present, sesoi=end if shift == 0 else 0.0, looks=looks, brackets=brackets))
    words = [_combined(each) for each in zip(*by_test, strict=True)]
    return {readings.seeds[place]: word for place, word in zip(known, words, strict=True) if word != decided}


def _holds_at(reading: Reading, ends: Ends, looks: int, decided: Word) -> float | None:
    """Return the share of the error at which the verdict would just hold, with these looks and conditions."""
    if decided == "inconclusive":
        return None
    holds, fails = 1, 2
    while fails <= MOST_SHARED and _word(reading, ends, looks * fails) == decided:
        holds, fails = fails, 2 * fails
    while fails <= MOST_SHARED and fails - holds > max(1, holds // 64):
        middle = (holds + fails) // 2
        holds, fails = (middle, fails) if _word(reading, ends, looks * middle) == decided else (holds, middle)
    return SHARED_OUT / holds


def _reason(found: JudgedCondition, ends: Ends, looks: int) -> str:
    if found.condition.kind == "pair" and ends[1] is None:
        return _tests(found.readings.all[0], ends, looks)[0].reason
    interval = found.interval
    if interval.n < LEAST_SEEDS:
        return interval.reason
    if interval.low is None or interval.high is None:
        return "Of some seeds only a bound is known, or nothing."
    return {
        "supported": "",
        "refuted": f"The interval does not lie {found.condition.bound}, not even in part.",
        "inconclusive": f"The interval lies only in part {found.condition.bound}.",
    }[found.verdict]


def _to_change(found: JudgedCondition) -> str:
    """Return what would change the verdict, in words."""
    question = found.readings.question
    if found.condition.kind == "pair" and found.condition.within is None and question is not None:
        try:
            return judged(question).to_change
        except StudyError:
            return ""
    low, high = found.shown(found.interval.low), found.shown(found.interval.high)
    if found.verdict == "inconclusive":
        return "more seeds"
    if low is None or high is None or found.condition.kind == "law":
        return ""
    return (
        f"bounds between {low:.4g} and {high:.4g}"
        if found.verdict == "supported"
        else f"a bound beyond [{low:.4g}, {high:.4g}]"
    )
