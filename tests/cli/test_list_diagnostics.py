import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnlab.diagnostics.catalog import DIAGNOSTICS

Say = Callable[..., Any]


def test_the_list_says_what_there_is_in_three_forms(bnlab_says: Say) -> None:
    rows = json.loads(bnlab_says("list", "diagnostics", "--json").out)
    assert [row["name"] for row in rows] == list(DIAGNOSTICS)
    assert all(row["summary"] and row["unit"] and row["cost"] and row["sections"]["Blind spots"] for row in rows)
    lines = list(csv.DictReader(io.StringIO(bnlab_says("list", "diagnostics", "--csv").out)))
    assert [line["name"] for line in lines] == list(DIAGNOSTICS)
    assert all(line["blind_spots"] and line["unit_in_full"] for line in lines)
    assert {line["needs"] for line in lines if line["name"] == "gradient_norm"} == {"gradients"}
    table = bnlab_says("list", "diagnostics").out
    assert all(name in table for name in DIAGNOSTICS)
    assert "NAME" in table


@pytest.mark.parametrize("words", [["saturation"], ["--long"]])
def test_a_whole_card_says_how_it_is_read_and_what_fools(bnlab_says: Say, words: list[str]) -> None:
    card = bnlab_says("list", "diagnostics", *words).out
    for said in ("saturation share of activations, cost shared", "measured in many runs at once", "Blind spots"):
        assert said in " ".join(card.split())  # wrapped by the window


def test_a_formula_keeps_its_lines(bnlab_says: Say) -> None:
    card = bnlab_says("list", "diagnostics", "gradient_norm").out
    assert any(line.startswith("      norm_l = ||") for line in card.splitlines())


def test_somebodys_own_is_shown_from_where_the_command_is_typed(bnlab_says: Say, tmp_path: Path) -> None:
    (tmp_path / "own_lab.py").write_text(
        'import nothing_there\n\nclass Mine:\n    """Mine alone."""\n\n    name = "mine"\n    unit = "apples"\n'
    )
    assert "Mine alone." in bnlab_says("list", "diagnostics", "own_lab:Mine").out


@pytest.mark.parametrize(
    ("name", "said"), [("satration", "Did you mean saturation"), ("own_lab:Yours", "is not in the source of own_lab")]
)
def test_what_is_not_there_gets_a_sentence_and_status_2(bnlab_says: Say, name: str, said: str) -> None:
    answer = bnlab_says("list", "diagnostics", name)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
