"""Means over tasks, compared with values by hand and with the coverage that their docstring tells."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from bnlab.errors import StudyError
from bnlab.stats.task_means import (
    LEAST_SEEDS,
    interquartile_mean,
    mean_of_tasks,
    percentile_interval,
    performance_profile,
)


@pytest.mark.parametrize(
    ("values", "by_hand"),
    [
        ([7.0], 7.0),
        ([1.0, 3.0], 2.0),
        ([0.0, 1.0, 5.0], (0.25 * 0 + 1 + 0.25 * 5) / 1.5),
        ([0.0, 1.0, 3.0, 1e6], 2.0),
        ([-1e6, 1.0, 2.0, 4.0, 1e6], (0.75 * 1 + 2 + 0.75 * 4) / 2.5),
        ([-1e6, -1e5, 1.0, 2.0, 3.0, 4.0, 1e5, 1e6], 2.5),
    ],
)
def test_the_middle_half_is_exactly_half_of_the_values(values: list[float], by_hand: float) -> None:
    assert interquartile_mean(values) == pytest.approx(by_hand)
    assert interquartile_mean(values[::-1]) == pytest.approx(by_hand)


def test_it_is_the_trimmed_mean_where_a_quarter_is_a_whole_number_of_values() -> None:
    values = np.random.default_rng(0).standard_normal(40)
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25))
    assert trim_mean([0.0, 1.0, 5.0], 0.25) == 2.0  # it trims nothing of three


def test_one_run_in_three_that_failed_does_not_decide_alone() -> None:
    mean = {bad: interquartile_mean([0.9, 0.91, bad]) for bad in (0.1, 0.9)}
    assert mean[0.9] - mean[0.1] < (0.9 - 0.1) / 3 * 0.6


@pytest.mark.parametrize("bad", [[], [np.nan, 1.0], [np.inf]])
def test_values_that_are_missing_or_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(StudyError, match="an interquartile mean needs"):
        interquartile_mean(bad)


def test_the_mean_of_tasks_is_that_of_all_differences_and_has_no_interval_below_ten_seeds() -> None:
    few = mean_of_tasks({"digits": [0.1, 0.2, 0.3], "mnist": [0.0] * LEAST_SEEDS})
    assert (few.low, few.high, few.num_tasks, few.least_seeds) == (None, None, 2, 3)
    assert few.value == interquartile_mean([0.1, 0.2, 0.3, *[0.0] * LEAST_SEEDS])


def test_seeds_are_drawn_within_their_task() -> None:
    """Two tasks far apart, each without spread: drawn within tasks, every draw is the same; drawn from all, none is."""
    apart = mean_of_tasks({"easy": [0.0] * 10, "hard": [100.0] * 10})
    assert (apart.value, apart.low, apart.high) == (50.0, 50.0, 50.0)


def test_the_interval_is_the_same_each_time_and_wider_at_a_higher_level() -> None:
    rng = np.random.default_rng(1)
    tasks = {name: rng.standard_normal(12).tolist() for name in "ab"}
    first, again, wider = mean_of_tasks(tasks), mean_of_tasks(tasks), mean_of_tasks(tasks, level=0.99)
    assert first == again
    assert None not in (first.low, first.high, wider.low, wider.high)
    assert wider.low < first.low < first.value < first.high < wider.high


@pytest.mark.parametrize("bad", [{}, {"digits": []}])
def test_a_task_without_seeds_is_refused(bad: dict[str, list[float]]) -> None:
    with pytest.raises(StudyError, match="1 or more tasks"):
        mean_of_tasks(bad)
    with pytest.raises(StudyError, match="1 or more tasks"):
        performance_profile(bad, [0.5])


def test_a_profile_counts_runs_above_each_threshold_and_each_task_once() -> None:
    found = performance_profile({"digits": [0.9, 0.7, 0.5, 0.3], "mnist": [0.8]}, [0.0, 0.5, 0.75, 0.95])
    assert found.shares == (1.0, (2 / 4 + 1) / 2, (1 / 4 + 1) / 2, 0.0)
    with pytest.raises(StudyError, match="must rise"):
        performance_profile({"digits": [0.9]}, [0.5, 0.5])


def coverage(num_seeds: int, num_studies: int) -> float:
    """Return how often the interval holds the truth: five tasks at effects from 0 to 1, normal differences."""
    rng = np.random.default_rng(2)
    effects = np.linspace(0, 1, 5)
    truth = 0.5  # by symmetry
    held = 0
    for study in range(num_studies):
        tasks = list((rng.standard_normal((num_seeds, 5)) + effects).T)
        low, high = percentile_interval(tasks, 0.95, study, 500)
        held += low <= truth <= high
    return held / num_studies


@pytest.mark.slow
def test_the_interval_holds_the_truth_nearly_as_often_as_it_says_from_ten_seeds_on_and_not_with_three() -> None:
    assert 0.91 < coverage(LEAST_SEEDS, 1000) < 0.97
    assert coverage(3, 1000) < 0.89
