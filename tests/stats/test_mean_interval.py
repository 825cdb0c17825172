import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from bnlab.stats.mean_interval import FEW, interval_of_means

SKEWED = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape),
    "a long tail above": lambda rng, shape: rng.exponential(size=shape) - 1,
    "a long tail below": lambda rng, shape: 1 - rng.exponential(size=shape),
}


def one(values: list[float], level: float = 0.95) -> tuple[float, float]:
    low, high = interval_of_means(np.array([values]), level)
    return float(low[0]), float(high[0])


def student(values: list[float], level: float) -> tuple[float, float]:
    interval = stats.ttest_1samp(values, 0).confidence_interval(level)
    return float(interval.low), float(interval.high)


def test_of_symmetric_values_it_is_students():
    values = [-3.0, -2.0, -0.5, -0.25, 0.0, 0.25, 0.5, 2.0, 3.0]
    assert one(values) == pytest.approx(student(values, 0.95))
    assert one(values[1:-1]) == pytest.approx(student(values[1:-1], 0.98))  # 1% at each end below 9 seeds


def test_the_long_end_is_where_halls_transformation_puts_it():
    values = [0.1, 0.2, 0.2, 0.3, 0.4, 0.5, 0.9, 1.6, 4.0]
    n, mean, s = len(values), np.mean(values), np.std(values, ddof=1)
    k = stats.skew(values, bias=False)
    t = stats.t.ppf(0.975, n - 1)

    def transformed(w: float) -> float:  # Hall 1992, of w = (mean - mu) / s, less the quantile
        return w + k * w**2 / 3 + k**2 * w**3 / 27 + k / (6 * n) + t / np.sqrt(n)

    assert one(values)[1] == pytest.approx(mean - s * brentq(transformed, -50, 50))
    assert one(values)[0] == pytest.approx(student(values, 0.95)[0])


@settings(max_examples=30)
@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12))
def test_it_is_never_within_students_and_turns_round_with_the_values(values: list[float]):
    low, high = one(values)
    assert one([-value for value in values]) == pytest.approx((-high, -low))
    mean, error = np.mean(values), stats.sem(values)
    t = stats.t.ppf(0.975, len(values) - 1)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert low <= mean - t * error + slack
    assert high >= mean + t * error - slack


@pytest.mark.parametrize("scale", [1e-250, 1e-3, 1.0, 1e250])
def test_its_ends_scale_with_the_values(scale: float):
    values = [1.0, 1.5, 1.25, 4.0]
    low, high = one([scale * value for value in values])
    assert (low / scale, high / scale) == pytest.approx(one(values))


def test_of_equal_values_it_has_no_width():
    assert one([0.1, 0.1, 0.1]) == (0.1, 0.1)
    assert one([0.0] * 9) == (0.0, 0.0)


@pytest.mark.parametrize("kind", SKEWED)
@pytest.mark.parametrize("n", [3, 5, FEW - 1, FEW, 12, 20])
def test_neither_end_misses_the_mean_in_more_than_5_percent(kind: str, n: int):
    low, high = interval_of_means(SKEWED[kind](np.random.default_rng(n), (20_000, n)))
    assert max(np.mean(low > 0), np.mean(high < 0)) < 0.053  # 5% and two standard errors of 20,000 draws


def test_students_interval_alone_would_miss_more_often():
    x = SKEWED["a long tail above"](np.random.default_rng(0), (20_000, 10))
    high = x.mean(1) + stats.t.ppf(0.975, 9) * x.std(1, ddof=1) / np.sqrt(10)
    assert np.mean(high < 0) > 0.09
