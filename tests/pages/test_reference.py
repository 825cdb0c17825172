"""The reference pages are those of the code as it is: commands, settings, diagnostics, traps."""

import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loaded_scripts import load_script
from pydantic import BaseModel

from bnlab.cli.app import app
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.schema import RunConfig
from bnlab.trap_names import TrapName

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script("write_reference")


@pytest.mark.parametrize("name", ["commands.md", "config.md", "diagnostics.md", "errors.md"])
def test_a_page_is_up_to_date(script: Any, name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == script.PAGES[name]()


def test_a_changed_page_is_told(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PAGES", {"errors.md": lambda: "another text"})
    monkeypatch.setattr(sys, "argv", ["write_reference.py", "--check"])
    with pytest.raises(SystemExit, match=r"docs/errors\.md is not up to date"):
        script.main()


def sections(kind: Any) -> Iterator[Any]:
    """Yield the classes of settings in a type: its own, or all members of a union."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in typing.get_args(kind):
        yield from sections(inner)


def keys(section: Any, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        below = list(sections(field.annotation))
        if not below:
            yield f"{prefix}{name}"
        for one in below:
            yield from keys(one, f"{prefix}{name}.")


def test_every_setting_of_the_schema_stands_on_the_page() -> None:
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE))
    wanted = {key for key in keys(RunConfig) if key.rpartition(".")[2] != "name" or key in {"name", "schedule.name"}}
    assert not wanted - shown
    assert "| `train.label_smoothing` | `0.0` | a number from 0 and below 1 |" in page
    assert "| `placement` | `before` | `before`, `after`, `input` |" in page


def test_every_trap_and_every_diagnostic_has_its_place() -> None:
    traps, cards = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("errors", "diagnostics"))
    assert [name for name in typing.get_args(TrapName) if name not in traps] == []
    assert re.findall(r"^## `(\w+)`$", cards, re.MULTILINE) == list(DIAGNOSTICS)


def test_every_option_that_a_help_text_shows_is_on_the_page(script: Any, bnlab_says: Callable[..., Any]) -> None:
    facts = {row["command"]: row for row in script.facts_of(app)}
    for command in ("bnlab sweep", "bnlab judge", "bnlab runs rm"):
        shown = set(re.findall(r"^│ \*? *(--[a-z-]+)", bnlab_says(*command.split()[1:], "--help").out, re.MULTILINE))
        assert shown - {"--help"} == {option["names"][0] for option in facts[command]["options"]}
    (on_error,) = (one for one in facts["bnlab sweep"]["options"] if one["names"] == ["--on-error"])
    assert (on_error["choices"], on_error["default"]) == (["continue", "stop"], "continue")
    assert facts["bnlab judge"]["arguments"] == [
        {"name": "SWEEP", "required": True, "several": False, "what": "A sweep, by name or folder."}
    ]
