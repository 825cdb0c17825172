import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlab.errors import StudyError
from bnlab.stats.sign_flip import least_p, sign_flip_p


def exact(steps: list[int]) -> float:
    """Return p by whole numbers, where a tie is a tie."""
    sums = [
        abs(sum(s * d for s, d in zip(signs, steps, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(steps))
    ]
    return sum(each >= abs(sum(steps)) for each in sums) / len(sums)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=8))
def test_of_accuracies_on_a_grid_it_is_that_of_the_whole_numbers(steps: list[int]):
    assert sign_flip_p([step / 500 for step in steps]) == exact(steps)
    assert sign_flip_p([0.9 + step / 500 - 0.9 for step in steps]) == exact(steps)  # rounded in the last digits


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_the_sign_of_all_differences_does_not_matter(differences: list[float]):
    assert sign_flip_p(differences) == sign_flip_p([-each for each in differences])


def test_its_least_value_is_2_in_2_to_the_n():
    assert sign_flip_p([1, 2, 3, 4, 5]) == 2 / 2**5
    assert sign_flip_p([1.0] * 20) == 2 / 2**20
    assert sign_flip_p([1e308, 1e308, 1e308]) == 0.25


@pytest.mark.parametrize("n", range(1, 9))
def test_the_least_value_that_is_told_is_that_of_equal_signs(n: int):
    steps = [3**place for place in range(n)]  # no two sums are equal, so that nothing ties
    assert least_p(n) == exact(steps) == sign_flip_p(steps)


def test_above_20_it_has_no_exact_value():
    assert sign_flip_p([0.1] * 21) is None


@pytest.mark.parametrize("wrong", [[], [float("nan")], [float("inf"), 1.0]])
def test_it_needs_finite_differences(wrong: list[float]):
    with pytest.raises(StudyError, match="1 or more finite differences"):
        sign_flip_p(wrong)
