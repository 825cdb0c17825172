import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from response_curves import curve_of

from bnlab.errors import StudyError
from bnlab.stats.response import ResponseCurve
from bnlab.stats.sensitivity import lr_sensitivity
from bnlab.stats.trainable import Rule, TrainableRange, best_accuracy, trainable_range, trained

LRS = [0.01, 0.1, 1, 10, 100]


def range_of(*accuracy: list[float], **options: object) -> object:
    return trainable_range(curve_of(LRS, [[0.1] * 5] * len(accuracy), accuracy, **options))


def test_the_range_goes_from_the_lowest_to_the_highest_lr_that_trains() -> None:
    found = range_of([0.2, 0.9, 0.92, 0.9, 0.2])
    assert (found.min_lr.value, found.min_lr.side) == (0.1, "exact")
    assert (found.max_lr.value, found.max_lr.side) == (10, "exact")
    assert (found.width_of_seeds.value, found.width_of_seeds.side) == (pytest.approx(2), "exact")


def test_an_edge_at_the_edge_of_the_grid_is_a_bound() -> None:
    right = range_of([0.2, 0.9, 0.92, 0.9, 0.9])
    assert (right.max_lr.value, right.max_lr.side, right.width_of_seeds.side) == (100, "at_least", "at_least")
    assert (right.max_lr_of_seeds.side, right.min_lr.side) == ("at_least", "exact")
    left = range_of([0.9, 0.9, 0.92, 0.9, 0.2])
    assert (left.min_lr.side, left.max_lr.side, left.width_of_seeds.side) == ("at_most", "exact", "at_least")


def test_of_what_trains_nowhere_on_the_grid_neither_the_maximal_lr_nor_the_width_is_known() -> None:
    found = range_of([0.1, 0.12, 0.1, 0.11, 0.1])
    assert (found.max_lr.value, found.max_lr.side) == (None, "unknown")
    assert (found.max_lr_of_seeds.value, found.max_lr_by_seed, found.max_side_by_seed) == (None, (None,), ("unknown",))
    assert (found.min_lr.value, found.width_of_seeds.value, found.width_side_by_seed) == (None, None, ("unknown",))
    one_of_two = range_of([0.2, 0.9, 0.92, 0.9, 0.2], [0.1] * 5)
    assert (one_of_two.width_of_seeds.side, one_of_two.width_side_by_seed) == ("unknown", ("exact", "unknown"))
    assert (one_of_two.max_lr_of_seeds.side, one_of_two.max_lr_by_seed) == ("unknown", (10, None))


def test_decades_step_over_what_trains_and_tell_no_bound_of_it() -> None:
    # as plain digits nets do: of these rates 0.2 to 0.25 alone train, between two points of a grid of decades
    def accuracy(lr: float) -> float:
        return 0.95 if 0.2 <= lr <= 0.25 else 0.6

    def range_on(lrs: list[float]) -> TrainableRange:
        return trainable_range(curve_of(lrs, [0.1] * len(lrs), [accuracy(lr) for lr in lrs]), best=0.95)

    truth = range_on([0.01, 0.1, 0.2, 0.25, 1.0]).max_lr
    decades = range_on([0.01, 0.1, 1.0]).max_lr
    assert (truth.value, truth.side) == (0.25, "exact")
    assert (decades.value, decades.side) == (None, "unknown")  # any bound would be a guess: 0.01 was one, and wrong


def test_an_arm_that_learns_nothing_is_not_held_against_its_own_best_alone() -> None:
    curve = curve_of(LRS, [0.1] * 5, [0.10, 0.12, 0.11, 0.10, 0.10])
    assert not trained(curve, Rule()).any()


def test_the_bar_can_hang_from_another_arms_best() -> None:
    curve = curve_of(LRS, [0.1] * 5, [0.2, 0.5, 0.6, 0.5, 0.2])
    assert trained(curve, Rule()).tolist() == [[False, False, True, False, False]]
    assert not trained(curve, Rule(), best=0.9).any()
    assert trained(curve, Rule(margin=0.4), best=0.9).tolist() == [[False, True, True, True, False]]


def test_exactly_the_margin_below_the_best_still_trains() -> None:
    found = range_of([0.2, 0.87, 0.92, 0.8699, 0.2])
    assert (found.min_lr.value, found.max_lr.value) == (0.1, 1)


def test_beyond_a_gap_nothing_counts_and_it_is_told() -> None:
    found = range_of([0.9, 0.2, 0.92, 0.2, 0.9])
    assert (found.min_lr.value, found.max_lr.value, found.beyond_gap) == (1, 1, (0.01, 100))


