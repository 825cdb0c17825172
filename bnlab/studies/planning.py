"""How many seeds a verdict needs, and what would change it."""

import math
from dataclasses import dataclass
from typing import Any

from bnlab.errors import StudyError
from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.power import MOST_SEEDS, POWER, SeedsNeeded, seeds_needed
from bnlab.studies.judged import Judged
from bnlab.studies.quantity import OF_THE_GRID


@dataclass(frozen=True)
class Planned:
    """How many seeds a verdict on two arms needs, and how long they take.

    Attributes:
        needed: The seeds, and the effect that they are planned for, on the log scale for a ratio.
        power: The chance of the verdict that was asked for.
        seconds_per_seed: Seconds of training per seed, both arms and all of their learning rates together.
        judged: The verdict on the runs that are there.
    """

    needed: SeedsNeeded
    power: float
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
            "claim": self.judged.claim,
            "metric": self.judged.quantity.name,
            "arms": [arm.label for arm in self.judged.arms],
            "sesoi": self.judged.sesoi,
            "unit": self.judged.quantity.unit,
            "seeds_there": self.needed.pilot,
            "seconds_per_seed": self.seconds_per_seed,
            "planned": plan(self.needed),
            "as_seen": plan(plan_as_seen(self)),
        }


def plan_seeds(judged: Judged, effect: float | None = None, power: float = POWER) -> Planned:
    """Return how many seeds a verdict on two arms needs.

    Args:
        judged: The verdict on the runs that are there, which are the pilot.
        effect: The true effect to plan for, in the quantity's unit; None: twice the smallest one of interest (for a
            ratio its square; for a smallest effect of 0 the one that was seen).
        power: The chance of the verdict ``supported`` that is asked for, in (0, 1).

    Raises:
        StudyError: The pilot has fewer than 3 pairs, or bounds among them, or the effect is too small.
    """
    pairs, verdict = judged.pairs, judged.verdict
    known = [difference for difference in pairs.differences if difference is not None]
    if len(known) < LEAST_SEEDS:
        raise StudyError(
            f"a plan needs {LEAST_SEEDS} or more seeds with both runs, {judged.folder} has {len(known)}. "
            "Train a pilot: 'seed=range(5)'."
        )
    open_ended = [bracket for bracket in pairs.brackets if math.isinf(bracket[0]) or math.isinf(bracket[1])]
    if open_ended:
        is_of_grid = judged.quantity.kind in OF_THE_GRID
        cure = "Sweep a wider range of values." if is_of_grid else "Train longer, or take a nearer target."
        raise StudyError(
            f"{len(open_ended)} of {len(known)} pairs have a run that did not get there, or the grid ends: the spread "
            f"over seeds is not known. {cure}"
        )
    if effect is not None and not (math.isfinite(effect) and effect > judged.sesoi):
        raise StudyError(
            f"--effect must be finite and above the smallest effect of interest, {judged.sesoi:g}, got {effect:g}."
        )
    is_ratio = judged.quantity.scale == "ratio"
    sesoi = math.log(judged.sesoi) if is_ratio else judged.sesoi
    seen = verdict.effect
    assert seen is not None  # there are pairs, and no open ends
    wanted = None if effect is None else math.log(effect) if is_ratio else effect
    if wanted is None and sesoi == 0:
        if seen <= 0:
            raise StudyError(
                f"{judged.arms[0].label} is not better in these runs, so that there is no effect to plan for. "
                "Give one, --effect X, or a smallest one of interest, --sesoi X."
            )
        wanted = seen
    needed = seeds_needed(known, sesoi=sesoi, effect=wanted, looks=verdict.looks, power=power)
    return Planned(needed, power, judged.seconds / len(pairs.seeds), judged)


def plan_as_seen(planned: Planned) -> SeedsNeeded | None:
    """Return the seeds for the effect that the runs have; None where that is no larger than the smallest one.

    Args:
        planned: The plan for another effect, from the same runs.
    """
    judged = planned.judged
    known = [difference for difference in judged.pairs.differences if difference is not None]
    seen = judged.verdict.effect
    if seen is None or seen <= judged.verdict.sesoi or seen == planned.needed.effect:
        return None
    sesoi, looks = judged.verdict.sesoi, judged.verdict.looks
    return seeds_needed(known, sesoi=sesoi, effect=seen, looks=looks, power=planned.power)


def what_would_change(judged: Judged) -> str:
    """Return for which smallest effects of interest the verdict would be another, or how many seeds are needed."""
    verdict = judged.verdict
    if verdict.verdict == "supported":
        return f"a smallest effect of interest of {judged.amount(verdict.low)} or more"
    if verdict.verdict == "refuted":
        high = judged.shown(verdict.high)
        least = 1.0 if judged.quantity.scale == "ratio" else 0.0
        if high is not None and high <= least:
            return "nothing, for any smallest effect of interest"
        return f"a smallest effect of interest below {judged.amount(verdict.high)}"
    try:
        planned = plan_seeds(judged)
    except StudyError:
        return ""
    effect, seeds = judged.amount(planned.needed.effect), planned.needed.seeds
    if seeds is None:
        said = [f"more than {MOST_SEEDS:,} seeds, if the effect is {effect}"]
    else:
        said = [f"{seeds} seeds, if the effect is {effect}"] if seeds > verdict.n else []
    seen = plan_as_seen(planned)
    if seen is not None and seen.seeds is not None and seen.seeds > verdict.n:
        said.append(f"{seen.seeds} seeds, if the effect is the one seen")
    return "; ".join(said)
