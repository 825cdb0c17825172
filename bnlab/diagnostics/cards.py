"""What a diagnostic says of itself, read off its source: for lists and figures, which must not wait for torch.

Its literal attributes and the sections of its docstring are read from the text of its class; nothing is imported.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.source import read_class
from bnlab.docstrings import read_docstring
from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import DIAGNOSTIC_PLUGINS

SECTIONS = ("Unit", "Reading", "Cost", "Blind spots", "Source")
"""Headings of a diagnostic's docstring; others, such as ``Example``, are left to whoever reads the source."""

FEW = 12
"""Names that a message has room for."""

ANY = "any"
"""The key of a healthy range that holds for every activation."""


@dataclass(frozen=True)
class Card:
    """A diagnostic in words.

    Attributes:
        name: What it is called in records.
        place: ``package.module:Class``.
        unit: Of its values, in a few words.
        cost: ``shared``, ``extra`` or ``heavy``.
        needs: Of ``gradients``, ``eval_mode`` and ``update``, by the alphabet.
        vectorizable: Whether runs that are trained together are measured together.
        healthy: Name of an activation or of a facet, or ``any`` -> (least, most).
        too_low: What a value below it means, in words that go on from "hidden3: 12%".
        too_high: What a value above it means.
        summary: What it is, in one sentence.
        about: Why and how, with its formula.
        sections: Heading of the docstring -> text.
    """

    name: str
    place: str
    unit: str = ""
    cost: str = "shared"
    needs: tuple[str, ...] = ()
    vectorizable: bool = False
    healthy: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    too_low: str = ""
    too_high: str = ""
    summary: str = ""
    about: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)

    def healthy_range(self, activation: str | None, facet: str) -> tuple[float, float] | None:
        """Return the range that needs no comment; None where nothing is said.

        Args:
            activation: Name of the network's.
            facet: Of the values; empty where there is only one.
        """
        for key in (facet, activation, ANY):
            if key and key in self.healthy:
                return self.healthy[key]
        return None

    def unit_of(self, facet: str, facets: Sequence[str]) -> str:
        """Return the unit of one facet.

        A unit may name several, by semicolons: ``spreads; raw: units of the pre-activation`` by the facet's name,
        ``nats; share of the loss`` in turn.

        Args:
            facet: One of them.
            facets: All, in order.

        Example:
            >>> card = Card("drift", "", "spreads; raw: units of the pre-activation")
            >>> card.unit_of("normalized", ["normalized", "raw"]), card.unit_of("raw", ["normalized", "raw"])
            ('spreads', 'units of the pre-activation')
        """
        parts = [part.strip() for part in self.unit.split(";")]
        named = dict(part.split(": ", 1) for part in parts if ": " in part)
        if facet in named:
            return named[facet]
        others = [part for part in parts if ": " not in part] or [""]
        unnamed = [each for each in facets if each not in named]
        return others[unnamed.index(facet) % len(others)] if facet in unnamed else others[0]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; an end of a range that is no number is None."""
        ranges = {key: [_finite(end) for end in ends] for key, ends in self.healthy.items()}
        return {**asdict(self), "needs": list(self.needs), "healthy": ranges}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_card(name: str) -> Card:
    """Return the card of a diagnostic.

    Args:
        name: Of the catalog or of an installed package, or ``package.module:Class``.

    Raises:
        ConfigError: There is no such name, or no such class in the source.
    """
    installed = DIAGNOSTIC_PLUGINS.find(name) if name not in DIAGNOSTICS and ":" not in name else None
    place = installed.place if installed else DIAGNOSTICS.get(name, name)
    module, colon, class_name = place.partition(":")
    if not (module and colon and class_name):
        known = [*DIAGNOSTICS, *DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS)]
        raise ConfigError(f"there is no diagnostic {name}. {near_or_few(name, known)}")
    facts, docstring = read_class(module, class_name)
    if docstring is None:
        raise ConfigError(
            f"{place} is not in the source of {module}. A diagnostic of your own is read as package.module:Class."
        )
    said = read_docstring(docstring)
    return Card(
        name=str(facts.get("name") or name),
        place=place,
        unit=str(facts.get("unit", "")),
        cost=str(facts.get("cost", "shared")),
        needs=tuple(sorted(facts.get("needs", ()))),
        vectorizable=bool(facts.get("vectorizable", False)),
        healthy=_ranges(facts.get("healthy", {})),
        too_low=str(facts.get("too_low", "")),
        too_high=str(facts.get("too_high", "")),
        summary=said.summary,
        about=said.about,
        sections={name: text for name, text in said.sections.items() if name in SECTIONS},
    )


def near_or_few(name: str, known: Iterable[str]) -> str:
    """Return the cure for a diagnostic that is not there: its nearest neighbors; or all, if they are few.

    Args:
        name: What came.
        known: What would have been right.
    """
    names = list(known)
    cure = did_you_mean(name, names)
    is_long = cure.startswith("Known") and len(names) > FEW
    return f"There are {len(names)}, and none is called like that." if is_long else cure


def cards_by_record(recorded: Iterable[str], names: Iterable[str]) -> dict[str, Card]:
    """Return name in the records -> card, of those diagnostics whose source is found.

    Args:
        recorded: Names in the records.
        names: What ``diagnostics.names`` of the config says: of somebody's own diagnostic, the place of its class.
    """
    wanted = set(recorded)
    own = [name for name in names if name not in DIAGNOSTICS]
    cards: dict[str, Card] = {}
    for name in [*(name for name in DIAGNOSTICS if name in wanted), *own]:
        try:
            card = read_card(name)
        except ConfigError:  # somebody's own, on another machine: its values are there all the same
            continue
        cards.setdefault(card.name, card)
    return cards


def _ranges(healthy: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(healthy, Mapping):
        return {}
    return {str(key): (float(low), float(high)) for key, (low, high) in healthy.items()}
