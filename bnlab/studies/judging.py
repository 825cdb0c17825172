"""A verdict on any sweep: "the first arm is better than the second by more than X"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError, StudyError, did_you_mean
from bnlab.results.arms import Arm, SweepArms, in_words, read_arms
from bnlab.results.outcomes import Row
from bnlab.results.query import describe_column, read_condition
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.power import SeedsNeeded, seeds_needed
from bnlab.stats.verdict import Verdict
from bnlab.studies.pairs import ArmPair, Pairs
from bnlab.studies.quantity import Quantity
from bnlab.studies.stress import Stress, stress

FEW_SEEDS = 5
"""Seeds below which a sweep is a smoke test, not a measurement."""


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
        facts: The settings that all runs share.
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
    facts: dict[str, Any]
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
            f"supported if the interval of the mean {what} lies above {self.sesoi:g}, refuted if it lies below; "
            "the interval holds the mean in 95% of the cases, also where seeds are as skewed as an exponential"
        )

    def shown(self, value: float | None) -> float | None:
        """Return an effect or an end of its interval in the quantity's unit."""
        if value is None or self.quantity.scale == "difference":
            return value
        return math.exp(value)

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
            "reason": verdict.reason,
            "p": verdict.p,
            "looks": verdict.looks,
            "num_missing": verdict.num_missing,
            "learning_rates": None if rates is None else list(rates),
            "seeds": list(self.pairs.seeds),
            "first": list(self.pairs.first),
            "second": list(self.pairs.second),
            "sides": list(self.pairs.sides),
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True)
class Planned:
    """How many seeds a verdict on two arms needs, and how long they take.

    Attributes:
        claim: The claim in words.
        needed: The seeds, and the effect that they are planned for, on the log scale for a ratio.
        at_seen: The same for the effect that the sweep has; None where that is no larger than the smallest one.
        seconds_per_seed: Seconds of training per seed, both arms and all of their learning rates together.
        judged: The verdict on the runs that are there.
    """

    claim: str
    needed: SeedsNeeded
    at_seen: SeedsNeeded | None
    seconds_per_seed: float
    judged: Judged

    def minutes(self, needed: SeedsNeeded) -> float | None:
        """Return the minutes of training, one run after the other, that so many seeds take."""
        return None if needed.seeds is None else needed.seeds * self.seconds_per_seed / 60

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""

        def plan(needed: SeedsNeeded | None) -> dict[str, Any] | None:
            if needed is None:
                return None
            return {
                "effect": self.judged.shown(needed.effect),
                "seeds": needed.seeds,
                "power": needed.power,
                "minutes": self.minutes(needed),
            }

        return {
            "study": self.judged.folder.name,
            "claim": self.claim,
            "metric": self.judged.quantity.name,
            "arms": [arm.label for arm in self.judged.arms],
            "sesoi": self.judged.sesoi,
            "unit": self.judged.quantity.unit,
            "seeds_there": self.needed.pilot,
            "seconds_per_seed": self.seconds_per_seed,
            "planned": plan(self.needed),
            "as_seen": plan(self.at_seen),
        }


def judge_sweep(
    folder: Path,
    quantity: Quantity,
    *,
    arms: Sequence[str] = (),
    sesoi: float | None = None,
    looks: int = 1,
    where: Sequence[str] = (),
) -> Judged:
    """Return a verdict on two arms of a sweep.

    Args:
        folder: The sweep's folder; any folder of runs will do.
        quantity: What the arms are compared by.
        arms: The labels of the first and the second arm; none: the only two arms, ``norm=none`` last.
        sesoi: The smallest effect of interest, in the quantity's unit; None: the usual one.
        looks: How often the data are looked at in all.
        where: Conditions that runs must fulfill, such as ``model.depth=5``.

    Raises:
        ConfigError: A condition, an arm or the smallest effect is none.
        StudyError: There are no runs, or the figure cannot be read from them.
    """
    sweep = read_sweep(folder)
    if not sweep.rows:
        raise StudyError(
            f"{folder} holds no runs that can be read. Sweep them: bnlab sweep norm=batch,none 'seed=range(5)'."
        )
    grid = _arms_where(sweep, where)
    first, second = _find_arms(grid, arms)
    facts = sweep.shared_settings()
    data = str(first.settings.get("data") or facts.get("data") or "")
    smallest = quantity.checked_sesoi(quantity.usual_sesoi(data) if sesoi is None else sesoi)
    pair = ArmPair(first, second, quantity, grid.lrs, smallest, looks)
    base = pair.base
    verdict, pairs = pair.verdict(base), pair.pairs(base)
    rows = [run.row for arm in (first, second) for cell in arm.cells for run in cell.runs if run.row is not None]
    seconds = math.fsum(_seconds_of(row) for row in rows)
    sentences = _sentences(grid, first, second, verdict, pairs)
    if (between := pair.steps_between_validations()) is not None:
        sentences.append(f"Steps to the target are known to {between}: the runs were validated no more often.")
    return Judged(
        folder, quantity, smallest, (first, second), verdict, pairs, stress(pair), facts, seconds, tuple(sentences)
    )


