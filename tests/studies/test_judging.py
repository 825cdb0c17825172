import json
import math
from pathlib import Path

import numpy as np
import pytest
from judged_runs import STEPS, Place, Written, rising, write_judged

from bnlab.errors import ConfigError, StudyError
from bnlab.pages.engine_sentences import in_chinese
from bnlab.stats.verdict import judge
from bnlab.studies.judging import judge_sweep
from bnlab.studies.planning import plan_as_seen, plan_seeds
from bnlab.studies.quantity import read_quantity

ACCURACY = read_quantity("test_accuracy")
NOISE = (0.004, -0.003, 0.001, -0.002, 0.003, 0.0, 0.002, -0.001)


def test_pairs_of_a_seed_are_compared(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9, test=0.90 + 0.1 * at.seed / 10 + (0.03 + NOISE[at.seed] if at.norm == "batch" else 0.0))

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    expected = judge([0.03 + noise for noise in NOISE[:5]], sesoi=0.01)
    assert found.verdict.effect == pytest.approx(expected.effect)
    assert found.verdict.low == pytest.approx(expected.low)
    assert (found.verdict.verdict, found.verdict.n) == ("supported", 5)
    assert found.claim == "batch has a higher test accuracy than none, by more than 1 point."
    assert found.as_dict()["first"][1] == pytest.approx(0.91 + 0.03 + NOISE[1])


def test_each_arm_is_judged_at_its_best_rate_on_the_validation_set(tmp_path: Path):
    def run(at: Place) -> Written:
        good = at.lr == {"batch": 1.0, "none": 0.1}[at.norm]
        test = (0.95 if at.norm == "batch" else 0.90) + NOISE[at.seed]
        return rising(0.9 if good else 0.5, test=test if good else 0.99)  # a better test accuracy chooses no rate

    found = judge_sweep(write_judged(tmp_path / "s", run, lrs=(0.1, 1.0)), ACCURACY)
    assert found.pairs.rates == (1.0, 0.1)
    assert found.verdict.effect == pytest.approx(0.05)
    assert any("highest learning rate of the sweep" in sentence for sentence in found.sentences)


@pytest.mark.slow
def test_a_run_that_diverged_counts_with_its_start(tmp_path: Path):
    def run(at: Place) -> Written:
        if at.norm == "none" and at.seed == 2:
            return Written([0.1, 0.5], 0.6, losses=[2.3, math.inf], status="diverged")
        return rising(0.9, test=0.9)

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    assert found.pairs.differences == pytest.approx([0, 0, 0.8, 0, 0])
    told = "none: 1 run diverged, or ended no better than it started, and counts with the start."
    assert told in found.sentences


def test_runs_whose_logits_diverge_while_they_learn_are_told_apart(tmp_path: Path):
    def run(at: Place) -> Written:
        grows = at.norm == "none" and at.seed in {1, 3}
        return rising(0.9, logit_scale=(1, 2, 4, 9, 20) if grows else (1, 2, 3, 3.5, 4))

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    (told,) = (sentence for sentence in found.sentences if "controlled divergence" in sentence)
    assert told.startswith("none: in 2 of 5 runs the logits diverge while the accuracy stays")
    assert found.verdict.n == 5


@pytest.mark.parametrize("left", [None, rising(0.9, status="failed")])
def test_a_run_that_failed_or_left_no_folder_leaves_its_pair_out(tmp_path: Path, left: Written | None):
    def run(at: Place) -> Written | None:
        return (
            left
            if (at.norm, at.seed) == ("none", 3)
            else rising(0.9, test=0.9 + (0.05 + NOISE[at.seed]) * (at.norm == "batch"))
        )

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    assert (found.verdict.n, found.verdict.num_missing) == (4, 1)
    assert any(sentence.startswith("seed 3: no figure of both arms") for sentence in found.sentences)


def reaching(step: int | None) -> Written:
    return Written([0.92 if step is not None and at >= step else 0.5 for at in STEPS], 0.9)


