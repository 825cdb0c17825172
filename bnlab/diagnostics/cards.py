"""What a diagnostic says of itself, read from its source: neither torch nor anybody's module is imported for it."""

import ast
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnlab.diagnostics.catalog import DIAGNOSTICS, find_place
from bnlab.errors import ConfigError
from bnlab.plugins import DIAGNOSTIC_PLUGINS

_SECTION = re.compile(r"^(Unit|Reading|Cost|Blind spots|Source|Example):\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """One diagnostic.

    Attributes:
        name: As in records and tags.
        place: ``package.module:Class``.
        summary: The first sentence of its docstring.
        unit: Of its values, in words.
        cost: ``shared``, ``extra`` or ``heavy``.
        needs: Of ``gradients``, ``eval_mode`` and ``update``.
        vectorizable: It is measured in many runs at once.
        sections: Heading of the docstring -> text.
        healthy: Name of an activation, or ``any`` -> the range that needs no comment.
        too_low: What it means if a value is below.
        too_high: What it means if a value is above.
    """

    name: str
    place: str
    summary: str = ""
    unit: str = ""
    cost: str = "shared"
    needs: tuple[str, ...] = ()
    vectorizable: bool = False
    sections: Mapping[str, str] = field(default_factory=dict)
    healthy: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    too_low: str = ""
    too_high: str = ""

    def range_for(self, activation: str) -> tuple[float, float] | None:
        """Return the range that needs no comment; None if there is none.

        Args:
            activation: Of the network.
        """
        return self.healthy.get(activation, self.healthy.get("any"))


def read_card(name: str) -> Card:
    """Return the card of a diagnostic.

    Args:
        name: Of the catalog or of an installed package, or ``package.module:Class``.

    Raises:
        ConfigError: No such diagnostic, or its source cannot be found.
    """
    place = find_place(name)
    module_name, _, class_name = place.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109  (a string is what sys.path holds)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  (one's own usually lies where the command is typed)
    try:
        spec = importlib.util.find_spec(module_name)
        tree = ast.parse(Path(spec.origin if spec and spec.origin else "").read_text(encoding="utf-8"))
        node = next(one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == class_name)
    except Exception as error:  # a parent package of somebody's may raise anything while it is imported
        raise ConfigError(f"diagnostics.names: the source of {name} ({place}) cannot be read: {error}.") from error
    facts = _literals(node)
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    head, *rest = _SECTION.split(text)
    sections = {title: inspect.cleandoc(body) for title, body in zip(rest[::2], rest[1::2], strict=True)}
    return Card(
        name=facts.pop("name", name),
        place=place,
        summary=head.strip().partition("\n\n")[0].replace("\n", " "),
        needs=tuple(sorted(facts.pop("needs", ()))),
        sections=sections,
        **facts,
    )


def read_cards() -> list[Card]:
    """Return the cards of the catalog, and of what installed packages add, as far as they can be read."""
    cards = [read_card(name) for name in DIAGNOSTICS]
    for name in DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS):
        try:
            cards.append(read_card(name))
        except ConfigError as error:
            cards.append(Card(name, name, str(error)))
    return cards


def known_cards(names: "list[str]") -> dict[str, Card]:
    """Return the cards of recorded diagnostics by name; of what is not there any more, a card that says its name.

    Args:
        names: As in records, or as in ``diagnostics.names``.
    """
    cards = {}
    for name in names:
        try:
            card = read_card(name)
        except ConfigError:
            card = Card(name, name)
        cards[card.name] = card
    return cards


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    """Return the attributes of a class that a card has and that are written out."""
    wanted = {"name", "unit", "cost", "needs", "vectorizable", "healthy", "too_low", "too_high"}
    facts: dict[str, Any] = {}
    for statement in node.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            value = statement.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Call) and value.args:  # frozenset({...})
                value = value.args[0]
            if isinstance(target, ast.Name) and target.id in wanted:
                try:
                    facts[target.id] = ast.literal_eval(value)
                except ValueError:  # computed: it is not on the card
                    continue
    return facts
