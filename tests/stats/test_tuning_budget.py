import itertools

import numpy as np
import pytest

from bnlab.errors import StudyError
from bnlab.stats.tuning_budget import effective_dimension, expected_score


@pytest.mark.parametrize("budget", range(1, 7))
def test_a_budget_is_the_mean_over_all_draws_without_replacement(budget: int):
    rng = np.random.default_rng(0)
    validation, test = rng.random((3, 6)), rng.random((3, 6))
    draws = list(itertools.combinations(range(6), budget))
    by_seed = [
        np.mean([test[seed, max(draw, key=lambda place: validation[seed, place])] for draw in draws])
        for seed in range(3)
    ]
    estimate = expected_score(validation, test, budget)
    assert estimate.value == pytest.approx(np.mean(by_seed))
    assert estimate.n == 3


def test_many_settings_overflow_nothing():
    rng = np.random.default_rng(0)
    scores = rng.random((2, 2000))
    values = [expected_score(scores, scores, budget).value for budget in (1, 40, 1000, 2000)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(scores.max(1).mean())


@pytest.mark.parametrize("budget", [0, 7])
def test_a_budget_beyond_the_settings_is_refused(budget: int):
    with pytest.raises(StudyError, match="a tuning budget must be 1 to 6"):
        expected_score(np.zeros((1, 6)), np.zeros((1, 6)), budget)


NAMES = ["lr", "decay", "std"]
GRID = list(itertools.product("ab", "ab", "ab"))


def test_where_the_default_is_near_the_best_nothing_must_be_tuned():
    scores = {setting: 0.9 if setting == ("b", "b", "b") else 0.88 for setting in GRID}
    found = effective_dimension(NAMES, scores, ("a", "a", "a"), 0.1)
    assert (found.number, found.names) == (0, ())
    assert found.retained == found.retained_by_default == pytest.approx(0.78 / 0.8)


def test_where_only_all_together_are_good_all_must_be_tuned():
    scores = {setting: 0.9 if setting == ("b", "b", "b") else 0.3 for setting in GRID}
    found = effective_dimension(NAMES, scores, ("a", "a", "a"), 0.1)
    assert (found.number, found.names) == (3, ("lr", "decay", "std"))


def test_the_pair_that_must_be_tuned_is_named():
    scores = {setting: 0.9 if setting[0] == setting[2] == "b" else 0.5 for setting in GRID}
    found = effective_dimension(NAMES, scores, ("a", "a", "a"), 0.1)
    assert (found.number, found.names, found.retained) == (2, ("lr", "std"), 1.0)


def test_shares_are_counted_from_the_start():
    scores = {("a",): 0.89, ("b",): 0.95}
    assert effective_dimension(["lr"], scores, ("a",), 0.0).number == 1
    assert effective_dimension(["lr"], scores, ("a",), -2.0).number == 0


def test_a_default_without_a_score_and_a_grid_that_learned_nothing_are_said():
    with pytest.raises(StudyError, match="the default setting c has no score"):
        effective_dimension(["lr"], {("a",): 1.0}, ("c",), 0.0)
    with pytest.raises(StudyError, match="no setting is better than the start"):
        effective_dimension(["lr"], {("a",): 0.1}, ("a",), 0.1)
