"""docs/negative.md has each study that was not supported, with the verdict and the figures of docs/claims.csv."""

import csv
import re
from pathlib import Path

from folded import folded

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "negative.md").read_text(encoding="utf-8")
with (ROOT / "docs" / "claims.csv").open(encoding="utf-8") as file:
    STUDIES = {row["study"]: row for row in csv.DictReader(file) if row["kind"] == "study"}
ROWS = {row[0]: row for row in re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)}


def test_each_study_that_is_not_supported_stands_there_with_its_verdict() -> None:
    expected = {name: row["verdict"] for name, row in STUDIES.items() if row["verdict"] != "supported"}
    assert {name: row[1] for name, row in ROWS.items()} == expected
    words = {15: "Fifteen"}
    assert f"{words[len(expected)]} of {len(STUDIES)} studies are not" in PAGE


@folded("name", ROWS)
def test_a_row_shows_the_effect_and_the_interval_of_its_study(name: str) -> None:
    figures = [float(STUDIES[name][key]) for key in ("effect", "low", "high")]
    shown = re.findall(r"(-?[\d.]+)[^\[\d]*\[(-?[\d.]+), (-?[\d.]+)\]", ROWS[name][3])
    assert any(
        all(
            abs(factor * value - float(text)) <= 0.5 * last_place(text)
            for value, text in zip(figures, one, strict=True)
        )
        for factor in (1, 100)
        for one in shown
    ), (figures, shown)


def last_place(text: str) -> float:
    return 10.0 ** -len(text.partition(".")[2]) * 1.001


def test_each_script_in_findings_is_named_with_the_day_on_which_it_came() -> None:
    named = re.findall(r"^\| (\d{4}-\d\d-\d\d) \| `([\w.-]+)` \|", PAGE, re.MULTILINE)
    assert {script for _, script in named} == {path.name for path in (ROOT / "findings").glob("*.sh")}
    days = re.findall(r"^## (\d{4}-\d\d-\d\d): ", PAGE, re.MULTILINE)
    assert days == sorted(days, reverse=True)
