"""LR sensitivity, best LR and tolerance width on curves whose answers are known."""

import math

import numpy as np
import pytest
from response_curves import curve_of

from bnlab.errors import StudyError
from bnlab.stats.pairing import compare
from bnlab.stats.sensitivity import (
    best_lr,
    grid_step,
    is_even,
    lr_sensitivity,
    measure_sensitivity,
    tolerance_width,
)
from bnlab.stats.trainable import Rule, best_accuracy

DECADES = np.arange(-2, 2.1, 0.5)
LRS = 10.0**DECADES


def test_the_sensitivity_of_a_v_is_the_mean_of_its_arms() -> None:
    # 0.5 per decade: regrets 1, .75, .5, .25, 0, .25, .5, .75, 1
    assert lr_sensitivity(curve_of(LRS, 0.2 + 0.5 * abs(DECADES))).value == pytest.approx(5 / 9)


def test_no_outcome_is_worse_than_the_start() -> None:
    # 2 per decade and l0 = 2.3: regrets 2.1, 2.1, 2, 1, 0, 1, 2, 2.1, 2.1
    curve = curve_of(LRS, 0.2 + 2 * abs(DECADES))
    assert lr_sensitivity(curve).value == pytest.approx(14.4 / 9)


@pytest.mark.parametrize("lost", [math.nan, math.inf, 1e30])
def test_the_outcome_of_a_loss_that_is_no_number_or_huge_is_the_start(lost: float) -> None:
    curve = curve_of([1, 10, 100], [0.3, 0.2, lost], [0.9, 0.93, math.nan if lost != 1e30 else 0.1])
    assert lr_sensitivity(curve).value == pytest.approx((0.1 + 0 + 2.1) / 3)
    assert lr_sensitivity(curve, "accuracy").value == pytest.approx((0.03 + 0 + 0.83) / 3)


def test_the_outcome_of_a_diverged_run_is_the_start_even_if_its_last_loss_is_low() -> None:
    curve = curve_of([1, 10, 100], [0.3, 0.2, 0.1], [0.9, 0.93, 0.95], diverged=[0, 0, 1])
    assert lr_sensitivity(curve).value == pytest.approx((0.1 + 0 + 2.1) / 3)
    assert lr_sensitivity(curve, "accuracy").value == pytest.approx((0.03 + 0 + 0.83) / 3)
    assert best_lr(curve).value == 10
    assert measure_sensitivity(curve).diverged.value == pytest.approx(1 / 3)


def test_each_run_that_diverged_or_has_no_finite_loss_is_counted_once_among_the_diverged() -> None:
    curve = curve_of([1, 10, 100], [[0.3, math.inf, 0.1], [0.3, 0.2, 0.1]], diverged=[[0, 0, 1], [0, 0, 1]])
    found = measure_sensitivity(curve).diverged
    assert (found.value, found.n) == (3 / 6, 6)


def test_no_interval_goes_where_no_figure_can_lie() -> None:
    curve = curve_of([1, 10], [[0.2, 0.2], [0.2, 0.9]], [[1.0, 1.0], [1.0, 0.2]])
    assert lr_sensitivity(curve).low == 0
    assert lr_sensitivity(curve, "accuracy").high == 1
    assert best_lr(curve_of([1, 10], [[0.0, 1], [0.1, 1]])).outcome.low == 0


def test_the_outcome_of_an_accuracy_below_the_start_is_the_start() -> None:
    curve = curve_of([1, 10], [0.3, 2.0], [0.9, 0.04])
    assert lr_sensitivity(curve, "accuracy").value == pytest.approx((0.9 - 0.1) / 2)


def test_sensitivity_is_taken_of_each_seed_alone_and_then_averaged() -> None:
    # the seeds' best LRs differ: the mean curve is flat, its sensitivity would be 0
    curve = curve_of([1, 10], [[0.2, 0.6], [0.6, 0.2]])
    assert lr_sensitivity(curve).value == pytest.approx(0.2)


def test_seeds_that_differ_give_students_interval() -> None:
    curve = curve_of([1, 10], [[0.2, 0.8], [0.2, 1.0], [0.2, 1.2]])  # sensitivities 0.3, 0.4, 0.5
    estimate = lr_sensitivity(curve)
    half = 4.30265273 * 0.1 / math.sqrt(3)
    assert (estimate.low, estimate.high) == (pytest.approx(0.4 - half), pytest.approx(0.4 + half))
    assert lr_sensitivity(curve_of([1, 10], [0.2, 0.4])).low is None


def test_the_best_lr_is_that_of_the_mean_over_seeds_and_the_lowest_among_equals() -> None:
    curve = curve_of([1, 10, 100, 1000], [[0.5, 0.2, 0.2, 0.9], [0.5, 0.3, 0.3, 0.2]])
    found = best_lr(curve)
    assert (found.value, found.at_edge, found.outcome.value) == (10, None, pytest.approx(0.25))
    assert found.of_seeds.value == pytest.approx(100)  # 10 and 1000
    assert found.of_seeds.side == "at_least"