def test_steps_to_a_target_are_compared_as_a_ratio_and_a_run_that_never_reaches_it_is_a_bound(tmp_path: Path):
    def run(at: Place) -> Written:
        return reaching(50) if at.norm == "batch" else reaching(200 if at.seed % 2 else None)

    found = judge_sweep(write_judged(tmp_path / "s", run), read_quantity("steps_to:0.9"), sesoi=1.25)
    assert [bracket[1] == math.inf for bracket in found.pairs.brackets] == [True, False, True, False, True]
    assert found.pairs.brackets[1] == pytest.approx((math.log(151 / 50), math.log(200 / 1)))  # seen at 50 and 200
    assert found.verdict.verdict == "supported"
    assert found.as_dict()["effect"] == pytest.approx(4.0)
    assert found.as_dict()["high"] is None
    assert any(sentence.startswith("Steps to the target are known to 50") for sentence in found.sentences)
    turned = judge_sweep(tmp_path / "s", read_quantity("steps_to:0.9"), arms=["none", "batch"], sesoi=1.25)
    assert turned.verdict.verdict == "refuted"


def test_where_neither_arm_reaches_the_target_nothing_is_known(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda at: reaching(None if at.seed == 4 else 50))
    found = judge_sweep(folder, read_quantity("steps_to:0.9"))
    assert (found.verdict.verdict, found.verdict.effect) == ("inconclusive", None)
    assert found.as_dict()["low"] is None


def test_a_target_that_is_there_before_training_is_none(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9))
    with pytest.raises(StudyError, match=r"10% before the first step, so that 5% is no target"):
        judge_sweep(folder, read_quantity("steps_to:0.05"))


def test_the_largest_trainable_rate_is_compared_as_a_ratio(tmp_path: Path):
    def run(at: Place) -> Written:
        highest = {"batch": 10.0, "none": 0.1}[at.norm]
        return rising(0.9 if at.lr <= highest else 0.1)

    folder = write_judged(tmp_path / "s", run, lrs=(0.01, 0.1, 1.0, 10.0, 100.0))
    found = judge_sweep(folder, read_quantity("max_lr"))
    assert found.as_dict()["effect"] == pytest.approx(100.0)
    assert (found.verdict.verdict, found.sesoi) == ("supported", 3.0)
    reached = judge_sweep(folder, read_quantity("max_lr"), where=["optim.lr<=10"])
    assert {greatest for _, greatest in reached.pairs.brackets} == {math.inf}  # batch trains at the highest of these
    with pytest.raises(StudyError, match="max_lr needs 2 or more learning rates"):
        judge_sweep(folder, read_quantity("max_lr"), where=["optim.lr=0.1"])


def test_a_diagnostic_is_compared_by_its_last_value(tmp_path: Path):
    def run(at: Place) -> Written:
        last = 0.1 if at.norm == "batch" else 0.4
        return rising(0.9, saturation=[0, 0, 0, 0, last + NOISE[at.seed] * (at.norm == "none")])

    folder = write_judged(tmp_path / "s", run)
    less = judge_sweep(folder, read_quantity("saturation/hidden1", less_is_better=True), sesoi=0.2)
    more = judge_sweep(folder, read_quantity("saturation/hidden1"), sesoi=0.2)
    assert (less.verdict.verdict, more.verdict.verdict) == ("supported", "refuted")
    assert less.verdict.effect == pytest.approx(0.3 + np.mean(NOISE[:5]))
    assert less.claim == "batch has a smaller saturation/hidden1 than none, by more than 0.2."
    below = judge_sweep(folder, read_quantity("saturation/hidden2 - hidden1"), sesoi=0.2)  # hidden2 has 0 throughout
    assert (below.verdict.verdict, below.verdict.effect) == ("supported", pytest.approx(less.verdict.effect))


def test_a_diagnostic_is_compared_by_its_mean_over_the_steps_where_this_is_asked(tmp_path: Path):
    def run(at: Place) -> Written:
        first = 0.8 if at.norm == "none" else 0.1
        return rising(0.9, saturation=[first, first + NOISE[at.seed], 0.1, 0.1, 0.1])  # equal at the end

    folder = write_judged(tmp_path / "s", run)
    last, mean = (read_quantity(f"{word}saturation/hidden1", less_is_better=True) for word in ("", "mean "))
    at_the_end, over_all = (judge_sweep(folder, quantity, sesoi=0.2) for quantity in (last, mean))
    assert (at_the_end.verdict.verdict, over_all.verdict.verdict) == ("refuted", "supported")
    assert over_all.verdict.effect == pytest.approx(2 * 0.7 / 5)
    assert any("its last value: refuted" in flip for flip in over_all.stress.flips)


