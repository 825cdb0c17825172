"""The numbers of README and docs/ are those that their commands gave: `scripts/write_readme_numbers.py`."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loaded_scripts import load_script

from bnlab import provenance
from bnlab.conformance.laws import LAWS
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.norms.names import NORMS

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "write_readme_numbers.py"


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script("write_readme_numbers")


def test_the_page_has_the_numbers_of_the_results(script: Any) -> None:
    found = json.loads(script.RESULTS.read_text(encoding="utf-8"))
    found["counts"] |= {"diagnostics": str(len(DIAGNOSTICS)), "laws": str(len(LAWS)), "norms": str(len(NORMS))}
    pages = script.read_pages()
    assert script.written(pages, {**found, "benches": script.benches()}) == pages


def test_a_number_that_somebody_changed_is_written_again(script: Any) -> None:
    found = json.loads(script.RESULTS.read_text(encoding="utf-8"))
    pages = script.read_pages()
    assert "arms, each with a card" in pages
    wrong = pages.replace(f"{found['counts']['norms']} arms, each with a card", "7 arms, each with a card")
    assert wrong != pages
    assert script.written(wrong, found) == script.written(pages, found)


def test_words_that_are_gone_are_named(script: Any) -> None:
    found = json.loads(script.RESULTS.read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match=r"say 0 times, and not once: .*arms, each"):
        script.written(script.read_pages().replace("arms, each", "norms, each"), found)


@pytest.mark.slow
def test_quick_commands_give_what_the_page_says(
    script: Any, bnlab_says: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_here(command: str, runs: Path) -> list[dict[str, Any]]:
        """Run a command in this process, which has imported torch: its workers would do so again."""
        answer = bnlab_says(*shlex.split(command)[1:], "--runs", str(runs), "--json", "--quiet")
        assert answer.status == 0, answer.err
        return [json.loads(line) for line in answer.out.splitlines()]

    monkeypatch.setattr(sys.modules["readme_measurements"], "run", run_here)
    monkeypatch.setattr(provenance, "num_physical_cores", lambda: 1)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    with pytest.raises(SystemExit) as ending:
        script.main()
    assert ending.value.code == 0
