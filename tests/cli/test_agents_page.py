"""AGENTS.md says how programs use bnlab: short, and its Python runs. Its commands are typed by test_readme."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typed_lines import PAGES, blocks, lines_of_pages

PAGE = Path(__file__).resolve().parents[2] / "AGENTS.md"


def test_the_page_is_short_and_its_commands_are_typed() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) < 120
    assert PAGE in PAGES
    assert "bnlab judge agent --json" in lines_of_pages()


@pytest.mark.slow
def test_its_python_runs_in_the_readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert list(names["frame"]["norm"]) == ["layer"]
    assert names["verdict"].verdict == "supported"


@pytest.mark.slow
def test_a_run_has_the_keys_that_the_page_names(tmp_path: Path, bnlab_says: Callable[..., Any]) -> None:
    (listed,) = re.findall(r"\*\*A run's JSON\*\*: `([^`]+)`", PAGE.read_text(encoding="utf-8"))
    said = bnlab_says("train", "--json", "data=digits", "train.steps=5", "--runs", str(tmp_path)).out
    assert list(json.loads(said)) == listed.split()
