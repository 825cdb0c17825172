import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bnlab.errors import StudyError
from bnlab.stats.estimate import Estimate, mean_over_seeds, share_of

P = 0.975
ROOT = math.sqrt(4 * P * (1 - P))
T_975 = {
    1: math.tan(math.pi * (P - 0.5)),
    2: 2 * (P - 0.5) * math.sqrt(2) / ROOT,
    4: 2 * math.sqrt(math.cos(math.acos(ROOT) / 3) / ROOT - 1),
}
"""Student's t by degrees of freedom, where it has a closed form."""

numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(numbers, min_size=2, max_size=5).filter(lambda x: len(x) - 1 in T_975))
def test_a_few_seeds_have_students_interval(values: list[float]) -> None:
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    center = statistics.fmean(values)
    estimate = mean_over_seeds(values)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.n == len(values)
    size = max(1e-9, half, *map(abs, values))  # the ends are known to a rounding of the largest number on the way
    assert estimate.value == pytest.approx(center, rel=0, abs=1e-14 * size)
    assert estimate.low == pytest.approx(center - half, rel=0, abs=1e-12 * size)
    assert estimate.high == pytest.approx(center + half, rel=0, abs=1e-12 * size)


def test_one_seed_has_no_interval() -> None:
    assert mean_over_seeds([0.25]) == Estimate(0.25, None, None, 1)
    assert mean_over_seeds([0.25], "log") == Estimate(pytest.approx(0.25), None, None, 1)


@pytest.mark.parametrize("n", [2, 5, 15, 40])
def test_seeds_that_agree_have_an_interval_of_no_width(n: int) -> None:
    assert mean_over_seeds([0.1] * n) == Estimate(0.1, 0.1, 0.1, n)


def test_many_seeds_have_students_interval_as_few_have() -> None:
    values = np.random.default_rng(3).lognormal(size=20)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    estimate = mean_over_seeds(list(values))
    assert (estimate.low, estimate.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@settings(deadline=None, max_examples=30)  # fractions make the exact geometric mean slow
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20))
def test_the_log_scale_is_the_geometric_mean_and_treats_a_ratio_and_its_inverse_alike(values: list[float]) -> None:
    estimate, inverse = mean_over_seeds(values, "log"), mean_over_seeds([1 / x for x in values], "log")
    assert estimate.value == pytest.approx(statistics.geometric_mean(values), rel=1e-9)
    assert inverse.value == pytest.approx(1 / estimate.value, rel=1e-9)
    if estimate.high is not None:
        assert inverse.low == pytest.approx(1 / estimate.high, rel=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=20), st.integers(-1000, 960))
def test_the_unit_does_not_matter_however_large_or_small(values: list[int], exponent: int) -> None:
    unit = 2.0**exponent
    plain, scaled = mean_over_seeds([float(v) for v in values]), mean_over_seeds([v * unit for v in values])
    assert scaled.value == plain.value * unit
    assert scaled.low == pytest.approx(plain.low * unit, rel=1e-9, abs=1e-9 * unit)
    assert scaled.high == pytest.approx(plain.high * unit, rel=1e-9, abs=1e-9 * unit)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 20])
def test_intervals_of_95_percent_hold_the_truth_19_times_in_20(n: int) -> None:
    rng = np.random.default_rng(7)
    held = sum(e.low <= 3.0 <= e.high for e in (mean_over_seeds(list(rng.normal(3.0, 2.0, n))) for _ in range(1500)))
    assert 0.92 <= held / 1500 <= 0.975


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (2, 7), (50, 100)])
def test_a_share_has_wilsons_interval(hits: int, n: int) -> None:
    z, p = 1.959963984540054, hits / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    estimate = share_of(hits, n)
    assert estimate.value == p
    assert (estimate.low, estimate.high) == (pytest.approx(center - half), pytest.approx(center + half))


@pytest.mark.parametrize(
    ("values", "scale", "said"),
    [
        ([], "plain", "at least 1 value"),
        ([1.0, math.nan], "plain", "finite values, got nan"),
        ([1.0, -math.inf], "plain", "finite values, got -inf"),
        ([1.0, 0.0], "log", r"above 0, got 0\.0"),
    ],
)
def test_what_cannot_be_averaged_is_named(values: list[float], scale: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        mean_over_seeds(values, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_an_impossible_share_is_refused(hits: int, n: int) -> None:
    with pytest.raises(StudyError, match=f"got {hits} of {n}"):
        share_of(hits, n)


def test_an_interval_ends_where_no_truth_can_lie() -> None:
    estimate = mean_over_seeds([0.9, 1.0], within=(0, 1))
    assert estimate.low == pytest.approx(0.95 - 12.7062047364 * 0.05)
    assert estimate.high == 1
    ratio = mean_over_seeds([0.5, 2.0], "log", within=(0.1, 30))
    assert (ratio.low, ratio.high) == (pytest.approx(0.1), pytest.approx(30))


def test_two_seeds_very_far_apart_leave_the_upper_end_open() -> None:
    estimate = mean_over_seeds([1e-60, 1e60], "log")
    assert (estimate.value, estimate.low, estimate.high) == (pytest.approx(1), 0.0, None)
