import math
import re
from pathlib import Path
from typing import Any

import pytest
from judged_runs import Place, Written, rising, write_judged

from bnlab.pages.engine_sentences import in_chinese
from bnlab.stats.verdict import judge
from bnlab.studies.condition import Condition
from bnlab.studies.condition_verdict import judge_condition
from bnlab.studies.judged_condition import JudgedCondition
from bnlab.studies.judging import judge_sweep
from bnlab.studies.quantity import read_quantity
from bnlab.studies.readings import read_figures

NOISE = (0.004, -0.003, 0.001, -0.002, 0.003, 0.0, 0.002, -0.001)


def verdict_on(folder: Path, seeds: int = 5, looks: int = 1, tuned: Any = None, **condition: Any) -> JudgedCondition:
    one = Condition(**condition)
    return judge_condition(one, read_figures(one, folder, looks, range(seeds), tuned), looks)


def better_by(points: float) -> Any:
    def run(at: Place) -> Written:
        return rising(0.9, test=0.9 + (points + NOISE[at.seed] if at.norm == "batch" else 0.0))

    return run


def test_two_arms_are_judged_as_bnlab_judge_does(tmp_path: Path):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    found = verdict_on(folder, metric="test_accuracy", arms=("batch", "none"), above=0.01)
    expected = judge_sweep(folder, read_quantity("test_accuracy"), sesoi=0.01)
    assert found.verdict == expected.verdict.verdict == "supported"
    assert found.interval.low == pytest.approx(expected.verdict.low)
    assert (found.stress.agree, found.stress.of) == (expected.stress.agree, expected.stress.of)
    assert found.stress.flips == expected.stress.flips
    assert found.says.en == expected.claim


@pytest.mark.parametrize(
    ("points", "within", "expected"),
    [(0.0, 0.01, "supported"), (0.05, 0.01, "refuted"), (-0.05, 0.01, "refuted"), (0.01, 0.01, "inconclusive")],
)
def test_two_arms_are_equal_where_the_whole_interval_is_near_zero(
    tmp_path: Path, points: float, within: float, expected: str
):
    folder = write_judged(tmp_path / "s", better_by(points))
    found = verdict_on(folder, metric="test_accuracy", arms=("batch", "none"), within=within)
    assert found.verdict == expected


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ({"above": 0.9}, "supported"),
        ({"above": 0.95}, "refuted"),
        ({"below": 0.95}, "supported"),
        ({"below": 0.9}, "refuted"),
        ({"within": (0.9, 0.95)}, "supported"),
        ({"within": (0.95, 0.99)}, "refuted"),
        ({"within": (0.93, 0.99)}, "inconclusive"),
    ],
)
def test_the_value_of_one_arm_is_judged_by_where_its_interval_lies(tmp_path: Path, bound: Any, expected: str):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    found = verdict_on(folder, metric="test_accuracy", arm="batch", **bound)
    by_hand = judge([0.93 + noise for noise in NOISE[:5]], sesoi=0.0)
    assert found.verdict == expected
    assert found.interval.effect == pytest.approx(by_hand.effect)
    assert (found.interval.low, found.interval.high) == pytest.approx((by_hand.low, by_hand.high))


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ({"arms": ("batch", "none"), "within": 0.1}, r"bounds between 2\.\d+ and 3\.\d+ points"),
        ({"arm": "batch", "above": 0.9}, r"a bound above 92\.\d+%"),
        ({"arm": "batch", "above": 0.95}, r"a bound below 93\.\d+%"),
        ({"arm": "batch", "below": 0.95}, r"a bound below 93\.\d+%"),
        ({"arm": "batch", "below": 0.9}, r"a bound above 92\.\d+%"),
        ({"arm": "batch", "within": (0.9, 0.95)}, r"bounds between 92\.\d+% and 93\.\d+%"),
        ({"arm": "batch", "within": (0.5, 0.6)}, r"a bound that is not between 92\.\d+% and 93\.\d+%"),
    ],
)
def test_what_would_change_a_bound_is_told_in_the_unit_of_the_effect(tmp_path: Path, condition: Any, text: str):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    found = verdict_on(folder, metric="test_accuracy", **condition)
    assert re.fullmatch(text, found.to_change)
    assert in_chinese(found.to_change) not in {None, found.to_change}


def test_a_bound_that_is_told_to_turn_a_verdict_over_does(tmp_path: Path):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    for key, bound, beyond in (
        ("above", 0.9, 1e-4),
        ("above", 0.95, -1e-4),
        ("below", 0.95, -1e-4),
        ("below", 0.9, 1e-4),
    ):
        asked = {"metric": "test_accuracy", "arm": "batch"}
        before = verdict_on(folder, **asked, **{key: bound})
        told = float(before.to_change.split()[-1].rstrip("%")) / 100
        assert verdict_on(folder, **asked, **{key: told + beyond}).verdict == "inconclusive" != before.verdict


