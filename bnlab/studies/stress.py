"""The stress panel: the same runs, judged again under every other analysis that an honest colleague might choose."""

from dataclasses import dataclass

from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.verdict import Word, without_each
from bnlab.studies.analysis import Analysis
from bnlab.studies.arm_pair import ArmPair

FEWEST_FOR_LEAVING_OUT = LEAST_SEEDS + 1
"""Seeds from which one may be left out: a verdict needs 3."""


@dataclass(frozen=True)
class Stress:
    """How far a verdict depends on the choices that led to it.

    Attributes:
        agree: How many analyses give the same verdict, the one that decides among them.
        of: How many there are.
        flips: Each single change that gives another verdict, in words.
    """

    agree: int
    of: int
    flips: tuple[str, ...]


def stress(pair: ArmPair) -> Stress:
    """Judge two arms under all analyses: each choice of each factor with each of the others, and each seed left out.

    With fewer than 3 pairs, or where neither arm has trained, there is nothing to judge, and no analysis.

    Args:
        pair: The two arms, their runs, and what is claimed of them.

    Raises:
        StudyError: A figure cannot be read from the runs.
    """
    base = pair.base
    decided = pair.verdict(base)
    if decided.n < LEAST_SEEDS or pair.is_untrained:
        return Stress(0, 0, ())
    verdict = decided.verdict
    words: list[tuple[Analysis, Word]] = [(each, pair.verdict(each).verdict) for each in pair.analyses]
    agree, of = sum(word == verdict for _, word in words), len(words)
    flips = []
    for analysis, word in words:
        changed = [factor for factor in base if analysis[factor] != base[factor]]
        if word != verdict and len(changed) == 1:
            flips.append(f"with {analysis[changed[0]].words}: {word}")
    if not flips and agree < of:
        flips.append(f"only where two or more choices change at once ({of - agree} of {of})")
    without = _without_one_seed(pair, verdict)
    if without is not None:
        of += 1
        agree += not without
        for word in dict.fromkeys(without.values()):
            seeds = [str(seed) for seed, changed_to in without.items() if changed_to == word]
            which = f"seed {seeds[0]}" if len(seeds) == 1 else f"any one of the seeds {', '.join(seeds)}"
            flips.append(f"without {which}: {word}")
    return Stress(agree, of, tuple(flips))


def _without_one_seed(pair: ArmPair, verdict: Word) -> dict[int, Word] | None:
    """Return the seeds without which the verdict is another one; None where there are too few seeds to ask."""
    pairs = pair.pairs(pair.base)
    known = [place for place, difference in enumerate(pairs.differences) if difference is not None]
    if len(known) < FEWEST_FOR_LEAVING_OUT:
        return None
    base = pair.verdict(pair.base)
    differences = [difference for difference in pairs.differences if difference is not None]
    brackets = [pairs.brackets[place] for place in known]
    words = without_each(differences, sesoi=base.sesoi, looks=base.looks, brackets=brackets)
    return {pairs.seeds[place]: word for place, word in zip(known, words, strict=True) if word != verdict}
