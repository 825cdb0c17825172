"""Curves over steps, drawn with characters."""

import pytest

from bnlab.report.race_chart import AXIS, RaceLine, draw_race

LINES = [RaceLine("batch", {0: 0.0, 50: 1.0, 100: 1.0}), RaceLine("none", {0: 0.0, 50: 0.0, 100: 0.5})]


def rows(**options: object) -> list[str]:
    return draw_race(LINES, 200, "accuracy", width=60, height=9, **options).plain.splitlines()  # type: ignore[arg-type]


def test_each_letter_stands_where_its_arm_is() -> None:
    drawn = rows()
    assert [row.partition("|")[0].strip() for row in drawn[:9]] == ["100%", "", "", "", "50%", "", "", "", "0%"]
    middle = AXIS + (60 - AXIS - 1) // 2
    assert abs(drawn[0].index("b") - middle) <= 1  # step 100 of 200, at 100%
    assert abs(drawn[4].index("n", AXIS) - middle) <= 1  # at 50%
    assert drawn[10].split() == ["0", "100", "200", "steps"]
    assert drawn[11].strip() == "b batch 100.0%   n none 50.0%   accuracy"


@pytest.mark.parametrize("in_braille", [True, False])
@pytest.mark.parametrize("width", [40, 60, 80])
def test_it_fits_into_the_window(width: int, in_braille: bool) -> None:
    lines = [*LINES, RaceLine("a_norm_with_a_long_name lr=0.1", {0: 0.1}), RaceLine("not begun", {})]
    drawn = draw_race(lines, 1000, "validation accuracy, mean of 3 seeds", width, 13, in_braille).plain.splitlines()
    assert max(map(len, drawn)) <= width
    assert in_braille or "".join(drawn).isascii()


def test_before_the_first_step_there_are_axes_and_names() -> None:
    drawn = draw_race([RaceLine("batch", {}), RaceLine("none", {})], 0, "", 60, 5).plain.splitlines()
    assert len(drawn) == 5 + 3
    assert drawn[-2].split() == ["0", "steps"]
    assert drawn[-1].split() == ["b", "batch", "n", "none"]