def test_a_moment_of_tiny_spread_does_not_decide_the_mean_of_a_normalized_figure(tmp_path: Path):
    def run(at: Place) -> Written:
        first = (1.0, 0.001) if at.norm == "none" else (1.0, 1.0)
        return rising(0.9, drift=[first, (1 + NOISE[at.seed], 5.0), (0.0, 5.0), (2.0, 5.0)])

    folder = write_judged(tmp_path / "s", run)
    found = judge_sweep(folder, read_quantity("mean preactivation_drift/hidden1/normalized"), sesoi=0.0)
    plain = found.pairs.second[0]
    assert plain is not None
    moved, spread = 1 + 1 + NOISE[0] + 2, 0.001 + 5 + 5  # a step without any drift has no spread to tell
    assert plain.value == pytest.approx(moved / spread)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("saturaton/hidden1", "Did you mean saturation"),
        ("saturation/hiden1", "Did you mean hidden1"),
        ("saturation/hidden1 - hiden2", "has no saturation of hiden2. Did you mean hidden2"),
    ],
)
def test_it_proposes_what_the_runs_have(tmp_path: Path, metric: str, words: str):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9, saturation=[0.0] * 5))
    with pytest.raises(StudyError, match=words):
        judge_sweep(folder, read_quantity(metric), sesoi=0.0)


def test_the_stress_panel_finds_the_choice_that_turns_the_verdict(tmp_path: Path):
    def run(at: Place) -> Written:  # batch is better at the end, worse half way
        late = [0.1, 0.2, 0.3 if at.norm == "batch" else 0.6, 0.8, 0.95 if at.norm == "batch" else 0.85]
        return Written(late, late[-1] + NOISE[at.seed])

    found = judge_sweep(write_judged(tmp_path / "s", run, seeds=range(8)), ACCURACY)
    assert found.verdict.verdict == "supported"
    # 2 figures x 4 sets of images x 2 centers, and each seed left out; half way batch is worse, the test loss is equal
    assert (found.stress.of, found.stress.agree) == (17, 17 - 4 - 2)
    assert found.stress.flips == (
        "with the validation set after half of the steps: refuted",
        "with the loss (any difference): refuted",
    )


def test_the_stress_panel_tells_which_seed_carries_the_verdict(tmp_path: Path):
    def run(at: Place) -> Written:
        gain = (0.04, 0.035, 0.045, 0.04, 0.0)[at.seed]
        return rising(0.9, test=0.9 + gain * (at.norm == "batch"))

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    assert found.verdict.verdict == "inconclusive"
    assert "without seed 4: supported" in found.stress.flips


def test_arms_are_named_by_label_value_or_left_out_where_there_are_two(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9), norms=("none", "batch", "layer"))
    found = judge_sweep(folder, ACCURACY, arms=["layer", "none"])
    assert [arm.label for arm in found.arms] == ["layer", "none"]
    with pytest.raises(ConfigError, match=r"--arms FIRST,SECOND is missing: the sweep has 3 arms: none, batch, layer"):
        judge_sweep(folder, ACCURACY)
    with pytest.raises(ConfigError, match="Did you mean batch"):
        judge_sweep(folder, ACCURACY, arms=["bacth", "none"])
    with pytest.raises(ConfigError, match="takes two different arms"):
        judge_sweep(folder, ACCURACY, arms=["batch", "batch"])
    two = judge_sweep(folder, ACCURACY, where=["norm=none,batch"])
    assert [arm.label for arm in two.arms] == ["batch", "none"]  # the arm without a norm is what others are held to


def test_a_condition_that_no_run_fulfills_says_what_there_is(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9))
    with pytest.raises(ConfigError, match=r"no run is left. optim.lr goes from 0.1 to 0.1"):
        judge_sweep(folder, ACCURACY, where=["optim.lr=3"])