@pytest.mark.parametrize(
    ("loss", "edge", "side"), [([0.1, 0.2, 0.3], "lowest", "at_most"), ([0.3, 0.2, 0.1], "highest", "at_least")]
)
def test_a_best_lr_at_the_edge_of_the_grid_says_so(loss: list[float], edge: str, side: str) -> None:
    found = best_lr(curve_of([1, 10, 100], loss))
    assert (found.at_edge, found.of_seeds.side) == (edge, side)


def test_where_no_run_beat_its_start_there_is_no_best_lr() -> None:
    curve = curve_of([1, 10, 100], [2.3, 5.0, math.nan], diverged=[0, 0, 1])
    found = best_lr(curve)
    assert (found.value, found.of_seeds.side, found.of_seeds.value) == (None, "unknown", None)
    assert found.at_edge is None
    assert lr_sensitivity(curve).value == 0


def test_loss_and_accuracy_can_prefer_different_lrs() -> None:
    curve = curve_of([1, 10], [0.3, 0.4], [0.90, 0.93])
    assert (best_lr(curve).value, best_lr(curve, "accuracy").value) == (1, 10)


@pytest.mark.parametrize("tolerance", [0.1, 0.5])
def test_the_tolerance_width_of_a_parabola_is_its_chord(tolerance: float) -> None:
    decades = np.linspace(-2, 2, 801)  # fine: the curve between two points is straight to 1e-5
    curve = curve_of(10.0**decades, 0.2 + 0.3 * decades**2)
    chord = 2 * math.sqrt(tolerance * 0.2 / 0.3)
    assert tolerance_width(curve, tolerance=tolerance).value == pytest.approx(chord, abs=1e-4)


def test_between_points_of_the_grid_the_curve_is_straight() -> None:
    # 0.2 at 1; allowed 0.22: a tenth of the way to 0.4 on the left, 2% of the way to 1.2 on the right
    found = tolerance_width(curve_of([0.1, 1, 10], [0.4, 0.2, 1.2]))
    assert (found.value, found.side) == (pytest.approx(0.1 + 0.02), "exact")


def test_the_way_down_to_a_diverged_run_is_the_way_to_the_start() -> None:
    found = tolerance_width(curve_of([0.1, 1, 10], [0.4, 0.2, math.nan]))
    assert found.value == pytest.approx(0.1 + 0.02 / 2.1)


def test_the_tolerance_width_of_the_accuracy_is_a_share_of_the_best() -> None:
    curve = curve_of([0.1, 1, 10], [2, 1, 2], [0.5, 0.9, 0.0])
    found = tolerance_width(curve, "accuracy", 0.1)
    assert found.value == pytest.approx(0.09 / 0.4 + 0.09 / 0.8)  # 0.0 counts as 0.1, the start


def test_a_stretch_that_reaches_the_edge_of_the_grid_is_a_lower_bound() -> None:
    found = tolerance_width(curve_of([0.1, 1, 10], [[0.4, 0.2, 0.2], [0.4, 0.2, 0.4]]))
    assert found.side == "at_least"
    assert found.high is None
    assert found.value == pytest.approx((1.1 + 0.2) / 2)


@pytest.mark.parametrize("lost", [math.nan, 2.3, 5.0, 2.2])  # 2.2: less than a tenth below the start
def test_what_learns_nothing_has_no_tolerance_width(lost: float) -> None:
    found = tolerance_width(curve_of([0.1, 1, 10], [[lost] * 3, [0.4, 0.2, 1.2]]))
    assert (found.value, found.low, found.high, found.side) == (None, None, None, "unknown")
    accuracy = [[0.1, 0.101, 0.1], [0.1, 0.9, 0.1]]
    assert tolerance_width(curve_of([0.1, 1, 10], [[0.4, 0.2, 1.2]] * 2, accuracy), "accuracy").side == "unknown"


def test_a_stretch_ends_at_the_first_gap() -> None:
    found = tolerance_width(curve_of([0.01, 0.1, 1, 10, 100], [0.4, 0.2, 0.4, 0.2, 0.4]))
    assert found.value == pytest.approx(0.2)