def plan_seeds(judged: Judged, effect: float | None = None, power: float | None = None) -> Planned:
    """Return how many seeds a verdict on two arms needs.

    Args:
        judged: The verdict on the runs that are there, which are the pilot.
        effect: The true effect to plan for, in the quantity's unit; None: twice the smallest one of interest (for a
            ratio its square; for a smallest effect of 0 the one that was seen).
        power: The chance of the verdict ``supported`` that is asked for; None: 0.8.

    Raises:
        StudyError: The pilot has fewer than 3 pairs, or bounds among them, or the effect is too small.
    """
    pairs, verdict = judged.pairs, judged.verdict
    known = [difference for difference in pairs.differences if difference is not None]
    bounds = sum(side != "exact" for side in pairs.sides)
    if len(known) < LEAST_SEEDS:
        raise StudyError(
            f"a plan needs {LEAST_SEEDS} or more seeds with both runs, {judged.folder} has {len(known)}. "
            f"Train a pilot: 'seed=range(5)'."
        )
    if bounds:
        raise StudyError(
            f"{bounds} of {len(known)} pairs have a run that did not reach what is measured, so that the spread over "
            "seeds is not known. Train longer, or take a nearer target."
        )
    is_ratio = judged.quantity.scale == "ratio"
    sesoi = math.log(judged.sesoi) if is_ratio else judged.sesoi
    seen = verdict.effect
    assert seen is not None  # there are pairs, and no bounds
    wanted = None if effect is None else math.log(effect) if is_ratio and effect > 0 else effect
    if wanted is None and sesoi == 0:
        if seen <= 0:
            raise StudyError(
                f"{judged.arms[0].label} is not better in these runs, so that there is no effect to plan for. "
                "Give one, --effect X, or a smallest one of interest, --sesoi X."
            )
        wanted = seen
    options = {} if power is None else {"power": power}
    needed = seeds_needed(known, sesoi=sesoi, effect=wanted, looks=verdict.looks, **options)
    at_seen = seeds_needed(known, sesoi=sesoi, effect=seen, looks=verdict.looks, **options) if seen > sesoi else None
    num_seeds = len(pairs.seeds)
    return Planned(judged.claim, needed, at_seen, judged.seconds / num_seeds, judged)


def _arms_where(sweep: SweepRuns, where: Sequence[str]) -> SweepArms:
    """Return the arms of the runs that fulfill all conditions.

    Raises:
        ConfigError: A condition is none, or no run fulfills them.
    """
    rows = list(sweep.rows)
    for text in where:
        condition = read_condition(text, rows)
        kept = [row for row in rows if condition.holds(row)]
        if not kept:
            raise ConfigError(f"--where {text}: no run is left. {describe_column(condition.column, rows)}.")
        rows = kept
    planned = sweep.planned if len(rows) == len(sweep.rows) else [row["run_id"] for row in rows]
    return read_arms(rows, sweep.swept, planned)