@pytest.mark.parametrize(
    ("metric", "sesoi", "words"),
    [
        ("test_accuracy", 5.0, "is a share, below 1: 0.01 is 1 point"),
        ("test_accuracy", -0.1, "must be finite, 0 or more"),
        ("steps_to:0.9", 0.5, "must be finite, 1 or more"),
        ("test_loss", None, "Give one in nats"),
        ("saturation/hidden1", None, "has no usual smallest effect"),
    ],
)
def test_a_smallest_effect_out_of_range_is_refused(tmp_path: Path, metric: str, sesoi: float | None, words: str):
    folder = write_judged(tmp_path / "s", lambda _: reaching(50))
    with pytest.raises(ConfigError, match=words):
        judge_sweep(folder, read_quantity(metric), sesoi=sesoi)


@pytest.mark.parametrize(
    "text", ["accuracy", "steps_to", "steps_to:2", "steps_to:x", "/hidden1", "saturation/", "max_lr:3", ""]
)
def test_a_metric_that_is_none_is_refused(text: str):
    with pytest.raises(ConfigError, match="--metric"):
        read_quantity(text)


def test_on_cifar_half_a_point_is_of_interest(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9), data="cifar10")
    assert judge_sweep(folder, ACCURACY).sesoi == 0.005


def test_a_plan_names_seeds_and_time(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9, test=0.9 + (0.015 + 2 * NOISE[at.seed]) * (at.norm == "batch"))

    planned = plan_seeds(judge_sweep(write_judged(tmp_path / "s", run), ACCURACY))
    assert planned.needed.effect == 0.02
    assert planned.needed.seeds is not None
    assert planned.seconds_per_seed == 4.0  # 2 s for each of two runs
    assert planned.minutes(planned.needed) == pytest.approx(planned.needed.seeds * 4 / 60)
    as_seen = plan_as_seen(planned)
    assert as_seen is not None
    assert as_seen.seeds is not None
    assert as_seen.seeds > planned.needed.seeds  # 1.5 points are harder to tell from 1 than 2 are


def test_both_plans_have_the_power_that_is_asked_for(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9, test=0.9 + (0.03 + 2 * NOISE[at.seed]) * (at.norm == "batch"))

    planned = plan_seeds(judge_sweep(write_judged(tmp_path / "s", run), ACCURACY), power=0.95)
    as_seen = plan_as_seen(planned)
    assert as_seen is not None
    assert min(planned.needed.power, as_seen.power) >= 0.95


def test_a_plan_for_a_ratio_takes_its_effect_as_a_factor(tmp_path: Path):
    steps = {0: 100, 1: 150, 2: 100, 3: 200, 4: 150}
    folder = write_judged(tmp_path / "s", lambda at: reaching(50 if at.norm == "batch" else steps[at.seed]))
    judged = judge_sweep(folder, read_quantity("steps_to:0.9"), sesoi=1.5)
    assert plan_seeds(judged, effect=4.0).as_dict()["planned"]["effect"] == pytest.approx(4.0)
    assert plan_seeds(judged).as_dict()["planned"]["effect"] == pytest.approx(1.5**2)


def test_no_plan_is_made_of_bounds_or_of_two_seeds(tmp_path: Path):
    folder = write_judged(tmp_path / "1", lambda at: reaching(None if at.norm == "none" else 50))
    with pytest.raises(StudyError, match="5 of 5 pairs have a run that did not get there"):
        plan_seeds(judge_sweep(folder, read_quantity("steps_to:0.9")))
    folder = write_judged(tmp_path / "2", lambda _: rising(0.9), seeds=range(2))
    with pytest.raises(StudyError, match="3 or more seeds with both runs"):
        plan_seeds(judge_sweep(folder, ACCURACY))


def test_numbers_for_programs_are_plain(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: reaching(None))
    found = judge_sweep(folder, read_quantity("steps_to:0.9")).as_dict()
    wanted = [
        *("study", "claim", "statement", "verdict", "effect", "low", "high", "unit", "n"),
        *("sesoi", "criterion", "stress", "seconds"),
    ]
    assert list(found)[: len(wanted)] == wanted
    assert set(found["stress"]) == {"agree", "of", "flips"}
    json.dumps(found, allow_nan=False)


