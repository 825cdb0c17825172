"""How good an arm is after a tuning budget, and how many of its hyperparameters must be tuned.

Shape letters: S seeds, K settings of all hyperparameters, H hyperparameters.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.estimate import Estimate, FloatArray, mean_over_seeds

RETAINED = 0.95
"""Share of the best score that counts as good enough (Adkins et al. 2024)."""

Setting = tuple[str, ...]
"""One value per hyperparameter, as text."""


@dataclass(frozen=True, slots=True)
class EffectiveDimension:
    """How many hyperparameters must be tuned to come close to the best setting.

    Attributes:
        number: The fewest that suffice; 0 where the default is good enough.
        names: Which ones: of the sets of that size the one with the best score.
        retained: Share of the way from the start to the best that they reach, when tuned together.
        default: The setting of all others, which is that of no tuning at all.
        retained_by_default: The same share of the default itself.
    """

    number: int
    names: tuple[str, ...]
    retained: float
    default: Setting
    retained_by_default: float


def expected_score(chosen_by_SK: FloatArray, score_SK: FloatArray, budget: int) -> Estimate:
    """Return the score to be expected from the best of a few settings that are tried at random.

        E = mean over S of  sum over r of  C(K - r, budget - 1) / C(K, budget) * score of the r-th best by validation

    Of ``budget`` settings drawn without replacement the one with the best validation figure of the same seed is taken,
    and its score on the test set is what counts.

    Args:
        chosen_by_SK: Validation figure of each seed and setting, larger is better; finite.
        score_SK: Score on the test set, in the same shape; finite.
        budget: How many settings are tried, 1 to K.

    Raises:
        StudyError: The budget is out of range.

    Source:
        Dodge et al. 2019, arXiv:1909.03004, with the exact weights for drawing without replacement.

    Example:
        >>> validation, test = np.array([[0.1, 0.5, 0.9]]), np.array([[0.2, 0.4, 0.8]])
        >>> [round(expected_score(validation, test, budget).value, 3) for budget in (1, 2, 3)]
        [0.467, 0.667, 0.8]
    """
    num = chosen_by_SK.shape[1]
    if not 1 <= budget <= num:
        raise StudyError(f"a tuning budget must be 1 to {num}, the number of settings, got {budget}")
    draws = math.comb(num, budget)  # whole numbers, which may be too large for a float; their ratio is not
    weights_K = np.array([math.comb(num - rank, budget - 1) / draws for rank in range(1, num + 1)])
    order_SK = np.argsort(-chosen_by_SK, axis=1, kind="stable")
    return mean_over_seeds((np.take_along_axis(score_SK, order_SK, axis=1) @ weights_K).tolist())


def effective_dimension(
    names: Sequence[str], scores: Mapping[Setting, float], default: Setting, start: float
) -> EffectiveDimension:
    """Return how many hyperparameters must be tuned, all others staying at the default.

        the least h for which a set T of h names has  max over settings that differ from the default in T alone
        of (score - start)  >=  0.95 * (best score - start)

    Args:
        names: Keys of the H hyperparameters, in the order of the axes.
        scores: Setting -> its mean score over seeds, larger is better. Settings that are not there count for nothing.
        default: The setting of no tuning at all.
        start: The score before training, from which on shares are counted: 95% of an accuracy of 0.9 is not near it
            where chance is 0.85.

    Raises:
        StudyError: The default has no score, or nothing is better than the start.

    Source:
        Adkins, Bowling and White 2024, arXiv:2412.07165, section 5; there the default is the best setting over all
        environments, and scores are normalized over them.

    Example:
        >>> scores = {("0.1", "0"): 0.5, ("1", "0"): 0.9, ("0.1", "1"): 0.5, ("1", "1"): 0.91}
        >>> found = effective_dimension(["lr", "decay"], scores, ("0.1", "0"), 0.1)
        >>> found.number, found.names, round(found.retained, 3)
        (1, ('lr',), 0.988)
    """
    if default not in scores:
        raise StudyError(f"the default setting {', '.join(default)} has no score")
    best = max(scores.values())
    if not best > start:
        raise StudyError("no setting is better than the start, so that there is nothing to tune")

    def retained(tuned: Sequence[int]) -> float:
        near = [
            score
            for setting, score in scores.items()
            if all(setting[place] == default[place] for place in range(len(names)) if place not in tuned)
        ]
        return (max(near) - start) / (best - start)

    untouched = retained(())
    for number in range(len(names)):
        sets = list(itertools.combinations(range(len(names)), number))
        shares = [retained(tuned) for tuned in sets]
        place = int(np.argmax(shares))
        if shares[place] >= RETAINED:
            return EffectiveDimension(
                number, tuple(names[each] for each in sets[place]), shares[place], default, untouched
            )
    return EffectiveDimension(len(names), tuple(names), 1.0, default, untouched)