def test_a_quota_of_the_seeds_makes_an_lr_trainable() -> None:
    seeds = [[0.2, 0.9, 0.92, 0.9, 0.2], [0.2, 0.9, 0.92, 0.9, 0.2], [0.2, 0.9, 0.92, 0.2, 0.2]]
    curve = curve_of(LRS, [[0.1] * 5] * 3, seeds)
    assert trainable_range(curve).max_lr.value == 10
    assert trainable_range(curve, Rule(quota=1)).max_lr.value == 1
    assert trainable_range(curve).max_lr_of_seeds.value == pytest.approx(10 ** (2 / 3))


def test_a_diverged_run_is_not_trained_whatever_it_ended_with() -> None:
    found = range_of([0.2, 0.9, 0.92, 0.9, 0.2], diverged=[0, 0, 0, 1, 0])
    assert found.max_lr.value == 1


def test_a_diverged_run_is_not_trained_by_its_loss_either() -> None:
    curve = curve_of(LRS, [2.3, 0.2, 0.1, 0.1, 2.3], diverged=[0, 0, 0, 1, 0])
    assert trainable_range(curve, Rule(by="loss")).max_lr.value == 1


def test_no_interval_of_a_width_goes_below_0() -> None:
    found = range_of([0.2, 0.9, 0.92, 0.9, 0.2], [0.2, 0.2, 0.92, 0.2, 0.2]).width_of_seeds
    assert (found.value, found.low, found.side) == (pytest.approx(1), 0, "exact")


def test_the_loss_can_be_asked_instead() -> None:
    curve = curve_of(LRS, [2.3, 1.0, 0.2, 1.2, math.nan], [0.9] * 5)
    found = trainable_range(curve, Rule(by="loss"))  # half of 2.3 is 1.15
    assert (found.min_lr.value, found.max_lr.value) == (0.1, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": 0}, "margin must be above 0"),
        ({"margin": 5}, "got 5"),
        ({"quota": 0}, "quota must be above 0"),
        ({"quota": 1.1}, r"got 1\.1"),
    ],
)
def test_a_rule_out_of_range_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        Rule(**options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lrs": (1.0,)}, "2 or more"),
        ({"lrs": (1.0, 1.0)}, "rising"),
        ({"lrs": (0.0, 1.0)}, "above 0"),
        ({"lrs": (1.0, math.inf)}, "rising"),
        ({"seeds": ()}, "1 or more"),
        ({"seeds": (3, 3), "loss": ((0.1, 0.2),) * 2}, "each once"),
        ({"loss": ((0.1,),)}, r"loss must have 1 rows \(seeds\) of 2 values"),
        ({"start_loss": (math.nan,)}, "start_loss must have one finite value"),
        ({"start_accuracy": ()}, "start_accuracy must have one finite value"),
    ],
)
def test_a_curve_that_does_not_fit_together_is_refused(change: dict[str, object], said: str) -> None:
    good = {
        "lrs": (1.0, 10.0),
        "seeds": (0,),
        "loss": ((0.1, 0.2),),
        "accuracy": ((0.9, 0.8),),
        "diverged": ((False, False),),
        "start_loss": (2.3,),
        "start_accuracy": (0.1,),
    }
    with pytest.raises(StudyError, match=said):
        ResponseCurve(**{**good, **change})  # type: ignore[arg-type]


@st.composite
def response_curves(draw: st.DrawFn) -> ResponseCurve:
    num_seeds, num_lrs = draw(st.integers(1, 6)), draw(st.integers(2, 8))
    lrs = sorted(draw(st.lists(st.sampled_from(list(np.geomspace(1e-3, 30, 15))), min_size=num_lrs, unique=True)))
    shape = {"min_size": len(lrs), "max_size": len(lrs)}
    losses = st.lists(st.sampled_from([0.1, 0.2, 0.5, 1.0, 2.0, 2.3, 5.0, math.nan, math.inf]), **shape)
    accuracies = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.85, 0.88, 0.9, 0.95, math.nan]), **shape)
    rarely = st.sampled_from([False, False, False, True])
    return curve_of(
        lrs,
        draw(st.lists(losses, min_size=num_seeds, max_size=num_seeds)),
        draw(st.lists(accuracies, min_size=num_seeds, max_size=num_seeds)),
        diverged=draw(st.lists(st.lists(rarely, **shape), min_size=num_seeds, max_size=num_seeds)),
    )


def counted_by_hand(curve: ResponseCurve, seed: int, place: int) -> tuple[float, float, bool]:
    loss, accuracy = curve.loss[seed][place], curve.accuracy[seed][place]
    if curve.diverged[seed][place] or loss != loss or loss == math.inf:
        return 2.3, 0.1, True
    return min(loss, 2.3), 0.1 if accuracy != accuracy else max(accuracy, 0.1), False


QUOTAS = st.sampled_from([0.5, 2 / 3, 1.0])