def test_the_method_is_that_by_which_the_interval_was_made(tmp_path: Path):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    pair, both = {"metric": "test_accuracy", "arms": ("batch", "none"), "above": 0.01}, "paired Student's t and Hall"
    assert verdict_on(folder, **pair).method == both
    assert verdict_on(folder, looks=4, **pair).method == f"{both}, Bonferroni over 4"
    assert verdict_on(folder, metric="test_accuracy", arm="batch", above=0.5).method == "Student's t and Hall"
    steps = {"metric": "steps_to:0.5", "arms": ("batch", "none"), "above": 1.25}
    assert verdict_on(folder, **steps).method == f"{both} of logs, each end from bounds"
    assert verdict_on(folder, seeds=2, **pair).method == ""  # no interval


def test_seeds_that_another_study_trained_do_not_count(tmp_path: Path):
    folder = write_judged(tmp_path / "s", better_by(0.03), seeds=range(8))
    assert verdict_on(folder, seeds=5, metric="test_accuracy", arm="batch", above=0.5).interval.n == 5
    assert verdict_on(folder, seeds=8, metric="test_accuracy", arm="batch", above=0.5).interval.n == 8


def test_the_area_is_the_mean_accuracy_over_the_steps(tmp_path: Path):
    def run(at: Place) -> Written:
        end = 0.9 + NOISE[at.seed] if at.norm == "batch" else 0.5
        return rising(end)

    found = verdict_on(write_judged(tmp_path / "s", run), metric="area", arm="batch", above=0.4)
    assert found.interval.effect == pytest.approx(sum((0.1 + 0.9 + noise) / 2 for noise in NOISE[:5]) / 5, abs=1e-3)
    half = [reading for reading in found.readings.all if reading.changes == ("the first half of the steps",)]
    assert half[0].values[0] == pytest.approx((0.1 + 0.1 + (0.904 - 0.1) / 2) / 2, abs=1e-3)


def test_a_run_that_diverged_has_the_accuracy_of_its_start_from_then_on(tmp_path: Path):
    def run(at: Place) -> Written:
        if at.seed == 0:
            return Written([0.1, 0.5, 0.9], 0.9, losses=[2.3, 1.0, math.inf], status="diverged")
        return rising(0.9)

    found = verdict_on(write_judged(tmp_path / "s", run), metric="area", arm="batch", above=0.4)
    first = found.readings.all[0].values[0]
    assert first is not None
    assert first < 0.35  # 0.1 to 0.9 over 100 of 200 steps, then 0.1


def test_recovered_is_the_share_of_the_way_between_two_arms(tmp_path: Path):
    ends = {"batch": 0.9, "none": 0.5, "batch_noisy": 0.8}

    def run(at: Place) -> Written:
        return rising(ends[at.norm] + (NOISE[at.seed] if at.norm == "batch_noisy" else 0.0))

    folder = write_judged(tmp_path / "s", run, norms=ends)
    found = verdict_on(folder, metric="area", recovered=("batch_noisy", "none", "batch"), above=0.5)
    assert found.verdict == "supported"
    assert found.interval.effect == pytest.approx((0.3 + sum(NOISE[:5]) / 5) / 0.4, abs=1e-3)
    turned = verdict_on(folder, metric="area", recovered=("batch_noisy", "batch", "none"), above=-100)
    assert turned.verdict == "inconclusive"  # the arm that should be better is the worse one
    close = verdict_on(folder, metric="area", recovered=("none", "batch_noisy", "batch"), above=-100)
    assert close.verdict == "inconclusive"  # 0.05 of accuracy between the two outer arms: nothing can be said


def test_of_a_share_of_the_way_nothing_is_known_where_a_run_did_not_get_there(tmp_path: Path):
    ends = {"batch": 0.9, "none": 0.5, "batch_noisy": 0.8}
    folder = write_judged(tmp_path / "s", lambda at: rising(ends[at.norm]), norms=ends)
    found = verdict_on(folder, metric="steps_to:0.7", recovered=("batch_noisy", "none", "batch"), below=0.8)
    assert (found.verdict, found.as_dict()["differences"]) == ("inconclusive", [None] * 5)


def test_a_width_is_counted_in_decades_of_any_swept_key(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9 if (at.norm == "batch" and 0.01 <= at.lr <= 10) or at.lr == 0.1 else 0.1)

    folder = write_judged(tmp_path / "s", run, lrs=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0))
    found = verdict_on(folder, metric="width:optim.lr", arms=("batch", "none"), above=0.5)
    assert found.verdict == "supported"
    assert found.interval.effect == 3
    assert found.unit == "decades"
    assert (found.interval.low, found.interval.high) == (1, 5)  # each end is known to one decade