def _find_arms(grid: SweepArms, wanted: Sequence[str]) -> tuple[Arm, Arm]:
    """Return the two arms of some labels.

    Raises:
        ConfigError: There are no such arms, or a label means several.
    """
    labels = ", ".join(arm.label for arm in grid.arms)
    if not wanted:
        if len(grid.arms) == 1:
            raise ConfigError(f"a verdict compares two arms, the sweep has one: {labels}. Sweep norm=batch,none, say.")
        if len(grid.arms) > 2:
            raise ConfigError(f"--arms FIRST,SECOND is missing: the sweep has {len(grid.arms)} arms: {labels}.")
        first, second = grid.arms
        return (second, first) if first.settings.get("norm") == "none" else (first, second)
    if len(wanted) != 2 or wanted[0] == wanted[1]:
        raise ConfigError(f"--arms takes two different arms, as batch,none, got {','.join(wanted)}. Arms: {labels}.")
    return _find_arm(grid, wanted[0]), _find_arm(grid, wanted[1])


def _find_arm(grid: SweepArms, word: str) -> Arm:
    """Return the arm of a label, of its folder's name, or of the only value that tells it apart.

    Raises:
        ConfigError: There is none, or there are several.
    """
    named = [arm for arm in grid.arms if word in {arm.label, arm.folder_name}]
    found = named or [arm for arm in grid.arms if word in map(str, arm.settings.values())]
    if len(found) == 1:
        return found[0]
    if not found:
        near = did_you_mean(word, [arm.label for arm in grid.arms])
        raise ConfigError(f"--arms {word}: the sweep has no such arm. {near}")
    others = ", ".join(arm.label for arm in found)
    raise ConfigError(
        f"--arms {word} means {len(found)} arms: {others}. Write one of these, in quotes, or choose runs by --where "
        "KEY=VALUE."
    )


def _seconds_of(row: Row) -> float:
    """Return how long a run took to train; of one that was trained together with others, its share."""
    try:
        cohort = RunFolder(Path(row["folder"])).read_manifest().get("cohort") or {}
    except RunError:
        cohort = {}
    return float(row.get("duration_s") or 0.0) / max(len(cohort.get("runs", ())), 1)


def _sentences(grid: SweepArms, first: Arm, second: Arm, verdict: Verdict, pairs: Pairs) -> list[str]:
    """Return what must be said aloud: missing pairs, few seeds, best rates at an edge, looks."""
    sentences = []
    if missing := [*first.missing, *second.missing]:
        named = "; ".join(missing[:3]) + (f"; {len(missing) - 3} more" if len(missing) > 3 else "")
        sentences.append(f"{len(missing)} of the runs of both arms are missing ({named}): run the sweep again.")
    if without := [seed for seed, d in zip(pairs.seeds, pairs.differences, strict=True) if d is None]:
        sentences.append(f"{in_words(without)}: no figure of both arms, so that the verdict stands on the others.")
    if 0 < verdict.n < FEW_SEEDS:
        sentences.append(f"{verdict.n} seeds are a smoke test, not a measurement: take 5 or more, 'seed=range(5)'.")
    for side, words in (("at_least", "at least what is shown"), ("at_most", "at most what is shown")):
        if number := sum(each == side for each in pairs.sides):
            sentences.append(
                f"In {number} of {len(pairs.sides)} pairs the effect is {words}, since one run did not get there."
            )
    if number := sum(each == "unknown" for each in pairs.sides):
        sentences.append(
            f"In {number} of {len(pairs.sides)} pairs nothing is known: neither run got there, or one trains nowhere."
        )
    if pairs.rates is not None and len(grid.lrs) > 1:
        for arm, lr in zip((first, second), pairs.rates, strict=True):
            tried = [cell.lr for cell in arm.compared]
            if len(tried) > 1 and lr in {tried[0], tried[-1]}:
                end, beyond = ("lowest", "lower") if lr == tried[0] else ("highest", "higher")
                at = f"{lr:g}, the {end} learning rate of the sweep"
                sentences.append(f"{arm.label} does best at {at}: a {beyond} one may be better.")
    if diverged := sum(cell.num_diverged for arm in (first, second) for cell in arm.cells):
        sentences.append(f"{diverged} runs diverged; each counts with the figures of its start.")
    return sentences
