import math

import pytest

from bnlab.training.divergence import DivergenceWatch


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_divergence_at_that_step(loss: float) -> None:
    assert DivergenceWatch(3.0, 100).see([2.0, 1.0, loss, 1.0]) == 3


def test_a_loss_above_three_times_its_start_for_a_hundred_steps_is_divergence_at_the_hundredth() -> None:
    watch = DivergenceWatch(3.0, 100)
    assert watch.see([1.0, *[3.1] * 99]) is None
    assert watch.see([3.1, 0.1]) == 101


def test_one_step_below_begins_the_count_anew() -> None:
    watch = DivergenceWatch(3.0, 100)
    assert watch.see([1.0, *[3.1] * 99, 3.0, *[3.1] * 99]) is None


def test_the_count_goes_on_from_one_reading_to_the_next() -> None:
    watch = DivergenceWatch(2.0, 5)
    assert [watch.see([loss]) for loss in [1.0, 3.0, 3.0, 3.0, 3.0, 3.0]] == [None] * 5 + [6]
