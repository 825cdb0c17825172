"""The steps at which diagnostics look."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlab.diagnostics.schedule import measured_steps
from bnlab.schema import MeasureScheduleConfig


def steps(num_steps, *, log_spaced=0, evenly=0, every=None, at=()):
    config = MeasureScheduleConfig(log_spaced=log_spaced, evenly=evenly, every=every, at=list(at))
    return sorted(measured_steps(config, num_steps))


def test_first_and_last_are_measured_even_if_nothing_is_asked_for():
    assert steps(100) == [0, 100]


@settings(max_examples=200, deadline=None, database=None)
@given(
    num_steps=st.integers(1, 5000),
    log_spaced=st.integers(0, 60),
    evenly=st.integers(0, 60),
    every=st.one_of(st.none(), st.integers(1, 6000)),
    at=st.lists(st.integers(0, 6000), max_size=5),
)
def test_steps_are_whole_within_the_run_and_hold_both_ends_and_all_that_was_asked_for(
    num_steps, log_spaced, evenly, every, at
):
    measured = steps(num_steps, log_spaced=log_spaced, evenly=evenly, every=every, at=at)
    assert measured[0] == 0
    assert measured[-1] == num_steps
    assert all(type(step) is int for step in measured)
    assert set(measured) >= {step for step in at if step <= num_steps}
    assert set(measured) >= set(range(0, num_steps, every) if every else ())
    bound = 2 + log_spaced + evenly + len(at) + (num_steps // every + 1 if every else 0)
    assert len(measured) <= bound


def test_steps_by_name_are_measured():
    assert steps(100, at=[7, 3, 7]) == [0, 3, 7, 100]


def test_a_step_after_the_end_is_left_out():
    assert steps(10, at=[11, 5]) == [0, 5, 10]


@pytest.mark.parametrize(
    ("num_steps", "every", "expected"),
    [(10, 4, [0, 4, 8, 10]), (8, 4, [0, 4, 8]), (3, 10, [0, 3]), (3, 1, [0, 1, 2, 3])],
)
def test_every_so_many_steps_counts_from_0(num_steps, every, expected):
    assert steps(num_steps, every=every) == expected


def test_log_spaced_steps_grow_by_a_factor():
    assert steps(1000, log_spaced=4) == [0, 1, 10, 100, 1000]


def test_evenly_spaced_steps_have_equal_gaps():
    assert steps(1000, evenly=4) == [0, 250, 500, 750, 1000]


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_asking_for_more_points_than_steps_measures_every_step_once(num_steps):
    everything = list(range(num_steps + 1))
    assert steps(num_steps, evenly=200) == everything
    assert steps(num_steps, log_spaced=200) == everything


def test_one_point_is_the_first_step():
    assert steps(50, log_spaced=1) == [0, 1, 50]
    assert steps(50, evenly=1) == [0, 50]
