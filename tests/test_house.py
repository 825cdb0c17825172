"""How the house is laid out: what CONTRIBUTING says of it, and what no import may do."""

import re
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bnlab"

SAME_MEANING = {"__init__", "catalog", "optim", "muon"}
"""Names that several modules may have: a package, a list of names and their classes, optimizers."""


def test_contributing_shows_the_layers_that_pyproject_lists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = next(one["layers"] for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(__main__ .*?)```", text, re.DOTALL)
    shown = [re.split(r"\s{2,}", line)[0] for line in block.splitlines()]
    assert shown == listed


def test_the_map_names_every_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(conf/ .*?)```", text, re.DOTALL)
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(block.split())


def test_no_two_modules_have_one_name_and_different_meanings() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py"))
    assert {name for name, count in names.items() if count > 1} <= SAME_MEANING


@pytest.mark.slow
def test_no_imports_run_in_a_circle_not_even_those_within_functions() -> None:
    graph = grimp.build_graph("bnlab", cache_dir=None)
    circles = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    circles.prepare()  # raises CycleError, which names the modules of one
