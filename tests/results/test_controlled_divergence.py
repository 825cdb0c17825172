"""Controlled divergence: logits that grow at least in proportion to time, while the accuracy is kept."""

import math

import pytest

from bnlab.results.controlled_divergence import logit_growth

STEPS = (0, 100, 200, 300, 400)


def records(scales, accuracies=(0.1, 0.8, 0.9, 0.9, 0.9), losses=(2.3, 1.0, 0.5, 0.9, 1.8)):
    for step, scale, accuracy, loss in zip(STEPS, scales, accuracies, losses, strict=True):
        yield {"kind": "eval", "step": step, "split": "validation", "values": {"accuracy": accuracy, "loss": loss}}
        values = {"network/scale": scale, "network/growth": None if scale is None else scale / scales[0]}
        yield {"kind": "diagnostic", "step": step, "name": "logit_scale", "values": values}


def test_logits_that_grow_in_proportion_to_time_diverge_in_control():
    growth = logit_growth(records([1, 10, 20, 30, 40]))
    assert (growth.steps, growth.accuracies, growth.factor) == ((200, 400), (0.9, 0.9), 2)
    assert growth.is_controlled_divergence
    assert not logit_growth(records([1, 10, 20, 30, 39])).is_controlled_divergence


def test_logits_that_grow_with_the_logarithm_of_time_do_not():
    assert not logit_growth(records([math.log(2 + step) for step in STEPS])).is_controlled_divergence


@pytest.mark.parametrize(
    "worse",
    [
        {"accuracies": (0.1, 0.8, 0.9, 0.85, 0.84)},
        {"losses": (2.3, 1.0, 0.5, 2.0, 2.4)},
    ],
    ids=["accuracy is lost", "the loss ends above its start"],
)
def test_a_run_that_gets_worse_does_not(worse):
    scales = [1, 10, 20, 50, 100]
    assert logit_growth(records(scales)).is_controlled_divergence
    assert not logit_growth(records(scales, **worse)).is_controlled_divergence


def test_the_sentence_says_what_was_seen():
    assert logit_growth(records([1, 10, 20, 50, 100])).sentence == (
        "Controlled divergence: the logits grew 5 times from step 200 to 400, in proportion to time or faster, while "
        "the validation accuracy went from 90.0% to 90.0%. Compare accuracies, not losses."
    )


@pytest.mark.parametrize("scales", [[None] * 5, [1, None, None, 2, 3]])
def test_records_that_do_not_tell_are_no_verdict(scales):
    assert logit_growth(records(scales)) is None
    assert logit_growth([]) is None