def test_a_grid_step_is_no_proof_of_a_factor_of_three(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9 if at.lr <= {"batch": 0.316, "none": 0.1}[at.norm] else 0.1)

    folder = write_judged(tmp_path / "s", run, lrs=(0.01, 0.0316, 0.1, 0.316, 1.0), seeds=range(8))
    found = judge_sweep(folder, read_quantity("max_lr"))  # the truth lies between 1 and 10
    assert (found.verdict.verdict, found.as_dict()["effect"]) == ("inconclusive", pytest.approx(3.16))
    assert (found.as_dict()["low"], found.as_dict()["high"]) == (pytest.approx(1.0), pytest.approx(10.0))


def test_targets_reached_within_one_validation_are_not_equal(tmp_path: Path):
    found = judge_sweep(write_judged(tmp_path / "s", lambda _: reaching(100)), read_quantity("steps_to:0.9"))
    assert (found.verdict.verdict, found.as_dict()["effect"]) == ("inconclusive", 1.0)


@pytest.mark.parametrize("last", [math.inf, math.nan])
def test_a_diagnostic_that_is_not_finite_is_not_known(tmp_path: Path, last: float):
    def run(at: Place) -> Written:
        return rising(0.9, saturation=[0, 0, 0, 0, 0.2 if at.norm == "batch" or at.seed else last])

    found = judge_sweep(write_judged(tmp_path / "s", run), read_quantity("saturation/hidden1"), sesoi=0.1)
    assert (found.verdict.verdict, found.verdict.n, found.verdict.effect) == ("inconclusive", 5, None)


def test_of_a_run_that_diverged_no_diagnostic_is_known(tmp_path: Path):
    def run(at: Place) -> Written:
        if (at.norm, at.seed) == ("none", 2):
            return Written([0.1, 0.5], 0.6, losses=[2.3, math.inf], saturation=[0.0, 0.9], status="diverged")
        return rising(0.9, saturation=[0, 0, 0, 0, 0.1 if at.norm == "batch" else 0.4])

    quantity = read_quantity("saturation/hidden1", less_is_better=True)
    found = judge_sweep(write_judged(tmp_path / "s", run), quantity, sesoi=0.1)
    assert found.verdict.verdict == "inconclusive"
    assert any("its diagnostics mean nothing" in sentence for sentence in found.sentences)


def test_what_was_not_validated_by_half_of_the_steps_is_not_judged_there(tmp_path: Path):
    def run(at: Place) -> Written:
        # validated at steps 0 and 50 alone, of 50
        return Written([0.1, 0.9], 0.9 + (0.05 + NOISE[at.seed]) * (at.norm == "batch"))

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    assert not any("half" in flip for flip in found.stress.flips)
    assert found.stress.of == 2 * 2 + 1  # figures, images; 5 seeds have no median; each seed left out


def test_runs_are_not_chosen_by_their_results(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda _: rising(0.9))
    for text in ("status=finished", "test_accuracy>0.5"):
        with pytest.raises(ConfigError, match="is no setting of a run"):
            judge_sweep(folder, ACCURACY, where=[text])


def test_runs_that_left_no_folder_are_told(tmp_path: Path):
    folder = write_judged(tmp_path / "s", lambda at: rising(0.9) if at.seed < 5 else None, seeds=range(8))
    found = judge_sweep(folder, ACCURACY)
    assert any("6 of 16 runs are missing" in sentence for sentence in found.sentences)


def test_the_choice_of_a_rate_by_few_seeds_is_told(tmp_path: Path):
    def run(at: Place) -> Written | None:
        return None if at.norm == "batch" and at.lr == 1.0 and at.seed else rising(0.9)

    found = judge_sweep(write_judged(tmp_path / "s", run, lrs=(0.1, 1.0)), ACCURACY)
    assert any("compared on seed 0, the only one" in sentence for sentence in found.sentences)


def test_a_missing_rate_is_named_where_the_largest_is_asked_for(tmp_path: Path):
    def run(at: Place) -> Written | None:
        return None if at.norm == "none" and at.lr == 1.0 else rising(0.9)

    folder = write_judged(tmp_path / "s", run, lrs=(0.1, 1.0, 10.0))
    with pytest.raises(StudyError, match=r"none has none \(none at 1, seed 0: not there"):
        judge_sweep(folder, read_quantity("max_lr"))


