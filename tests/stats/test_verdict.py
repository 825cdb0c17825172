from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from folded import folded
from hypothesis import given
from hypothesis import strategies as st

import bnlab
from bnlab.errors import StudyError
from bnlab.stats.mean_interval import FEW
from bnlab.stats.verdict import judge, without_each, words_of

NUM_STUDIES = 4000
MOST = 0.05 + 2 * (0.05 * 0.95 / NUM_STUDIES) ** 0.5
"""5%, and two standard errors."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

EQUAL_ARMS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape),
    "now and then far off": lambda rng, shape: rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, 10, 1),
    "skewed outcomes": lambda rng, shape: rng.exponential(size=shape) - rng.exponential(size=shape),
    "a long tail above": lambda rng, shape: rng.exponential(size=shape) - 1,
    "a long tail below": lambda rng, shape: 1 - rng.exponential(size=shape),
    "accuracies of 500 images": lambda rng, shape: (
        rng.binomial(500, 0.95, shape) / 500 - rng.binomial(500, 0.95, shape) / 500
    ),
}


@pytest.mark.parametrize("kind", EQUAL_ARMS)
def test_equal_arms_are_called_different_in_at_most_5_percent(kind: str):
    rng = np.random.default_rng(0)
    for n in range(3, 21):
        words = words_of(EQUAL_ARMS[kind](rng, (NUM_STUDIES, n)), sesoi=0.0)
        assert np.mean(words > 0) < MOST, f"supported with {n} seeds"
        assert np.mean(words < 0) < MOST, f"refuted with {n} seeds"


@pytest.mark.parametrize("kind", EQUAL_ARMS)
@pytest.mark.parametrize("looks", [(5, 10, 20), tuple(range(3, 21))])
def test_looking_often_makes_no_difference(kind: str, looks: tuple[int, ...]):
    x_RS = EQUAL_ARMS[kind](np.random.default_rng(1), (NUM_STUDIES, looks[-1]))
    ever = np.zeros(NUM_STUDIES, dtype=bool)
    for n in looks:
        ever |= words_of(x_RS[:, :n], sesoi=0.0, looks=len(looks)) > 0
    assert ever.mean() < MOST


def test_looking_often_without_saying_so_would():
    x_RS = EQUAL_ARMS["normal"](np.random.default_rng(1), (NUM_STUDIES, 20))
    ever = np.zeros(NUM_STUDIES, dtype=bool)
    for n in range(3, 21):
        ever |= words_of(x_RS[:, :n], sesoi=0.0) > 0
    assert ever.mean() > MOST


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "a long tail above"])
def test_an_effect_that_is_exactly_the_smallest_of_interest_is_seldom_called_larger(kind: str):
    x_RS = 0.4 + EQUAL_ARMS[kind](np.random.default_rng(2), (NUM_STUDIES, 10))
    assert np.mean(words_of(x_RS, sesoi=0.4) > 0) < MOST


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=9), st.floats(0, 0.5), st.integers(1, 5))
def test_one_study_is_judged_as_many_are(differences: list[float], sesoi: float, looks: int):
    word = {1.0: "supported", -1.0: "refuted", 0.0: "inconclusive"}[
        float(words_of(np.array([differences]), sesoi, looks)[0])
    ]
    assert judge(differences, sesoi=sesoi, looks=looks).verdict == word


def test_it_is_bnlabs_own_word():
    verdict = bnlab.judge([0.03, 0.04, 0.03, 0.04], sesoi=0.01)
    assert isinstance(verdict, bnlab.Verdict)
    assert (verdict.verdict, verdict.n) == ("supported", 4)
    assert verdict.effect == pytest.approx(0.035)
    assert verdict.low is not None
    assert 0.01 < verdict.low < 0.035 < (verdict.high or 0)


def test_the_level_of_the_interval_is_told():
    levels = [judge([0.1 * x for x in range(n)], sesoi=0.0, looks=looks).level for n, looks in ((8, 1), (9, 1), (9, 4))]
    assert levels == pytest.approx([0.98, 0.95, 0.99])
    assert judge([0.1], sesoi=0.0).level is None
    assert judge(np.array([0.1, 0.2, 0.3]), sesoi=0.0, looks=np.int64(2)).n == 3


def test_a_pair_with_a_failed_run_is_left_out_and_counted():
    whole, with_gap = judge([0.1, 0.2, 0.15], sesoi=0.01), judge([0.1, None, 0.2, 0.15], sesoi=0.01)
    assert (with_gap.n, with_gap.num_missing, whole.num_missing) == (3, 1, 0)
    assert (with_gap.low, with_gap.high, with_gap.verdict) == (whole.low, whole.high, whole.verdict)


@pytest.mark.parametrize("differences", [[], [None, None], [0.5], [0.5, 0.6], [0.5, 0.6, None]])
def test_fewer_than_3_pairs_give_no_verdict(differences: list[float | None]):
    verdict = judge(differences, sesoi=0.0)
    assert (verdict.verdict, verdict.low, verdict.high) == ("inconclusive", None, None)
    assert "needs 3 or more seeds" in verdict.reason


def test_no_significance_is_not_no_difference():
    assert judge([0.1, -0.1, 0.05, -0.02], sesoi=0.01).verdict == "inconclusive"
    equal = judge([0.001, -0.001, 0.0005, -0.0002, 0.0003], sesoi=0.01)
    assert (equal.verdict, equal.reason) == ("refuted", "The arms differ by less than that either way.")
    worse = judge([-0.3, -0.31, -0.32], sesoi=0.01)
    assert (worse.verdict, worse.reason) == ("refuted", "The second arm is better, by more than that.")


def test_arms_that_give_the_same_figures_are_not_better_than_each_other():
    assert judge([0.0, 0.0, 0.0], sesoi=0.0).verdict == "refuted"
    assert judge([0.0] * 10, sesoi=0.01).reason == "The arms gave the same figure with every seed."


LARGE, SMALL = [2.0, 2.1, 2.2, 2.1, 2.0, 2.1], [-2.0, -2.1, -2.2, -2.1, -2.0, -2.1]
INF = float("inf")


def exact_but_the_last(differences: list[float], least: float, greatest: float) -> list[tuple[float, float]]:
    return [*((each, each) for each in differences[:-1]), (least, greatest)]


@folded(
    ("differences", "least", "greatest", "word"),
    [
        (LARGE, 2.1, INF, "supported"),
        (LARGE, -INF, 2.1, "inconclusive"),
        (LARGE, -INF, INF, "inconclusive"),
        (SMALL, -2.1, INF, "inconclusive"),
        (SMALL, -INF, -2.1, "refuted"),
        (SMALL, -INF, INF, "inconclusive"),
    ],
)
@folded("center", ["mean", "median"])
def test_a_bound_counts_at_its_unfavorable_end(
    differences: list[float], least: float, greatest: float, word: str, center: Literal["mean", "median"]
):
    brackets = exact_but_the_last(differences, least, greatest)
    verdict = judge(differences, sesoi=0.5, brackets=brackets, center=center)
    assert verdict.verdict == word
    assert (verdict.effect is None) == (least == -INF and greatest == INF)
    assert verdict.p is None


def test_bounds_that_point_both_ways_tell_nothing():
    brackets = [(2.0, INF), (-INF, 2.1), *((each, each) for each in LARGE[2:])]
    verdict = judge(LARGE, sesoi=0.5, brackets=brackets)
    assert (verdict.verdict, verdict.effect, verdict.low, verdict.high) == ("inconclusive", None, None, None)
    assert judge([0.0, 0.0], sesoi=0.5, brackets=[(-INF, INF)] * 2).effect is None


def test_what_is_known_to_a_step_only_widens_the_interval_by_it():
    exact, wide = judge(LARGE, sesoi=1.0), judge(LARGE, sesoi=1.0, brackets=[(x - 1, x + 2) for x in LARGE])
    assert (exact.low, exact.high) == (pytest.approx(wide.low + 1), pytest.approx(wide.high - 2))
    assert (exact.verdict, wide.verdict) == ("supported", "inconclusive")
    assert exact.effect == wide.effect


def test_differences_that_equal_the_smallest_effect_but_for_a_rounding_support_nothing():
    differences = [0.91 - 0.90, 0.92 - 0.91, 0.93 - 0.92, 0.94 - 0.93, 0.95 - 0.94]
    assert judge(differences, sesoi=0.01).verdict == "refuted"
    assert words_of(np.array([differences]), 0.01).tolist() == [-1.0]


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_median_of_few_seeds_has_no_verdict(n: int):
    verdict = judge([0.5] * n, sesoi=0.1, center="median")
    assert (verdict.verdict, verdict.effect, verdict.low, verdict.high) == ("inconclusive", 0.5, None, None)


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("n", [6, 9, 12])
def test_a_median_of_equal_arms_is_called_different_in_at_most_5_percent(n: int, looks: int):
    rng = np.random.default_rng(n)
    words = [judge(list(rng.standard_normal(n)), sesoi=0.0, looks=looks, center="median").verdict for _ in range(400)]
    assert words.count("supported") / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.slow
def test_leaving_a_seed_out_keeps_the_level_of_all():
    rng = np.random.default_rng(0)
    flipped = dict.fromkeys((FEW, FEW + 1), 0)
    for n in flipped:
        for _ in range(300):
            differences = list(1 + rng.standard_normal(n))
            if judge(differences, sesoi=0.0).verdict == "supported":
                flipped[n] += any(word != "supported" for word in without_each(differences, sesoi=0.0))
    assert abs(flipped[FEW] - flipped[FEW + 1]) < 40  # with a level of its own for one seed less, 70 apart
    assert without_each([5.0, 5.1, 4.9, 0.0], sesoi=1.0) == ["inconclusive"] * 3 + ["supported"]
    with pytest.raises(StudyError, match="4 or more differences, got 3"):
        without_each([1.0, 2.0, 3.0], sesoi=0.0)


def test_more_looks_make_an_interval_wider():
    widths = [judge(LARGE, sesoi=0.0, looks=looks) for looks in (1, 3, 18)]
    spans = [(each.high or 0) - (each.low or 0) for each in widths]
    assert spans == sorted(spans)
    assert len(set(spans)) == 3


@folded(
    ("wrong", "words"),
    [
        ({"sesoi": -0.1}, "sesoi must be a finite number, at least 0, got -0.1"),
        ({"sesoi": float("nan")}, "sesoi must be a finite number"),
        ({"looks": 0}, "looks must be a whole number, at least 1, got 0"),
        ({"looks": True}, "looks must be a whole number"),
        ({"differences": [0.1, float("nan")]}, "number 2 is nan. A run that diverged counts"),
        ({"differences": [0.1, "0.2"]}, "differences must be finite numbers, number 2 is 0.2"),
        ({"differences": {0: 0.1, 1: 0.2}}, "differences must be one number per seed, got a dict"),
        ({"sesoi": "0.1"}, "sesoi must be a finite number"),
        ({"center": "mode"}, "center must be mean or median, got 'mode'"),
        ({"brackets": [(0.1, 0.1)]}, "brackets must be one per difference, got 1 for 3"),
        ({"brackets": [(0.1, 0.1), (0.3, 0.4), (0.3, 0.3)]}, "a bracket must hold its difference, got 0.2"),
    ],
)
def test_it_names_the_argument_that_is_wrong(wrong: dict[str, object], words: str):
    arguments = {"differences": [0.1, 0.2, 0.3], "sesoi": 0.1, **wrong}
    with pytest.raises(StudyError, match=words):
        judge(arguments.pop("differences"), **arguments)  # type: ignore[arg-type]
