import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from judged_runs import Place, Written, rising, write_judged

from bnlab.errors import ConfigError, StudyError
from bnlab.stats.verdict import words_of
from bnlab.studies.study_history import Asked, looks_to_share, note_begin, read_verdict, seeds_judged
from bnlab.studies.study_search import read_study
from bnlab.studies.study_sweeps import main_sweep
from bnlab.studies.study_verdict import judge_study, write_verdict

NOISE = (0.004, -0.003, 0.001, -0.002, 0.003, 0.0, 0.002, -0.001)
CONTENT: dict[str, Any] = {
    "claim": {"en": "Batch normalization is better.", "zh": "批标准化更好。"},
    "statements": ["S17"],
    "looks": [5, 8],
    "conditions": [{"metric": "test_accuracy", "arms": ["batch", "none"], "above": 0.01}],
    "scales": {"quick": {"seeds": 5, "minutes": 1, "parts": {"main": {"words": {"norm": ["batch", "none"]}}}}},
}
EQUAL = {"metric": "test_loss", "arms": ["batch", "none"], "within": 0.1}


def asked(tmp_path: Path, content: Any, seeds: int = 5, points: float = 0.03) -> Asked:
    """Return a study whose runs are written by hand: batch is better by some points."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    study = read_study(path)
    folder = tmp_path / main_sweep(study.file.scales["quick"].parts["main"], range(seeds), None).name

    def run(at: Place) -> Written:
        return rising(0.9, test=0.9 + (points + NOISE[at.seed] if at.norm == "batch" else 0.0))

    if not folder.exists():
        write_judged(folder, run, seeds=range(8))
    return Asked(study, "quick", seeds, tmp_path)


def changed(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CONTENT), **more}


def test_all_that_scripts_rely_on_is_there(tmp_path: Path):
    verdict = judge_study(asked(tmp_path, CONTENT))
    keys = {"study", "claim", "statement", "verdict", "effect", "low", "high", "unit", "n", "sesoi", "criterion"}
    assert keys | {"stress", "seconds"} <= verdict.keys()
    assert (verdict["study"], verdict["statement"], verdict["verdict"]) == ("mine", "S17", "supported")
    assert verdict["effect"] == pytest.approx(0.03 + sum(NOISE[:5]) / 5)
    assert verdict["n"] == 5
    json.dumps(verdict, allow_nan=False)


@pytest.mark.slow
def test_a_claim_is_supported_where_all_conditions_are_and_refuted_where_one_is(tmp_path: Path):
    conditions = CONTENT["conditions"]
    both = judge_study(asked(tmp_path / "a", changed(conditions=[*conditions, EQUAL])))
    assert both["verdict"] == "supported"
    farther = {**conditions[0], "above": 0.1}
    one_is_not = judge_study(asked(tmp_path / "b", changed(conditions=[*conditions, farther])))
    assert one_is_not["verdict"] == "refuted"
    near = {**conditions[0], "above": 0.03}
    undecided = judge_study(asked(tmp_path / "c", changed(conditions=[*conditions, near])))
    assert undecided["verdict"] == "inconclusive"
    assert undecided["holm_p"] is None
    besides = judge_study(asked(tmp_path / "d", changed(also=[farther])))
    assert besides["verdict"] == "supported"
    assert besides["also"][0]["verdict"] == "refuted"


def test_a_check_that_does_not_hold_leaves_the_verdict_open(tmp_path: Path):
    conditions = CONTENT["conditions"]
    holds = judge_study(asked(tmp_path / "a", changed(checks=[EQUAL])))
    assert (holds["verdict"], holds["checks"][0]["verdict"]) == ("supported", "supported")
    fails = judge_study(
        asked(tmp_path / "b", changed(checks=[{**conditions[0], "above": 0.1, "says": "Check: it is."}]))
    )
    assert fails["verdict"] == "inconclusive"
    assert fails["reason"] == "The experiment is no test of the claim, since a check is refuted: it is."
    assert fails["holm_p"] is None
    assert fails["stress"]["of"] == 0
    assert "Checked first: test_accuracy above 0.1." in fails["criterion"]


def test_the_rule_that_is_shown_has_the_bounds_in_the_units_of_the_effects(tmp_path: Path):
    small = {"metric": "test_accuracy", "arm": "batch", "below": 0.5}
    found = judge_study(asked(tmp_path / "a", changed(checks=[small])))
    assert found["criterion"].startswith("test_accuracy above 0.01. Supported if")  # as scripts know it
    assert found["rule"].startswith("test_accuracy above 1 point. Supported if")
    assert found["criterion"].replace("above 0.01", "above 1 point").replace("below 0.5", "below 50%") == found["rule"]
    assert found["checks"][0]["reason"] == "The interval does not lie below 50%, not even in part."
    once = judge_study(asked(tmp_path / "b", changed(looks=[5])))
    assert once["rule"].endswith("1 planned look and later ones share an error of 4%.")


def test_the_effect_is_that_of_the_condition_that_decides(tmp_path: Path):
    equal = {"metric": "test_loss", "arms": ["batch", "none"], "above": 0.1}  # they are equal: refuted
    found = judge_study(asked(tmp_path / "a", changed(conditions=[*CONTENT["conditions"], equal])))
    assert (found["verdict"], found["decisive"], found["effect"]) == ("refuted", 1, 0.0)


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).mkdir()


@pytest.mark.slow
def test_conditions_share_the_error_where_one_of_them_refutes(tmp_path: Path):
    """All that support a claim need not share: the false one alone would have to err."""
    condition = CONTENT["conditions"][0]
    one = judge_study(asked(tmp_path / "a", CONTENT))
    two = judge_study(asked(tmp_path / "b", changed(conditions=[condition, EQUAL])))
    assert (two["verdict"], two["low"]) == ("supported", one["low"])
    farther = {**condition, "above": 0.1}
    refuted = judge_study(asked(tmp_path / "c", changed(conditions=[farther])))
    by_any = judge_study(asked(tmp_path / "d", changed(conditions=[farther, EQUAL])))
    assert refuted["verdict"] == by_any["verdict"] == "refuted"
    assert by_any["high"] > refuted["high"]


def test_a_changed_criterion_is_said_aloud_and_other_words_are_not(tmp_path: Path):
    first = asked(tmp_path, CONTENT)
    write_verdict(first, judge_study(first))
    words = asked(tmp_path, changed(claim="In other words."))
    found = judge_study(words)
    assert found["changed"] == ""
    assert [entry["sha256"] for entry in found["history"]] == [first.study.sha256, words.study.sha256]
    write_verdict(words, found)
    lower = asked(tmp_path, changed(conditions=[{**CONTENT["conditions"][0], "above": 0.001}]))
    found = judge_study(lower)
    assert "The criterion was changed after runs had been judged by another one (supported" in found["changed"]
    write_verdict(lower, found)
    assert judge_study(lower)["changed"]  # for good


def test_a_criterion_that_is_changed_while_runs_are_in_training_is_said_aloud_too(tmp_path: Path):
    first = asked(tmp_path, CONTENT)
    note_begin(first)
    assert judge_study(first)["changed"] == ""
    lower = asked(tmp_path, changed(conditions=[{**CONTENT["conditions"][0], "above": 0.001}]))
    assert "changed after runs had been begun" in judge_study(lower)["changed"]


def test_the_same_verdict_again_is_no_new_entry_of_its_history(tmp_path: Path):
    one = asked(tmp_path, CONTENT)
    write_verdict(one, judge_study(one))
    assert len(judge_study(one)["history"]) == 1
    write_verdict(one, judge_study(one))
    more = asked(tmp_path, CONTENT, seeds=8)
    assert [entry["n"] for entry in judge_study(more)["history"]] == [5, 8]


@pytest.mark.parametrize("damaged", ['{"history": [1]}', '{"history": {}}', "[]", '{"history": [{"n"'])
def test_a_damaged_verdict_is_set_aside_and_said_aloud(tmp_path: Path, damaged: str):
    one = asked(tmp_path, CONTENT)
    write_verdict(one, judge_study(one))
    assert read_verdict(one.path) is not None
    one.path.write_text(damaged)
    assert read_verdict(one.path) is None
    found = judge_study(one)
    assert "could not be read; it is mine-quick.damaged now" in found["changed"]
    assert (len(found["history"]), (one.path.with_suffix(".damaged")).read_text()) == (1, damaged)


def test_a_side_question_that_cannot_be_read_leaves_the_verdict_alone(tmp_path: Path):
    besides = {"metric": "gradient_norm/hidden1", "arm": "batch", "above": 1}
    found = judge_study(asked(tmp_path, changed(also=[besides])))
    assert found["verdict"] == "supported"
    assert (found["also"][0]["verdict"], found["also"][0]["effect"]) == ("inconclusive", None)
    assert "has no diagnostic gradient_norm" in found["also"][0]["reason"]
    assert found["also"][0]["says"] == {"en": "The gradient_norm/hidden1 of batch is above 1.", "zh": ""}
    json.dumps(found, allow_nan=False)


def test_no_verdict_takes_fewer_seeds_than_one_before_by_the_same_criterion(tmp_path: Path):
    more = asked(tmp_path, CONTENT, seeds=8)
    write_verdict(more, judge_study(more))
    assert seeds_judged(asked(tmp_path, CONTENT)) == 8
    assert seeds_judged(asked(tmp_path, changed(conditions=[{**CONTENT["conditions"][0], "above": 0.001}]))) == 0


def test_the_verdict_on_another_file_of_the_same_name_is_not_replaced(tmp_path: Path):
    one = asked(tmp_path, CONTENT)
    write_verdict(one, judge_study(one))
    (tmp_path / "a" / "mine.yaml").write_text(one.study.path.read_text("utf-8"), "utf-8")
    other = Asked(read_study(tmp_path / "a" / "mine.yaml"), "quick", 5, tmp_path)
    with pytest.raises(StudyError, match="holds the verdict on another file"):
        seeds_judged(other)


def test_seeds_that_decide_are_none_of_those_that_tune(tmp_path: Path):
    with pytest.raises(ConfigError, match="where the seeds of tuning begin"):
        asked(tmp_path, CONTENT, seeds=1001)


def test_missing_runs_are_told_with_the_command_that_trains_them(tmp_path: Path):
    one = asked(tmp_path, CONTENT)
    (tmp_path / next(path.name for path in tmp_path.glob("study-*"))).rename(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match="Run bnlab study mine"):
        judge_study(one)


def test_shares_of_looks_add_up_to_at_most_one():
    planned = [5, 10, 20]
    made = [5, 10, 20, 25, 30, 11, 40]
    shares = [1 / looks_to_share(planned, made[:place], n) for place, n in enumerate(made)]
    assert sum(shares) < 1
    assert shares[0] == shares[2] == 1 / 4
    assert shares[3] == 1 / 8
    assert looks_to_share(planned, made, 25) == 8  # the same look again costs nothing


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_looking_until_decided_and_beyond_keeps_the_error_rate(draw: str):
    rng = np.random.default_rng(7)
    values_RS = rng.normal(size=(4000, 60)) if draw == "normal" else rng.exponential(size=(4000, 60)) - 1
    wrong_R = np.zeros(len(values_RS), dtype=bool)
    made: list[int] = []
    for n in (5, 10, 20, 25, 30, 40, 50, 60):  # three planned, five more since nothing was decided
        wrong_R |= words_of(values_RS[:, :n], 0.0, looks_to_share([5, 10, 20], made, n)) != 0
        made.append(n)
    assert wrong_R.mean() <= 0.05 + 2 * (0.05 * 0.95 / len(wrong_R)) ** 0.5


def under_another_name(tmp_path: Path, content: Any, made: str = "2000-01-01T00:00:00+00:00") -> Asked:
    """Return a study with runs that a study in mine.yaml judges too, and that it has judged already, then."""
    first = asked(tmp_path, CONTENT)
    verdict = judge_study(first)
    verdict["history"][0]["made"] = made
    write_verdict(first, verdict)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Asked(read_study(path), "quick", 5, tmp_path)


def sentences_on_criteria(verdict: dict[str, Any]) -> list[str]:
    return [one for each in verdict["conditions"] for one in each["sentences"] if "another criterion" in one]


def test_a_copy_with_another_bound_is_told_of_the_verdict_on_the_same_runs(tmp_path: Path):
    lower = {**CONTENT["conditions"][0], "above": 0.001}
    copied = judge_study(under_another_name(tmp_path, changed(conditions=[EQUAL, lower])))
    told = "The same runs were judged by another criterion in mine (batch, none above 1 point: supported)."
    assert sentences_on_criteria(copied) == [told]
    assert told in copied["conditions"][1]["sentences"]
    assert copied["changed"] == ""
    turned = {**CONTENT["conditions"][0], "arms": ["none", "batch"]}
    assert sentences_on_criteria(judge_study(under_another_name(tmp_path, changed(conditions=[turned])))) == [told]


@pytest.mark.parametrize(
    "conditions",
    [
        CONTENT["conditions"],
        [EQUAL],  # another question
        [{"metric": "test_accuracy", "arm": "batch", "above": 0.5}],
    ],
)
def test_studies_that_share_runs_and_no_question_are_told_nothing(tmp_path: Path, conditions: list[Any]):
    assert sentences_on_criteria(judge_study(under_another_name(tmp_path, changed(conditions=conditions)))) == []


def test_a_copy_with_seeds_of_its_own_is_told_nothing(tmp_path: Path):
    lower = {**CONTENT["conditions"][0], "above": 0.001}
    copied = under_another_name(tmp_path, changed(conditions=[lower]))
    (path,) = (tmp_path / "studies").glob("mine*.json")
    judged = json.loads(path.read_text())
    for condition in judged["conditions"]:
        condition["seeds"] = [seed + 400 for seed in condition["seeds"]]
    path.write_text(json.dumps(judged))
    assert sentences_on_criteria(judge_study(copied)) == []


def test_the_study_that_was_there_first_is_told_nothing(tmp_path: Path):
    lower = {**CONTENT["conditions"][0], "above": 0.001}
    copied = under_another_name(tmp_path, changed(conditions=[lower]), made="2999-01-01T00:00:00+00:00")
    assert sentences_on_criteria(judge_study(copied)) == []


@pytest.mark.parametrize(
    "other", ["[", '{"history": []}', '{"history": [{}], "conditions": [1, {}], "parts": {"main": 2}, "study": "x"}']
)
def test_a_damaged_verdict_of_another_study_is_passed_over(tmp_path: Path, other: str):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "other-quick.json").write_text(other)
    assert judge_study(asked(tmp_path, CONTENT))["verdict"] == "supported"