def test_rates_that_were_chosen_on_other_seeds_decide(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9, test=0.9 + (0.05 if (at.norm, at.lr) == ("batch", 1.0) else 0.0) + NOISE[at.seed] * 0.1)

    folder = write_judged(tmp_path / "s", run, lrs=(0.1, 1.0))
    condition = {"metric": "test_accuracy", "arms": ("batch", "none"), "above": 0.01}
    found = verdict_on(folder, tuned={"batch": 1.0, "none": 0.1}, **condition)
    assert (found.readings.rates, found.verdict) == ((1.0, 0.1), "supported")
    assert found.readings.how == "each arm's best learning rate on other seeds"
    assert "with each arm's best learning rate by validation loss: refuted" in found.stress.flips  # 0.1 for both


def test_a_verdict_holds_with_as_much_error_as_is_told_and_not_with_less(tmp_path: Path):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    condition = {"metric": "test_accuracy", "arms": ("batch", "none"), "above": 0.01}
    found = verdict_on(folder, **condition)
    assert found.holds_at is not None
    holds = int(0.04 / found.holds_at)
    assert verdict_on(folder, looks=holds, **condition).verdict == "supported"
    assert verdict_on(folder, looks=holds * 2, **condition).verdict == "inconclusive"


def test_a_law_is_judged_by_its_deviations():
    found = verdict_on(Path(), metric=None, law="batch_mean", below=1e-5)
    assert found.verdict == "supported"
    assert verdict_on(Path(), metric=None, law="undone_on_another_batch", below=1e-5).verdict == "refuted"


@pytest.mark.parametrize("conditions", [1, 3])
def test_what_would_change_a_supported_condition_is_where_its_interval_ends(tmp_path: Path, conditions: int):
    folder = write_judged(tmp_path / "s", better_by(0.03))

    def found(above: float) -> JudgedCondition:
        one = Condition(metric="test_accuracy", arms=("batch", "none"), above=above)
        return judge_condition(one, read_figures(one, folder, 1, range(5), None), 1, conditions)

    told = re.search(r"of interest of (.*) points or more", found(0.01).to_change)
    assert told is not None
    end = float(told[1]) / 100
    assert found(0.01).interval.low == pytest.approx(end, abs=1e-4)
    assert [found(end - 2e-4).verdict, found(end + 2e-4).verdict] == ["supported", "inconclusive"]


def diverged(_: Place) -> Written:
    return rising(0.9, status="diverged")


@pytest.mark.parametrize("bound", [{"above": 0.01}, {"within": 0.01}])
@pytest.mark.parametrize("metric", ["test_accuracy", "area"])
def test_of_two_arms_that_have_not_trained_nothing_is_said(tmp_path: Path, metric: str, bound: Any):
    folder = write_judged(tmp_path / "s", diverged)
    found = verdict_on(folder, metric=metric, arms=("batch", "none"), **bound)
    assert (found.verdict, found.stress.of, found.to_change) == ("inconclusive", 0, "")
    assert found.reason.startswith("No run of either arm trained")
    judged = judge_sweep(folder, read_quantity(metric), sesoi=0.01)
    assert (judged.verdict.verdict, judged.verdict.reason, judged.to_change) == ("inconclusive", found.reason, "")


def test_of_two_arms_of_which_one_has_trained_something_is_said(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda at: diverged(at) if at.norm == "none" else rising(0.9))
    assert verdict_on(folder, metric="test_accuracy", arms=("batch", "none"), above=0.01).verdict == "supported"


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("steps_to:0.5", "steps"),
        ("test_accuracy", "share of images"),
        ("test_loss", "nats"),
    ],
)
def test_the_value_of_one_arm_has_a_unit_of_its_own(tmp_path: Path, metric: str, unit: str):
    folder = write_judged(tmp_path / "s", better_by(0.03))
    assert verdict_on(folder, metric=metric, arm="batch", above=0.001).unit == unit


def test_an_interval_of_a_share_ends_where_shares_do(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9, test=(1.0, 0.6, 1.0, 0.2, 1.0)[at.seed] if at.norm == "batch" else 0.1 * at.seed)

    folder = write_judged(tmp_path / "s", run)
    alone = verdict_on(folder, metric="test_accuracy", arm="batch", above=0.1)
    assert (alone.interval.low, alone.interval.high) == (0.0, 1.0)
    pair = verdict_on(folder, metric="test_accuracy", arms=("batch", "none"), above=0.01)
    assert pair.interval.high == 1.0
    assert judge_sweep(folder, read_quantity("test_accuracy"), sesoi=0.01).verdict.high == 1.0
