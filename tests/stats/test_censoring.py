import pytest
from folded import folded
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlab.errors import StudyError
from bnlab.stats.censoring import Bounded, bounded_mean, combined, opposite
from bnlab.stats.estimate import mean_over_seeds

SIDES = ["exact", "at_least", "at_most", "unknown"]


def test_figures_that_are_exact_have_the_mean_and_its_interval() -> None:
    plain = mean_over_seeds([1.0, 2.0, 4.0])
    assert bounded_mean([1.0, 2.0, 4.0], ["exact"] * 3) == Bounded(plain.value, plain.low, plain.high, 3, "exact")


def test_a_bound_leaves_the_side_open_on_which_the_truth_may_lie() -> None:
    plain = mean_over_seeds([1.0, 2.0, 4.0])
    assert bounded_mean([1.0, 2.0, 4.0], ["exact", "exact", "at_least"]) == Bounded(
        plain.value, plain.low, None, 3, "at_least"
    )
    assert bounded_mean([1.0, 2.0, 4.0], ["at_most", "exact", "exact"]) == Bounded(
        plain.value, None, plain.high, 3, "at_most"
    )


@pytest.mark.parametrize("sides", [["at_least", "at_most"], ["exact", "unknown"], ["unknown", "at_least"]])
def test_bounds_that_point_both_ways_tell_nothing(sides: list[str]) -> None:
    assert bounded_mean([1.0, 2.0], sides) == Bounded(None, None, None, 2, "unknown")  # type: ignore[arg-type]


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=10),
    st.floats(0, 10),
)
def test_a_lower_bound_holds_for_whatever_lies_beyond_the_edge(pairs: list[tuple[float, float]], edge: float) -> None:
    truth = [value + excess if value >= edge else value for value, excess in pairs]
    seen = [min(value, edge) for value in truth]
    sides = ["at_least" if value >= edge else "exact" for value in truth]
    found = bounded_mean(seen, sides)  # type: ignore[arg-type]
    assert found.value is not None
    assert found.value <= mean_over_seeds(truth).value + 1e-9
    assert found.high is None or "at_least" not in sides


@folded("first", SIDES)
@folded("second", SIDES)
def test_a_difference_is_bounded_as_its_parts_are(first: str, second: str) -> None:
    # -1, 0, 1: which ways the truth can lie from what was seen
    ways = {"exact": {0}, "at_least": {0, 1}, "at_most": {0, -1}, "unknown": {-1, 0, 1}}
    possible = {a - b for a in ways[first] for b in ways[second]}
    side = combined(first, opposite(second))  # type: ignore[arg-type]
    assert any(w > 0 for w in possible) == (side in {"at_least", "unknown"})
    assert any(w < 0 for w in possible) == (side in {"at_most", "unknown"})


def test_the_mean_of_seeds_one_of_which_is_unknown_is_unknown() -> None:
    assert bounded_mean([1.0, None, 3.0], ["exact", "unknown", "at_least"]) == Bounded(None, None, None, 3, "unknown")
    with pytest.raises(StudyError, match="None needs the side unknown"):
        bounded_mean([1.0, None], ["exact", "at_most"])


def test_a_value_without_a_side_is_refused() -> None:
    with pytest.raises(StudyError, match="2 values, 1 sides"):
        bounded_mean([1.0, 2.0], ["exact"])
