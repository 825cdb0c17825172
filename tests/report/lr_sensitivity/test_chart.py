from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.report.lr_sensitivity.chart import AXIS, HEIGHT, draw_chart
from bnlab.report.lr_sensitivity.summary import SweepSensitivity, read_sensitivity
from bnlab.stats.response import Metric

ENDS = {"batch": [0.3, 0.9, 0.9, 0.5], "none": [0.6, 0.6, 0.3, 0.1]}
LRS = (0.01, 0.1, 1.0, 10.0)


def outcome(norm: str, lr: float, _: int) -> dict[str, Any]:
    if norm == "none" and lr == 10:
        return {"status": "diverged"}
    accuracy = ENDS[norm][LRS.index(lr)]
    return {"accuracy": accuracy, "loss": 1 - accuracy}


@pytest.fixture
def found(tmp_path: Path) -> SweepSensitivity:
    return read_sensitivity(write_runs(tmp_path, outcome))


def lines_of(found: SweepSensitivity, metric: Metric = "accuracy", **options: Any) -> list[str]:
    chart = draw_chart(found, metric, **options)
    assert chart is not None
    return chart.plain.splitlines()


def test_each_point_stands_where_its_accuracy_and_its_learning_rate_are(found: SweepSensitivity) -> None:
    title, *plot = lines_of(found)[: HEIGHT + 1]
    assert title.startswith("validation accuracy")
    columns = [i for i, c in enumerate(lines_of(found)[HEIGHT + 1]) if c == "+"][1:]
    assert len(columns) == 4
    for letter, norm in (("b", "batch"), ("n", "none")):
        for column, accuracy, lr in zip(columns, ENDS[norm], LRS, strict=True):
            sign = "x" if (norm, lr) == ("none", 10.0) else letter
            (row,) = [i for i, line in enumerate(plot) if len(line) > column and line[column] == sign]
            assert 1 - (row + 0.5) / HEIGHT == pytest.approx(accuracy, abs=0.6 / HEIGHT)


def test_the_learning_rates_stand_below_their_points(found: SweepSensitivity) -> None:
    ruler, numbers = lines_of(found)[HEIGHT + 1 : HEIGHT + 3]
    for lr, column in zip(LRS, [i for i, c in enumerate(ruler) if c == "+"][1:], strict=True):
        assert f"{lr:g}" in numbers[column - 2 : column + 4]


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120, 300])
@pytest.mark.parametrize("metric", ["loss", "accuracy"])
@pytest.mark.parametrize("in_braille", [True, False])
def test_it_fits_into_the_window(found: SweepSensitivity, metric: Metric, width: int, in_braille: bool) -> None:
    lines = lines_of(found, metric, width=width, in_braille=in_braille)
    assert max(map(len, (line.rstrip() for line in lines[1:]))) <= max(width, 40)
    assert in_braille or "".join(lines).isascii()


def test_where_arms_meet_the_sign_says_several(tmp_path: Path) -> None:
    found = read_sensitivity(write_runs(tmp_path, lambda *_: {}))
    plot = "\n".join(lines_of(found)[1 : HEIGHT + 1])
    assert plot.count("*") == 4
    assert "b" not in plot


def test_each_arm_has_a_letter_of_its_own_and_none_has_that_of_diverged(tmp_path: Path) -> None:
    norms = ("batch", "batch_torch", "x", "ba", "none")
    found = read_sensitivity(write_runs(tmp_path, lambda *_: {}, norms=norms))
    legend = " ".join(lines_of(found)[HEIGHT + 3 :]).split()
    letters = [legend[legend.index(norm) - 1] for norm in norms]
    assert len(set(letters)) == 5
    assert "x" not in letters


def test_a_loss_that_is_zero_or_the_same_everywhere_can_be_drawn(tmp_path: Path) -> None:
    for number, loss in enumerate((0.0, 2.3, 1.0)):
        folder = write_runs(tmp_path / str(number), lambda *_, loss=loss: {"loss": loss})
        assert len(lines_of(read_sensitivity(folder), "loss")) == HEIGHT + 4


def test_the_axis_has_room_for_any_loss(tmp_path: Path) -> None:
    tiny = read_sensitivity(write_runs(tmp_path, lambda _, lr, __: {"loss": lr * 1.2345e-9, "start_loss": 4321.0}))
    assert {line[AXIS - 1] for line in lines_of(tiny, "loss")[1 : HEIGHT + 1]} == {"|"}


def test_where_no_arm_has_a_curve_there_is_no_chart(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda _, lr, __: {"status": "failed"} if lr == 1 else {})
    assert draw_chart(read_sensitivity(folder), "loss") is None