def test_a_run_without_a_test_record_has_no_test_accuracy(tmp_path: Path):
    def run(at: Place) -> Written:
        return Written([0.1, 0.5, 0.9], None if (at.norm, at.seed) == ("batch", 0) else 0.9)

    found = judge_sweep(write_judged(tmp_path / "s", run), ACCURACY)
    assert (found.verdict.n, found.verdict.num_missing) == (4, 1)


@pytest.mark.parametrize("effect", [math.inf, math.nan, 1.5, 0.0])
def test_an_effect_to_plan_for_is_held_to_its_own_unit(tmp_path: Path, effect: float):
    steps = {0: 100, 1: 150, 2: 100, 3: 200, 4: 150}
    folder = write_judged(tmp_path / "s", lambda at: reaching(50 if at.norm == "batch" else steps[at.seed]))
    judged = judge_sweep(folder, read_quantity("steps_to:0.9"), sesoi=1.5)
    with pytest.raises(
        StudyError, match=r"--effect must be finite and above the smallest effect of interest, 1.5, got"
    ):
        plan_seeds(judged, effect=effect)


def test_two_arms_that_learned_nothing_are_equal_and_get_no_verdict(tmp_path: Path):
    def run(at: Place) -> Written:  # both end above their start, which is lower for batch
        start = 2.3 if at.norm == "batch" else 2.4
        return Written([0.1, 0.1, 0.1], 0.1, test_loss=9.0, losses=[start + NOISE[at.seed], 9.0, 9.0])

    found = judge_sweep(write_judged(tmp_path / "s", run), read_quantity("test_loss"), sesoi=0.0)
    assert (found.verdict.verdict, found.verdict.effect) == ("inconclusive", 0.0)
    assert "batch: 5 runs diverged, or ended no better than they started, and count with the start." in found.sentences


def test_what_is_no_sweep_is_told_apart(tmp_path: Path):
    folder = write_judged(tmp_path / "runs" / "s", lambda _: rising(0.9))
    with pytest.raises(StudyError, match=r"holds runs in folders of their own. Name one of its sweeps: s\."):
        judge_sweep(tmp_path / "runs", ACCURACY)
    with pytest.raises(StudyError, match=r"is one run, where a sweep is wanted"):
        judge_sweep(next(folder.glob("batch*")), ACCURACY)


def test_a_diagnostic_without_its_layer_is_told():
    with pytest.raises(ConfigError, match=r"a diagnostic is named with its layer, as saturation/hidden1"):
        read_quantity("saturation")


def test_what_would_change_an_open_verdict_are_seeds_for_the_effect_asked_for_and_for_the_one_seen(tmp_path: Path):
    gains = (0.02, 0.05, 0.035, 0.0, 0.06)

    def run(at: Place) -> Written:
        return rising(0.9, test=0.8 + (gains[at.seed] if at.norm == "batch" else 0.0))

    judged = judge_sweep(write_judged(tmp_path / "s", run), read_quantity("test_accuracy"), sesoi=0.01)
    assert judged.verdict.verdict == "inconclusive"
    planned = plan_seeds(judged)
    seen = plan_as_seen(planned)
    assert seen is not None
    assert judged.to_change == (
        f"{planned.needed.seeds} seeds, if the effect is 2.00 points; {seen.seeds} seeds, if the effect is the one seen"
    )
    assert 5 < (seen.seeds or 0) < (planned.needed.seeds or 0)
    assert in_chinese(judged.to_change) is not None


def test_a_pair_of_which_nothing_is_known_has_no_difference(tmp_path: Path):
    def run(at: Place) -> Written:
        return rising(0.9 if at.lr <= 1 and (at.norm == "batch" or at.seed < 2) else 0.1)

    folder = write_judged(tmp_path / "s", run, lrs=(0.1, 1.0, 10.0))
    found = judge_sweep(folder, read_quantity("max_lr")).as_dict()
    known = [one is not None for one in found["second"]]
    assert known[:2] == [True, True]
    assert [one is not None for one in found["differences"]] == known
    assert False in known
