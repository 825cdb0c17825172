"""The figures of a condition, seed by seed, under each analysis that an honest colleague might choose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlab.stats.verdict import Bracket, Center
from bnlab.studies.analysis import Analysis
from bnlab.studies.arm_pair import ArmPair
from bnlab.studies.caveats import sentences_of
from bnlab.studies.condition import Condition
from bnlab.studies.definitions import deviations, norm_of
from bnlab.studies.judging import Question, ask, seconds_of
from bnlab.studies.pairs import Pairs
from bnlab.studies.quantity import Quantity
from bnlab.studies.run_values import Figure

LEAST_GAP = 0.05
"""5 points: where two arms are closer than that, a share of the way between them says nothing."""


@dataclass(frozen=True)
class Reading:
    """One value per seed under one analysis.

    Attributes:
        changes: The choices that differ from those of the analysis that decides, in words.
        values: One per seed; on the log scale for a ratio; None for a seed with a run that failed.
        brackets: The least and the greatest value that each can have.
        center: Whether the mean or the median over seeds is asked for.
        is_of_another_figure: Whether the unit is another one, so that any difference counts.
    """

    changes: tuple[str, ...]
    values: tuple[float | None, ...]
    brackets: tuple[Bracket, ...]
    center: Center = "mean"
    is_of_another_figure: bool = False


@dataclass(frozen=True)
class Readings:
    """All values of a condition.

    Attributes:
        labels: The names of the arms.
        quantity: What was measured; None for a law.
        is_ratio: Whether values are logs of ratios.
        seeds: The seeds.
        all: One reading per analysis; the first one decides.
        first: The figure of the first arm for each seed; None where it has none.
        second: The figure of the second arm; empty where there is none.
        rates: The learning rates of the arms; None where the whole grid counts, or there are none.
        how: How the learning rates were chosen; empty where nothing was to choose.
        sentences: What must be said aloud.
        seconds: How long the runs took to train, one after the other.
        question: The arms and what is asked about them; None for a law.
    """

    labels: tuple[str, ...]
    quantity: Quantity | None
    is_ratio: bool
    seeds: tuple[int, ...]
    all: tuple[Reading, ...]
    first: tuple[Figure | None, ...]
    second: tuple[Figure | None, ...] = ()
    rates: tuple[float, ...] | None = None
    how: str = ""
    sentences: tuple[str, ...] = ()
    seconds: float = 0.0
    question: Question | None = None


def read_figures(
    condition: Condition, folder: Path | None, looks: int, seeds: range, tuned: Mapping[str, float] | None = None
) -> Readings:
    """Return the values that a condition asks for.

    Args:
        condition: What must hold, of which arms, by how much.
        folder: The folder of the sweep that it asks; None for a law.
        looks: How often the data are looked at in all.
        seeds: The seeds that count: another study may have trained more in the same folder.
        tuned: Label of an arm -> the learning rate that was chosen for it on other seeds; None: none was.

    Raises:
        ConfigError: An arm or a condition on runs is none.
        StudyError: The figure cannot be read from the runs.
    """
    if condition.law is not None:
        values = deviations(condition.law)
        reading = Reading((), tuple(values), tuple((v, v) for v in values))
        figures = tuple(Figure(v, v, v) for v in values)
        return Readings((norm_of(condition.law),), None, False, tuple(range(len(values))), (reading,), figures)
    assert folder is not None
    quantity, where = condition.quantity(), (*condition.where, f"seed>={seeds.start}", f"seed<{seeds.stop}")
    sesoi = _sesoi(condition, quantity)
    if condition.arms is not None:
        question = ask(folder, quantity, arms=condition.arms, sesoi=sesoi, looks=looks, where=where, tuned=tuned)
        return _of_pair(question)
    if condition.arm is not None:
        question = ask(folder, quantity, alone=condition.arm, sesoi=sesoi, looks=looks, where=where, tuned=tuned)
        return _of_arm(question)
    assert condition.recovered is not None
    one, low, high = condition.recovered
    to_one, to_high = (
        ask(folder, quantity, arms=(arm, low), sesoi=sesoi, looks=looks, where=where, tuned=tuned)
        for arm in (one, high)
    )
    return _of_recovered(to_one, to_high)


def _sesoi(condition: Condition, quantity: Quantity) -> float:
    """Return the smallest effect that the plan of seeds is told of; the bounds decide by themselves."""
    least = 1.0 if quantity.scale == "ratio" else 0.0
    return least if condition.arms is None else max(condition.sesoi, least)


def _of_pair(question: Question) -> Readings:
    pair = question.pair
    base = pair.pairs(pair.base)
    readings = []
    for analysis in pair.analyses:
        pairs = pair.pairs(analysis)
        other = pair.is_of_another_figure(analysis)
        readings.append(
            Reading(_changes(pair, analysis), pairs.differences, pairs.brackets, analysis["center"].value, other)
        )
    return _readings(question, readings, base.first, base.second, base, pair.quantity.scale == "ratio")


def _of_arm(question: Question) -> Readings:
    pair = question.pair
    base = pair.pairs(pair.base)
    readings = []
    for analysis in pair.analyses:
        if not pair.is_of_another_figure(analysis):
            figures = pair.pairs(analysis).first
            values = tuple(None if one is None else one.value if one.is_known else 0.0 for one in figures)
            brackets = tuple((0.0, 0.0) if one is None else (one.least, one.greatest) for one in figures)
            readings.append(Reading(_changes(pair, analysis), values, brackets, analysis["center"].value))
    return _readings(question, readings, base.first, (), base, False)


def _of_recovered(to_one: Question, to_high: Question) -> Readings:
    """Return which share of the way from the low arm to the high one another arm goes.

    Args:
        to_one: The arm in question and the low one.
        to_high: The high arm and the low one.
    """
    pair, other = to_high.pair, to_one.pair
    base, base_of_one = pair.pairs(pair.base), other.pairs(other.base)
    gap = LEAST_GAP if pair.quantity.is_share else 0.0
    readings = []
    for analysis in pair.analyses:
        changed = {factor: choice for factor, choice in analysis.items() if factor != "rate"}
        if pair.is_of_another_figure(analysis) or analysis.get("rate") != pair.base.get("rate"):
            continue
        of_other = next(
            (
                each
                for each in other.analyses
                if all(each.get(f) == c for f, c in changed.items()) and each.get("rate") == other.base.get("rate")
            ),
            None,
        )
        if of_other is not None:
            values, brackets = _shares(pair.pairs(analysis), other.pairs(of_other), gap)
            readings.append(Reading(_changes(pair, analysis), values, brackets, analysis["center"].value))
    first = tuple(dict(zip(base_of_one.seeds, base_of_one.first, strict=True)).get(seed) for seed in base.seeds)
    found = _readings(to_high, readings, first, base.second, base, False)
    sentences = tuple(dict.fromkeys([*found.sentences, *_sentences(to_one)]))
    labels = (other.arms[0].label, *(arm.label for arm in (pair.arms[1], pair.arms[0])))
    return Readings(
        labels, found.quantity, False, found.seeds, found.all, found.first, found.second, found.rates, found.how,
        sentences, seconds_of([*pair.arms, other.arms[0]]), to_high,
    )  # fmt: skip


def _shares(of_high: Pairs, of_one: Pairs, least_gap: float) -> tuple[tuple[float | None, ...], tuple[Bracket, ...]]:
    """Return the share of each seed; nothing is known of it where the two outer arms are too close, or turned round.

    Nor where a figure is known between bounds only, as of a run that did not reach a target.
    """
    ones = dict(zip(of_one.seeds, zip(of_one.differences, of_one.brackets, strict=True), strict=True))
    values: list[float | None] = []
    brackets: list[Bracket] = []
    for seed, gap, around in zip(of_high.seeds, of_high.differences, of_high.brackets, strict=True):
        difference, around_one = ones.get(seed, (None, around))
        if gap is None or difference is None:
            values.append(None)
            brackets.append((0.0, 0.0))
        elif gap <= least_gap or around != (gap, gap) or around_one != (difference, difference):
            values.append(0.0)
            brackets.append((-math.inf, math.inf))
        else:
            values.append(difference / gap)
            brackets.append((difference / gap, difference / gap))
    return tuple(values), tuple(brackets)


def _changes(pair: ArmPair, analysis: Analysis) -> tuple[str, ...]:
    return tuple(analysis[factor].words for factor in pair.base if analysis[factor] != pair.base[factor])


def _sentences(question: Question) -> list[str]:
    pair = question.pair
    return sentences_of(question.grid, pair, pair.verdict(pair.base), pair.pairs(pair.base))


def _readings(
    question: Question,
    readings: Sequence[Reading],
    first: tuple[Figure | None, ...],
    second: tuple[Figure | None, ...],
    base: Pairs,
    is_ratio: bool,
) -> Readings:
    pair = question.pair
    rates = None if base.rates is None else base.rates[: 2 if second else 1]
    return Readings(
        labels=tuple(dict.fromkeys(arm.label for arm in pair.arms)),
        quantity=pair.quantity,
        is_ratio=is_ratio,
        seeds=base.seeds,
        all=tuple(readings),
        first=first,
        second=second,
        rates=rates,
        how=pair.base["rate"].words if "rate" in pair.base else "",
        sentences=tuple(dict.fromkeys(_sentences(question))),
        seconds=seconds_of(pair.arms),
        question=question,
    )
