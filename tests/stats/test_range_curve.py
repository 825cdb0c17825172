import math

import numpy as np
import pytest

from bnlab.errors import StudyError
from bnlab.stats.range_curve import RangeCurve, RangeFigures, read_range, spread

LRS = 10 ** np.linspace(-4, 2, 601)
X = np.log10(LRS)


def curve_of(losses: object, *, start: float = 2.3, is_whole: bool = True) -> RangeCurve:
    losses_T = np.asarray(losses, dtype=float)
    return RangeCurve(tuple(LRS[: len(losses_T)]), tuple(losses_T), start, is_whole)


def test_a_slope_begins_is_steepest_and_breaks_where_it_was_drawn() -> None:
    # from 2.3 at 1e-3 straight down to 0.3 at 1e-1, from 1 on straight up, 4 per decade
    falling = np.interp(X, [-3, -1, 0, 1], [2.3, 0.3, 0.3, 4.3])
    found = read_range(curve_of(falling))
    assert found.begins is not None
    assert found.breaks is not None
    assert found.steepest is not None
    assert math.log10(found.begins) == pytest.approx(-2.8, abs=0.02)  # a tenth of the way down
    assert math.log10(found.breaks) == pytest.approx(0.25, abs=0.02)  # half of the 2.0 up again
    assert -3 <= math.log10(found.steepest) <= -1
    assert found.breaks_side == "exact"


def test_the_steepest_place_is_where_the_slope_is() -> None:
    logistic = 2.3 - 2 / (1 + np.exp(-8 * (X + 1.5)))
    found = read_range(curve_of(logistic))
    assert found.steepest is not None
    assert math.log10(found.steepest) == pytest.approx(-1.5, abs=0.05)


def test_noise_of_single_batches_moves_nothing_far() -> None:
    falling = np.interp(X, [-3, -1, 0, 1], [2.3, 0.3, 0.3, 4.3])
    noisy = falling * np.random.default_rng(0).lognormal(sigma=0.3, size=len(X))
    noisy[::37] *= 5  # and a bad batch now and then
    found, smooth = read_range(curve_of(noisy)), read_range(curve_of(falling))
    assert found.breaks is not None
    assert smooth.breaks is not None
    assert abs(math.log10(found.breaks / smooth.breaks)) < 0.3


def test_what_has_not_broken_at_the_end_is_a_lower_bound() -> None:
    found = read_range(curve_of(np.interp(X, [-3, -1], [2.3, 0.3])))
    assert (found.breaks, found.breaks_side) == (pytest.approx(100), "at_least")


def test_what_was_given_up_has_broken_where_it_was_given_up() -> None:
    found = read_range(curve_of([*np.interp(X[:400], [-3, -1], [2.3, 0.3]), math.inf], is_whole=False))
    assert (found.breaks, found.breaks_side) == (pytest.approx(LRS[400]), "exact")


def test_a_test_given_up_before_the_median_notices_has_broken_all_the_same() -> None:
    found = read_range(curve_of([*np.interp(X[:400], [-3, -1], [2.3, 0.3]), 50.0], is_whole=False))
    assert (found.breaks, found.breaks_side) == (pytest.approx(LRS[400]), "exact")


@pytest.mark.parametrize("losses", [[2.3] * 601, [2.3] * 300 + [math.nan] * 301, [math.nan] * 601, [2.3]])
def test_what_gains_nothing_has_no_figures(losses: list[float]) -> None:
    assert read_range(curve_of(losses)) == RangeFigures(None, "unknown", None, None, "unknown")


def test_what_falls_at_the_lowest_rate_already_begins_there_or_below() -> None:
    found = read_range(curve_of(np.interp(X, [-6, -1, 0, 1], [2.3, 0.3, 0.3, 4.3])))
    assert (found.begins, found.begins_side) == (pytest.approx(LRS[0]), "at_most")
    assert read_range(curve_of(np.interp(X, [-3, -1, 0, 1], [2.3, 0.3, 0.3, 4.3]))).begins_side == "exact"


def test_seeds_together_are_a_range_and_not_one_number() -> None:
    seeds = [
        RangeFigures(0.01, "exact", 0.1, 3.0, "exact"),
        RangeFigures(0.02, "exact", 0.05, 1.0, "exact"),
        RangeFigures(None, "unknown", None, None, "unknown"),
    ]
    found = spread(seeds)
    assert (found.begins, found.steepest, found.breaks) == ((0.01, 0.02), (0.05, 0.1), (1.0, 3.0))
    assert (found.breaks_side, found.num_learned, found.n) == ("exact", 2, 3)
    bounds = spread([*seeds, RangeFigures(0.001, "at_most", 0.1, 9.0, "at_least")])
    assert (bounds.begins, bounds.begins_side) == ((0.001, 0.02), "at_most")
    assert (bounds.breaks, bounds.breaks_side) == ((1.0, 9.0), "at_least")
    nothing = spread(seeds[2:])
    assert (nothing.begins, nothing.begins_side, nothing.breaks, nothing.breaks_side) == (None, "unknown") * 2


def test_a_loss_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(StudyError, match="got 1 learning rates and 2 losses"):
        RangeCurve((0.1,), (1.0, 2.0), 2.3)
