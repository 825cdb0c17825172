"""Tests of cases that are folded into one test."""

import pytest

TESTS = """
import pytest
import torch
from folded import folded

@pytest.fixture
def three():
    return 3

@pytest.mark.parametrize("outer", ["a", "b"])
@folded("n", [1, 2, 3, 4])
@folded(("flag", "kind"), [(True, int), (False, float)])
def test_it(outer, n, flag, kind, three):
    assert outer == "a" or n < three or flag

@folded("n", [])
def test_nothing(n):
    pass

@folded("n", [1, 2])
def test_same_numbers(n):
    assert torch.rand(()).item() == pytest.approx(0.4963, abs=1e-3)

@folded("n", range(30))
def test_many(n):
    assert n < 0

@folded("n", [1, 2])
def test_raising(n):
    with pytest.raises(ValueError):
        int("x" if n == 2 else "0")

@folded("n", [1, 2])
def test_skipping(n):
    if n == 2:
        pytest.skip("why")
"""


def test_all_cases_are_run_and_those_that_fail_are_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    outcome = pytester.runpytest("-p", "no:cacheprovider", "-p", "no:xdist")
    outcome.assert_outcomes(passed=2, failed=5)
    text = outcome.stdout.str()
    assert "test_it[b]" in text
    assert "assert ('b' == 'a'" in text  # pytest's own words for what did not hold
    assert "there are no cases of n" in text
    lines = [line.removeprefix("E").strip() for line in text.splitlines()]
    for failed, named in (
        ("1 of 2", ["flag=False, kind=float"]),
        ("2 of 4", ["n=3", "n=4"]),
        ("30 of 30", [*(f"n={n}" for n in range(20)), "and 10 more"]),
        ("1 of 2", ["n=1"]),  # did not raise
        ("1 of 2", ["n=2"]),  # was skipped
    ):
        told = [f"{failed} cases failed; the error is the first one's:", *named]
        assert any(lines[at : at + len(told)] == told for at in range(len(lines))), told
    assert "AssertionError: a case cannot be skipped alone: why" in lines
