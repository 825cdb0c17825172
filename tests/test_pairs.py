"""A list of cases leaves out no pair, and is far shorter than the grid."""

import itertools

from pairs import every_pair

VALUES = {"norm": list("abcde"), "optim": [1, 2, 3, 4, 5], "schedule": [None, 0.5, 2.5], "clip": [True, False]}


def test_any_two_values_of_two_settings_stand_together_in_a_case() -> None:
    cases = every_pair(VALUES)
    for one, other in itertools.combinations(VALUES, 2):
        met = {(case[one], case[other]) for case in cases}
        assert met == set(itertools.product(VALUES[one], VALUES[other]))


def test_far_fewer_cases_than_a_grid_are_needed() -> None:
    assert len(every_pair(VALUES)) <= 30 < 5 * 5 * 3 * 2