def test_arms_are_compared_seed_by_seed() -> None:
    lrs = [0.1, 1, 10, 100]
    arm = curve_of(lrs, [[0.1] * 4] * 2, [[0.5, 0.9, 0.9, 0.2], [0.9, 0.9, 0.2, 0.2]], seeds=(4, 7))
    other = curve_of(lrs, [[0.1] * 4] * 2, [[0.9, 0.2, 0.2, 0.2], [0.9, 0.9, 0.2, 0.2]], seeds=(7, 4))
    found = compare(arm, other)
    # seed 4: 10 over 1; seed 7: 1 over 0.1
    assert found.max_lr_ratio.value == pytest.approx(10)
    assert (found.max_lr_ratio.low, found.max_lr_ratio.high) == (pytest.approx(10), pytest.approx(10))
    assert found.seeds == (4, 7)
    # seed 4: 1 decade less 1 or more; seed 7: 1 or more less 0 or more
    assert found.width_difference.side == "unknown"
    assert found.accuracy_sensitivity_difference.value == pytest.approx(
        ((0.4 + 0.7) / 4 - 1.4 / 4 + 1.4 / 4 - 2.1 / 4) / 2
    )


def test_a_wider_range_is_a_positive_difference() -> None:
    lrs, loss = [0.01, 0.1, 1, 10, 100], [[0.1] * 5] * 2
    wide = curve_of(lrs, loss, [[0.2, 0.9, 0.9, 0.9, 0.2]] * 2)
    narrow = curve_of(lrs, loss, [[0.2, 0.9, 0.9, 0.2, 0.2], [0.2, 0.2, 0.9, 0.2, 0.2]])
    found = compare(wide, narrow).width_difference
    assert (found.value, found.side) == (pytest.approx(1.5), "exact")
    assert compare(narrow, wide).width_difference.value == pytest.approx(-1.5)


def test_a_width_is_not_compared_with_that_of_an_arm_that_may_train_below_the_grid() -> None:
    lrs, loss = [0.01, 0.1, 1, 10], [[0.1] * 4]
    wide, nowhere = curve_of(lrs, loss, [[0.2, 0.9, 0.9, 0.2]]), curve_of(lrs, loss, [[0.2] * 4])
    assert compare(wide, nowhere).width_difference.side == "unknown"
    assert compare(nowhere, wide).width_difference.value is None


@pytest.mark.parametrize(
    ("arm", "other", "value", "side"),
    [
        ([0.2, 0.9, 0.9], [0.2, 0.9, 0.2], 10, "at_least"),  # the arm trains at the highest LR
        ([0.2, 0.9, 0.2], [0.2, 0.9, 0.9], 0.1, "at_most"),  # the other does
        ([0.2, 0.9, 0.2], [0.2, 0.2, 0.2], None, "unknown"),  # the other trains nowhere on the grid
        ([0.2, 0.2, 0.2], [0.2, 0.9, 0.2], None, "unknown"),
        ([0.2, 0.9, 0.9], [0.2, 0.2, 0.9], None, "unknown"),  # both reach the edge
    ],
)
def test_a_ratio_of_bounds_is_a_bound_or_unknown(
    arm: list[float], other: list[float], value: float | None, side: str
) -> None:
    lrs, loss = [1, 10, 100], [0.1] * 3
    found = compare(curve_of(lrs, loss, arm), curve_of(lrs, loss, other)).max_lr_ratio
    assert found.side == side
    assert found.value == (None if value is None else pytest.approx(value))


def test_only_common_seeds_are_compared() -> None:
    lrs, acc = [1, 10, 100], [0.9, 0.2, 0.2]
    arm = curve_of(lrs, [[0.1] * 3] * 3, [acc] * 3, seeds=(1, 2, 3))
    other = curve_of(lrs, [[0.1] * 3] * 2, [acc] * 2, seeds=(3, 9))
    assert compare(arm, other).seeds == (3,)
    with pytest.raises(StudyError, match=r"common seeds, got \[1, 2, 3\] and \[9\]"):
        compare(arm, curve_of(lrs, [0.1] * 3, acc, seeds=(9,)))
    with pytest.raises(StudyError, match="one grid of learning rates"):
        compare(arm, curve_of([1, 10, 99], [0.1] * 3, acc, seeds=(1,)))


def test_the_bar_of_a_comparison_hangs_from_the_better_arm() -> None:
    lrs, loss = [1, 10, 100], [0.1] * 3
    good, poor = curve_of(lrs, loss, [0.2, 0.9, 0.2]), curve_of(lrs, loss, [0.2, 0.4, 0.4])
    assert compare(good, poor).max_lr_ratio.side == "unknown"  # poor trains nowhere by good's bar
    assert compare(good, poor, Rule(), best_accuracy(poor)).max_lr_ratio.side == "at_most"


def test_a_grid_says_how_fine_and_how_even_it_is() -> None:
    assert grid_step((0.1, 0.3, 1.0)) == pytest.approx(10 / 3)
    assert is_even(tuple(np.geomspace(1e-3, 10, 9)))
    assert not is_even((0.1, 0.2, 1.0))


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, math.nan])
def test_a_tolerance_out_of_range_is_refused(tolerance: float) -> None:
    with pytest.raises(StudyError, match="tolerance must be above 0 and below 1"):
        tolerance_width(curve_of([1, 10], [0.1, 0.2]), tolerance=tolerance)
