"""The verdict on one condition of a study: whether its interval lies where it must, under each analysis."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bnlab.errors import StudyError
from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.verdict import SHARED_OUT, Bracket, Verdict, Word, judge, without_each
from bnlab.studies.arm_pair import UNTRAINED
from bnlab.studies.bounds import numbers_in_unit
from bnlab.studies.condition import Condition
from bnlab.studies.judged_condition import JudgedCondition
from bnlab.studies.judging import judged
from bnlab.studies.planning import what_would_change
from bnlab.studies.readings import Reading, Readings
from bnlab.studies.stress import FEWEST_FOR_LEAVING_OUT, Stress

MOST_SHARED = 2**30
"""Claims that may share the error before it is said that more would do as well."""

Ends = tuple[float | None, float | None]


class Shares(NamedTuple):
    """Among how many verdicts the error is shared.

    A claim is supported where *all* of its conditions are. A claim that is false has a condition that is false, and
    that one alone would have to err: conditions need not share (intersection-union test; Berger 1982). It is refuted
    where *any* is. A claim that is true could be refuted by an error in each of its conditions, so that they share.

    Attributes:
        to_support: The looks.
        to_refute: The looks times the conditions.
    """

    to_support: int
    to_refute: int


def judge_condition(condition: Condition, readings: Readings, looks: int, conditions: int = 1) -> JudgedCondition:
    """Return the verdict on a condition: supported where its interval lies within its bounds, refuted where outside.

    Args:
        condition: What must hold, of which arms or law, by how much.
        readings: Its values, seed by seed, under each analysis.
        looks: Among how many looks the error is shared.
        conditions: How many conditions the study has, any of which refutes it.
    """
    base = readings.all[0]
    ends, shares = _ends(condition, readings.is_ratio), Shares(looks, looks * conditions)
    word = _word(base, ends, shares)
    is_untrained = condition.kind == "pair" and readings.question is not None and readings.question.pair.is_untrained
    if is_untrained:
        word = "inconclusive"
    told = shares.to_support if word == "supported" else shares.to_refute
    interval = judge(base.values, sesoi=0.0, looks=told, brackets=base.brackets)
    if readings.quantity is not None and condition.kind in {"pair", "arm"}:
        interval = readings.quantity.within_limits(interval, is_pair=condition.kind == "pair")
    stress = Stress(0, 0, ()) if is_untrained else _stress(readings, ends, shares, word)
    found = JudgedCondition(condition, readings, word, "", interval, stress, None, "")
    return replace(
        found,
        reason=UNTRAINED if is_untrained else _reason(found, ends, told),
        holds_at=_holds_at(base, ends, shares, word),
        to_change="" if is_untrained else _to_change(found),
    )


def _ends(condition: Condition, is_ratio: bool) -> Ends:
    low, high = condition.ends
    if is_ratio and isinstance(condition.within, float):
        return -math.log(condition.within), math.log(condition.within)
    if is_ratio:
        assert low is not None
        return math.log(low), None
    return low, high


class Test(NamedTuple):
    """That values lie on the right side of one end: of values that were turned, above ``sesoi``."""

    values: list[float | None]
    brackets: list[Bracket]
    sesoi: float


def _sides(reading: Reading, ends: Ends) -> list[Test]:
    """Return what must hold of the values, for each end that there is."""
    found = []
    for end, sign in zip(ends, (1.0, -1.0), strict=True):
        if end is not None:
            is_asked = sign > 0 and end >= 0
            values, brackets = _turned(reading, sign, 0.0 if is_asked else -sign * end)
            found.append(Test(values, brackets, end if is_asked else 0.0))
    return found


def _tests(reading: Reading, ends: Ends, looks: int) -> list[Verdict]:
    """Return a verdict for each end: that the values lie on the right side of it."""
    return [
        judge(one.values, sesoi=one.sesoi, looks=looks, brackets=one.brackets, center=reading.center)
        for one in _sides(reading, ends)
    ]


def _turned(reading: Reading, sign: float, shift: float) -> tuple[list[float | None], list[tuple[float, float]]]:
    values = [None if value is None else sign * value + shift for value in reading.values]
    pairs = [(sign * least + shift, sign * greatest + shift) for least, greatest in reading.brackets]
    return values, [(min(pair), max(pair)) for pair in pairs]


def _word(reading: Reading, ends: Ends, shares: Shares) -> Word:
    of_looks, of_all = (_combined([test.verdict for test in _tests(reading, ends, looks)]) for looks in shares)
    return _either(of_looks, of_all)


def _either(of_looks: Word, of_all: Word) -> Word:
    """Return the verdict of two: supported by the first, for which looks alone share, or refuted by the second."""
    return "supported" if of_looks == "supported" else "refuted" if of_all == "refuted" else "inconclusive"


def _combined(words: Sequence[Word]) -> Word:
    """Return the verdict on several things that must all hold."""
    if "refuted" in words:
        return "refuted"
    return "supported" if all(word == "supported" for word in words) else "inconclusive"


def _stress(readings: Readings, ends: Ends, shares: Shares, decided: Word) -> Stress:
    base = readings.all[0]
    if sum(value is not None for value in base.values) < LEAST_SEEDS:
        return Stress(0, 0, ())
    words: list[tuple[tuple[str, ...], Word]] = []
    for reading in readings.all:
        if reading.is_of_another_figure and ends[1] is not None:
            continue  # of two arms that must not differ by more than X: X has the unit of the first figure
        words.append((reading.changes, _word(reading, (0.0, None) if reading.is_of_another_figure else ends, shares)))
    agree, of = sum(word == decided for _, word in words), len(words)
    flips = [f"with {changes[0]}: {word}" for changes, word in words if word != decided and len(changes) == 1]
    if not flips and agree < of:
        flips.append(f"only where two or more choices change at once ({of - agree} of {of})")
    without = _without_one(readings, ends, shares, decided)
    if without is not None:
        of, agree = of + 1, agree + (not without)
        for word in dict.fromkeys(without.values()):
            seeds = [str(seed) for seed, changed in without.items() if changed == word]
            which = f"seed {seeds[0]}" if len(seeds) == 1 else f"any one of the seeds {', '.join(seeds)}"
            flips.append(f"without {which}: {word}")
    return Stress(agree, of, tuple(flips))


def _without_one(readings: Readings, ends: Ends, shares: Shares, decided: Word) -> dict[int, Word] | None:
    """Return the seeds without which the verdict is another one; None where there are too few seeds to ask."""
    base = readings.all[0]
    known = [place for place, value in enumerate(base.values) if value is not None]
    if len(known) < FEWEST_FOR_LEAVING_OUT:
        return None
    kept = replace(base, values=tuple(base.values[p] for p in known), brackets=tuple(base.brackets[p] for p in known))
    words_by_share = []
    for looks in shares:
        by_test = [
            without_each(
                [value for value in one.values if value is not None],
                sesoi=one.sesoi,
                looks=looks,
                brackets=one.brackets,
            )
            for one in _sides(kept, ends)
        ]
        words_by_share.append([_combined(each) for each in zip(*by_test, strict=True)])
    words = [_either(*each) for each in zip(*words_by_share, strict=True)]
    return {readings.seeds[place]: word for place, word in zip(known, words, strict=True) if word != decided}


def _holds_at(reading: Reading, ends: Ends, shares: Shares, decided: Word) -> float | None:
    """Return the share of the error at which the verdict would just hold, with these looks and conditions."""
    if decided == "inconclusive":
        return None

    def stands(times: int) -> bool:
        return _word(reading, ends, Shares(shares.to_support * times, shares.to_refute * times)) == decided

    holds, fails = 1, 2
    while fails <= MOST_SHARED and stands(fails):
        holds, fails = fails, 2 * fails
    while fails <= MOST_SHARED and fails - holds > max(1, holds // 64):
        middle = (holds + fails) // 2
        holds, fails = (middle, fails) if stands(middle) else (holds, middle)
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
        "refuted": f"The interval does not lie {found.bound}, not even in part.",
        "inconclusive": f"The interval lies only in part {found.bound}.",
    }[found.verdict]


def _to_change(found: JudgedCondition) -> str:
    """Return what would change the verdict, in words."""
    question = found.readings.question
    if found.condition.kind == "pair" and found.condition.within is None and question is not None:
        try:
            of_pair = judged(question)
        except StudyError:
            return ""
        # the interval that decided may be narrower than that of the pair alone, since conditions share the error
        decided = replace(of_pair.verdict, verdict=found.verdict, low=found.interval.low, high=found.interval.high)
        return what_would_change(replace(of_pair, verdict=decided))
    low, high = found.shown(found.interval.low), found.shown(found.interval.high)
    if found.verdict == "inconclusive":
        return "more seeds"
    if low is None or high is None or found.condition.kind == "law":
        return ""
    low, high = (float(f"{end:.4g}") for end in (low, high))
    is_supported, condition = found.verdict == "supported", found.condition
    if condition.above is not None or condition.below is not None:  # with a bound beyond that end it turns over
        is_above = is_supported == (condition.above is not None)
        end = numbers_in_unit([low if is_above else high], condition.kind, found.unit)
        return f"a bound {'above' if is_above else 'below'} {end}"
    between = numbers_in_unit([low, high], condition.kind, found.unit)
    return f"bounds between {between}" if is_supported else f"a bound that is not between {between}"
