"""Cards: facts about a diagnostic, read from its source for lists and figures, which must not wait for torch.

The literal attributes and the sections of the docstring come from the text of the class; nothing is imported.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.diagnostics.source import read_class
from bnlab.docstrings import read_docstring
from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import DIAGNOSTIC_PLUGINS
from bnlab.renamed import current_name

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
        name: Its name in records.
        place: The place of its class, as ``package.module:Class``.
        unit: The unit of its values, in a few words.
        cost: ``shared``, ``extra`` or ``heavy``, as `Diagnostic` explains.
        needs: Any of ``gradients``, ``eval_mode`` and ``update``, in alphabetical order.
        vectorizable: Whether runs that are trained together are measured together.
        healthy: Name of an activation or of a facet, or ``any`` -> (lowest, highest healthy value).
        too_low: The meaning of a value below the range, in words that continue "hidden3: 12%".
        too_high: The meaning of a value above the range, likewise.
        summary: One sentence about what it measures.
        about: Its formula and definition.
        sections: Heading of the docstring -> text.
        undefined: What it needs in order to have a value, in words that continue "undefined: it needs"; empty if it has
            one in every network.
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
    undefined: str = ""

    def healthy_range(self, activation: str | None, facet: str) -> tuple[float, float] | None:
        """Return the healthy range; None if the card has none.

        Args:
            activation: Name of the network's activation; None if it is not known.
            facet: The facet of the values; empty if each layer has one value.
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
            facet: The facet whose unit is wanted.
            facets: All facets of the diagnostic, in the order of the records.

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
        name: A name of the catalog or one that it had in an earlier version, a name of an installed package, or
            ``package.module:Class``.

    Raises:
        ConfigError: There is no such name, or no such class in the source.
    """
    name = current_name(name)
    return _card_of_catalog(name) if name in DIAGNOSTICS else _read_card(name)


@functools.cache
def _card_of_catalog(name: str) -> Card:
    """Return the card of a diagnostic of bnlab's own, whose source does not change while bnlab runs."""
    return _read_card(name)


def _read_card(name: str) -> Card:
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
        undefined=str(facts.get("undefined", "")),
    )


def near_or_few(name: str, known: Iterable[str]) -> str:
    """Return the end of the message about an unknown diagnostic: names like it, or all names if they are few.

    Args:
        name: The unknown name that was typed.
        known: The names to choose from.
    """
    names = list(known)
    cure = did_you_mean(name, names)
    is_long = cure.startswith("Known") and len(names) > FEW
    return f"There are {len(names)}, and none is called like that." if is_long else cure


def cards_by_record(recorded: Iterable[str], names: Iterable[str]) -> dict[str, Card]:
    """Return name in the records -> card, for diagnostics whose source is found.

    Args:
        recorded: Names of diagnostics in the records.
        names: The config's ``diagnostics.names``; for a user's own diagnostic, this is the place of its class.
    """
    wanted = set(recorded)
    own = [name for name in names if name not in DIAGNOSTICS]
    cards: dict[str, Card] = {}
    for name in [*(name for name in DIAGNOSTICS if name in wanted), *own]:
        try:
            card = read_card(name)
        except ConfigError:  # a user's own class that is not on this machine: its values are shown without a card
            continue
        cards.setdefault(card.name, card)
    return cards


def _ranges(healthy: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(healthy, Mapping):
        return {}
    return {str(key): (float(low), float(high)) for key, (low, high) in healthy.items()}