@given(response_curves(), QUOTAS)
@settings(max_examples=15, deadline=None)
def test_the_range_is_what_trying_all_ranges_finds(curve: ResponseCurve, quota: float) -> None:
    check_range(curve, quota)


@pytest.mark.slow
@given(response_curves(), QUOTAS)
@settings(max_examples=500, deadline=None)
def test_the_range_of_many_curves_is_what_trying_all_ranges_finds(curve: ResponseCurve, quota: float) -> None:
    check_range(curve, quota)


def check_range(curve: ResponseCurve, quota: float) -> None:
    num_seeds, num_lrs = len(curve.seeds), len(curve.lrs)
    runs = [[counted_by_hand(curve, s, k) for k in range(num_lrs)] for s in range(num_seeds)]
    mean = [math.fsum(runs[s][k][1] for s in range(num_seeds)) / num_seeds for k in range(num_lrs)]
    bar = max(max(mean) - 0.05, 0.15)
    ok = [[not lost and accuracy >= bar - 1e-9 for _, accuracy, lost in row] for row in runs]

    def widest(is_ok: list[bool], height: list[float]) -> tuple[int, int] | None:
        peak = next(k for k in range(num_lrs) if height[k] >= max(height) - 1e-12)
        ranges = [(k, m) for k in range(num_lrs) for m in range(k, num_lrs) if k <= peak <= m and all(is_ok[k : m + 1])]
        return max(ranges, key=lambda ends: ends[1] - ends[0]) if ranges else None

    found = trainable_range(curve, Rule(quota=quota))
    pooled = widest([sum(ok[s][k] for s in range(num_seeds)) >= quota * num_seeds - 1e-6 for k in range(num_lrs)], mean)
    if pooled is None:
        assert (found.max_lr.value, found.max_lr.side, found.min_lr.value) == (None, "unknown", None)
    else:
        assert (found.min_lr.value, found.max_lr.value) == (curve.lrs[pooled[0]], curve.lrs[pooled[1]])
        assert found.max_lr.side == ("at_least" if pooled[1] == num_lrs - 1 else "exact")
    for s in range(num_seeds):
        own = widest(ok[s], [accuracy for _, accuracy, _ in runs[s]])
        if own is None:
            assert (found.width_by_seed[s], found.max_lr_by_seed[s]) == (None, None)
            assert found.max_lr_of_seeds.side == found.width_of_seeds.side == "unknown"
        else:
            width = math.log10(curve.lrs[own[1]]) - math.log10(curve.lrs[own[0]])
            assert found.width_by_seed[s] == pytest.approx(width, abs=1e-9)
            assert found.max_lr_by_seed[s] == curve.lrs[own[1]]


@given(response_curves())
@settings(max_examples=25, deadline=None)
def test_the_sensitivity_is_what_adding_up_by_hand_gives(curve: ResponseCurve) -> None:
    check_sensitivity(curve)


@pytest.mark.slow
@given(response_curves())
@settings(max_examples=500, deadline=None)
def test_the_sensitivity_of_many_curves_is_what_adding_up_by_hand_gives(curve: ResponseCurve) -> None:
    check_sensitivity(curve)


def check_sensitivity(curve: ResponseCurve) -> None:
    of_loss, of_accuracy = [], []
    for s in range(len(curve.seeds)):
        runs = [counted_by_hand(curve, s, k) for k in range(len(curve.lrs))]
        least, most = min(loss for loss, _, _ in runs), max(accuracy for _, accuracy, _ in runs)
        of_loss.append(math.fsum(loss - least for loss, _, _ in runs) / len(runs))
        of_accuracy.append(math.fsum(most - accuracy for _, accuracy, _ in runs) / len(runs))
    assert lr_sensitivity(curve).value == pytest.approx(sum(of_loss) / len(of_loss), abs=1e-12)
    assert lr_sensitivity(curve, "accuracy").value == pytest.approx(sum(of_accuracy) / len(of_accuracy), abs=1e-12)
    assert 0 <= lr_sensitivity(curve).value < 2.3


@pytest.mark.slow
@given(response_curves())
@settings(max_examples=40, deadline=None)
def test_a_wider_margin_and_a_smaller_quota_never_train_less(curve: ResponseCurve) -> None:
    strict, wide = trained(curve, Rule(margin=0.05)), trained(curve, Rule(margin=0.04))
    best = best_accuracy(curve)
    if best > 0.2:  # else the bar is that of the start, which a wider margin raises
        assert (strict | ~wide).all()
    all_of_them, some = trainable_range(curve, Rule(quota=1)), trainable_range(curve, Rule(quota=0.5))
    if all_of_them.min_lr.value is not None:
        assert some.min_lr.value is not None
        assert some.max_lr.value >= all_of_them.max_lr.value
