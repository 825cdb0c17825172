"""README and README.zh.md have the verdicts of docs/claims.csv; README.zh.md maps all statements to studies."""

import csv
import re
from pathlib import Path

import pytest

from bnlab.studies.study_search import known_studies, read_study

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.zh.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|[^|]*\| `bnlab study ([\w-]+) --lang zh` \| (\S+) \| (S[^|]*) \|$", PAGE, re.MULTILINE)
CHINESE = {"supported": "支持", "refuted": "否定", "inconclusive": "尚无定论"}


def verdicts() -> dict[str, str]:
    with (ROOT / "docs" / "claims.csv").open(encoding="utf-8") as file:
        return {row["study"]: row["verdict"] for row in csv.DictReader(file) if row["kind"] == "study"}


def test_each_verdict_is_that_of_the_claims() -> None:
    found = {study: CHINESE[verdict] for study, verdict in verdicts().items()}
    assert {study: verdict for study, verdict, _ in ROWS}.items() <= found.items()
    assert len(ROWS) == len({study for study, _, _ in ROWS}) == 15


def test_the_english_page_has_the_same_verdicts() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\|[^|]*\| (\w+) \| `bnlab study ([\w-]+)` \|$", page, re.MULTILINE)
    assert {study: verdict for verdict, study in shown}.items() <= verdicts().items()
    assert len(shown) == 11


def test_the_front_page_stays_short() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(page.split()) < 900


@pytest.mark.parametrize(("study", "statements"), [(study, text) for study, _, text in ROWS])
def test_each_statement_is_one_of_the_study(study: str, statements: str) -> None:
    ranged = re.sub(r"S(\d+)–S(\d+)", lambda m: "、".join(f"S{i}" for i in range(int(m[1]), int(m[2]) + 1)), statements)
    assert set(ranged.split("、")) <= set(read_study(known_studies(None)[study]).file.statements)


def test_every_statement_of_the_article_is_on_the_page() -> None:
    named = set()
    for _, _, text in ROWS:
        for first, last in re.findall(r"S(\d+)(?:–S(\d+))?", text):
            named |= set(range(int(first), int(last or first) + 1))
    assert named == set(range(1, 28))
