import numpy as np
import pytest
from folded import folded
from scipy import stats

from bnlab.stats.median_interval import interval_of_median, least_seeds_for_median
from bnlab.stats.verdict import level_of_look


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (17, 5), (20, 6)])
def test_its_ends_are_those_of_the_sign_test(n: int, rank: int):
    # ranks from 95% tables of the sign test, such as Conover 1999, table A3
    assert interval_of_median(list(range(1, n + 1)))[1:] == (rank, n + 1 - rank)


@folded("n", range(6, 21))
def test_it_holds_the_median_as_often_as_it_says(n: int):
    _, low, high = interval_of_median(list(range(n)))
    assert low is not None
    assert high is not None
    # so many of the n values lie below the median: too few for the lower end, or too many for the upper one
    missed = stats.binom.cdf(low, n, 0.5) + stats.binom.sf(high, n, 0.5)
    closer = stats.binom.cdf(low + 1, n, 0.5) + stats.binom.sf(high - 1, n, 0.5)
    assert missed <= 0.05 < closer


def test_of_few_values_there_is_no_interval():
    assert interval_of_median([3.0, 1.0, 2.0]) == (2.0, None, None)
    assert interval_of_median([7.0, 8.0, 9.0, 9.0, 9.0, 9.0], 0.97) == (9.0, None, None)
    assert least_seeds_for_median(0.95) == 6


@folded("looks", range(1, 20))
def test_the_least_seeds_are_those_from_which_on_it_has_one(looks: int):
    level = level_of_look(looks)
    least = least_seeds_for_median(level)
    assert interval_of_median(list(range(least)), level)[1] is not None
    assert interval_of_median(list(range(least - 1)), level)[1] is None


def test_the_order_of_the_values_does_not_matter():
    values = np.random.default_rng(0).permutation(9).astype(float)
    assert interval_of_median(values.tolist()) == (4.0, 1.0, 7.0)
