import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_runs import Place, Written, rising, write_judged

Say = Callable[..., Any]
NOISE = (0.004, -0.003, 0.001, -0.002, 0.003, 0.0)


@pytest.fixture(autouse=True)
def _sweep(tmp_path: Path) -> None:
    def run(at: Place) -> Written:
        return rising(0.9 if at.lr == 0.1 else 0.8, test=0.9 + (0.05 + NOISE[at.seed]) * (at.norm == "batch"))

    write_judged(tmp_path / "runs" / "mine", run, lrs=(0.1, 1.0), seeds=range(6))


def test_the_card_names_claim_verdict_effect_and_what_would_change_it(bnlab_says: Say) -> None:
    answer = bnlab_says("judge", "mine", "--arms", "batch,none")
    assert (answer.status, answer.err) == (0, "")
    text = " ".join(answer.out.split())
    assert "batch has a higher test accuracy than none, by more than 1 point." in text
    assert "SUPPORTED" in text
    assert "+5.05 points [" in text
    assert "(paired Student's t and Hall, 98%), 6 pairs of runs with the same seed" in text
    assert "p of an effect of 1.00 points: 0.0312 (the smallest value that 6 seeds allow is 0.0312)" in text
    assert "batch 95.05% · none 90.00%" in text
    assert "analyses of the same runs" in text
    assert "a smallest effect of interest of" in text


def test_the_card_names_the_method_that_was_used(bnlab_says: Say) -> None:
    looks = " ".join(bnlab_says("judge", "mine", "--arms", "batch,none", "--looks", "3").out.split())
    assert "(paired Student's t and Hall, Bonferroni over 3, 99.5%)" in looks
    steps = " ".join(bnlab_says("judge", "mine", "--arms", "batch,none", "--metric", "steps_to:0.5").out.split())
    assert "(paired Student's t and Hall of logs, each end from bounds, 98%)" in steps


def test_of_networks_at_their_start_the_card_says_that_they_are_not_trained(bnlab_says: Say, tmp_path: Path) -> None:
    def run(at: Place) -> Written:
        return rising(0.9, saturation=[0.2 + NOISE[at.seed] + 0.3 * (at.norm == "none")] * 5)

    write_judged(tmp_path / "runs" / "start", run, lrs=(1e-9,))
    words = ["judge", "start", "--arms", "none,batch", "--metric", "saturation/hidden1", "--sesoi", "0.1"]
    text = " ".join(bnlab_says(*words).out.split())
    assert "last value of the run, not trained: learning rate 1e-09; exact" in text


def test_accuracy_that_is_lost_is_told_in_points(bnlab_says: Say) -> None:
    text = " ".join(bnlab_says("judge", "mine", "--arms", "batch,none", "--metric", "lr_sensitivity").out.split())
    assert "means batch 5.00 points · none 5.00 points" in text  # 90% at one rate, 80% at the other


def test_json_has_the_promised_keys_and_nothing_else_stands_there(bnlab_says: Say) -> None:
    answer = bnlab_says("judge", "mine", "--metric", "test_accuracy", "--sesoi", "0.02", "--json")
    found = json.loads(answer.out)
    assert (found["study"], found["statement"], found["verdict"], found["n"]) == ("mine", None, "supported", 6)
    assert found["low"] < found["effect"] < found["high"]
    assert found["effect"] == pytest.approx(0.0505)
    assert (found["sesoi"], found["unit"]) == (0.02, "share of images")
    assert found["stress"]["agree"] <= found["stress"]["of"]


def test_a_plan_names_the_seeds(bnlab_says: Say) -> None:
    answer = bnlab_says("power", "mine", "--effect", "0.03")
    assert answer.status == 0
    assert "for an effect of 3.00 points (chance" in " ".join(answer.out.split())
    found = json.loads(bnlab_says("power", "mine", "--effect", "0.03", "--json").out)
    assert found["planned"]["seeds"] >= 3
    assert found["planned"]["effect"] == 0.03
    assert found["seconds_per_seed"] == 8.0  # two arms, two learning rates, 2 s each


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge", "nope"], "nope is neither a folder of runs nor the name of a sweep"),
        (["judge", "mine", "--arms", "bacth,none"], "Did you mean batch?"),
        (["judge", "mine", "--arms", "batch"], "--arms takes two different arms, as batch,none, got batch"),
        (["judge", "mine", "--metric", "acuracy"], "--metric must be test_accuracy, test_loss, steps_to:0.9"),
        (["judge", "mine", "--metric", "saturation/hidden1", "--sesoi", "0"], "has no diagnostic saturation"),
        (["judge", "mine", "--less"], "--less is for diagnostics"),
        (["judge", "mine", "--sesoi", "3"], "--sesoi for test_accuracy is a share, below 1"),
        (["judge", "mine", "--sesoi", "nan"], "--sesoi for test_accuracy must be finite, 0 or more, got nan"),
        (["judge", "mine", "--looks", "0"], "--looks"),
        (["judge", "mine", "--where", "lr>5"], "no run is left. optim.lr goes from 0.1 to 1."),
        (["power", "mine", "--power", "1"], "power must be above 0 and below 1, got 1.0"),
        (
            ["power", "mine", "--effect", "0.001"],
            "--effect must be finite and above",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(bnlab_says: Say, words: list[str], message: str) -> None:
    answer = bnlab_says(*words)
    assert answer.status == 2
    assert message in answer.err
    assert answer.out == ""
    assert len(answer.err.splitlines()) <= 3


def test_a_folder_without_runs_is_said(bnlab_says: Say, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = bnlab_says("judge", str(tmp_path / "empty"))
    assert (answer.status, answer.out) == (2, "")
    assert "holds no runs that can be read" in answer.err
