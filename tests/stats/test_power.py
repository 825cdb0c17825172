from typing import Any

import numpy as np
import pytest

from bnlab.errors import StudyError
from bnlab.stats import power
from bnlab.stats.power import seeds_needed
from bnlab.stats.verdict import words_of

PILOT = [0.012, 0.02, 0.005, 0.018, 0.01]


@pytest.mark.slow
@pytest.mark.parametrize("num_pilot", [3, 5, 10])
def test_an_effect_of_twice_the_smallest_is_found_as_often_as_planned(num_pilot: int):
    rng = np.random.default_rng(num_pilot)
    sesoi, sigma, found, num_pilots, studies = 1.0, 1.2, 0.0, 60, 400
    for _ in range(num_pilots):
        pilot = rng.normal(0.3, sigma, num_pilot)  # whatever its mean: only the spread counts
        seeds = seeds_needed(pilot.tolist(), sesoi=sesoi).seeds or 1000
        found += float(np.mean(words_of(rng.normal(2 * sesoi, sigma, (studies, seeds)), sesoi) > 0))
    assert found / num_pilots >= 0.8


def test_one_seed_less_would_not_do(monkeypatch: pytest.MonkeyPatch):
    asked: dict[int, float] = {}
    chance = power._chance

    def noting(n: int, *others: Any) -> float:
        asked[n] = chance(n, *others)
        return asked[n]

    monkeypatch.setattr(power, "_chance", noting)
    found = seeds_needed(PILOT, sesoi=0.01)
    assert found.seeds is not None
    assert found.power == asked[found.seeds] >= 0.8
    assert asked[found.seeds - 1] < 0.8


def test_more_looks_and_a_smaller_effect_need_more_seeds():
    plain = seeds_needed(PILOT, sesoi=0.01, effect=0.03).seeds or 0
    assert (seeds_needed(PILOT, sesoi=0.01, effect=0.03, looks=5).seeds or 0) > plain
    assert (seeds_needed(PILOT, sesoi=0.01, effect=0.02).seeds or 0) > plain


def test_a_pilot_without_spread_needs_the_least_that_gives_a_verdict():
    assert seeds_needed([0.1, 0.1, 0.1], sesoi=0.01).seeds == 3


@pytest.mark.slow
def test_what_a_thousand_seeds_cannot_find_has_no_answer():
    found = seeds_needed([1.0, -1.0, 0.5, -0.5], sesoi=0.001)
    assert found.seeds is None
    assert found.power < 0.2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"differences": [0.1, 0.2]}, "3 or more finite differences"),
        ({"power": 1.0}, "power must be above 0 and below 1, got 1.0"),
        ({"effect": 0.01}, "must be above the smallest one of interest, 0.01, and finite, got 0.01"),
        ({"effect": float("inf")}, "must be above the smallest one of interest, 0.01, and finite, got inf"),
        ({"sesoi": 0.0}, "must be above the smallest one of interest, 0, and finite, got 0"),
    ],
)
def test_it_names_the_argument_that_is_wrong(wrong: dict[str, object], words: str):
    arguments = {"differences": PILOT, "sesoi": 0.01, **wrong}
    with pytest.raises(StudyError, match=words):
        seeds_needed(arguments.pop("differences"), **arguments)  # type: ignore[arg-type]
