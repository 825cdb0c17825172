import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_runs import Setting

from bnlab.errors import ConfigError, StudyError
from bnlab.studies.tunability import read_tunability

Write = Callable[..., Path]


def accuracy(at: Setting) -> float:
    """batch is good from a rate of 0.1 on, none at 0.1 with weight decay alone, layer at 0.01 without it alone."""
    noise = (0.0, 0.002, -0.002)[at.seed]
    if at.norm == "batch":
        return (0.92 if at.lr >= 0.1 else 0.90) + noise
    good = (0.1, 0.01) if at.norm == "none" else (0.01, 0.0)
    return (0.92 if (at.lr, at.decay) == good else 0.4) + noise


@pytest.fixture
def grid(tmp_path: Path, write_settings: Write) -> Path:
    return write_settings(tmp_path / "runs" / "grid", accuracy, ("batch", "none", "layer"))


def test_an_arm_that_needs_no_tuning_is_told_from_those_that_do(grid: Path):
    found = read_tunability(grid)
    assert found.tuned == ("optim.lr", "optim.weight_decay")
    batch, none, layer = found.arms
    assert [arm.label for arm in found.arms] == ["batch", "none", "layer"]
    assert (batch.num_settings, batch.seeds) == (6, (0, 1, 2))
    assert none.by_budget[1].value == pytest.approx((5 * 0.4 + 0.92) / 6)
    assert none.by_budget[6].value == pytest.approx(0.92)
    assert (batch.budget, none.budget) == (1, 6)
    assert none.best == ("0.1", "0.01")
    assert [arm.dimension and arm.dimension.number for arm in found.arms] == [
        0,
        0,
        2,
    ]  # the default is what is best for most of them
    assert layer.dimension is not None
    assert layer.dimension.names == ("optim.lr", "optim.weight_decay")


def test_a_default_is_the_same_for_all_arms(grid: Path):
    found = read_tunability(grid)
    assert {arm.dimension.default for arm in found.arms if arm.dimension} == {("0.1", "0.01")}
    assert "optim.lr=0.1, optim.weight_decay=0.01" in found.sentences[-1]


def test_a_setting_without_one_of_its_runs_is_left_out_and_said(tmp_path: Path, write_settings: Write):
    gone = Setting("batch", 1.0, 0.0, 2)
    folder = write_settings(tmp_path / "g", lambda at: None if at == gone else 0.9, ("batch", "none"))
    found = read_tunability(folder)
    assert found.arms[0].num_settings == 5
    assert found.sentences[0] == "batch: 1 of 6 settings lack a run, and are left out."


def test_what_is_not_swept_cannot_be_tuned(grid: Path):
    with pytest.raises(ConfigError, match=r"--over weight_decay is not swept in .* Did you mean optim.weight_decay"):
        read_tunability(grid, ["weight_decay"])
    assert read_tunability(grid, ["optim.weight_decay"]).tuned == ("optim.lr", "optim.weight_decay")


def test_an_arm_that_learns_nothing_does_not_hide_the_others(tmp_path: Path, write_settings: Write):
    folder = write_settings(tmp_path / "g", lambda at: 0.1 if at.norm == "none" else 0.9, ("batch", "none"))
    found = read_tunability(folder)
    assert [arm.dimension is None for arm in found.arms] == [False, True]
    assert "none: no setting ends better than the start, so that there is nothing to tune." in found.sentences


def test_too_few_settings_are_said(tmp_path: Path, write_settings: Write):
    folder = write_settings(tmp_path / "g", lambda at: 0.9 if at.decay == 0.0 else None, ("batch", "none"))
    with pytest.raises(StudyError, match="batch has 3 settings with an outcome for each of its seeds: 4 or more"):
        read_tunability(folder)


@pytest.mark.usefixtures("grid")
def test_the_command_prints_a_table_and_json(bnlab_says: Callable[..., Any]):
    answer = bnlab_says("tunability", "grid")
    assert answer.status == 0
    text = " ".join(answer.out.split())
    assert "0: nothing" in text
    assert "within 1 point of trying all" in text
    found = json.loads(bnlab_says("tunability", "grid", "--json").out)
    assert [arm["dimension"]["number"] for arm in found["arms"]] == [0, 0, 2]
    assert found["arms"][2]["dimension"]["names"] == ["optim.lr", "optim.weight_decay"]
    assert np.isclose(found["arms"][0]["by_budget"]["6"]["value"], 0.92)
    assert bnlab_says("tunability", "grid", "--over", "nope").status == 2
