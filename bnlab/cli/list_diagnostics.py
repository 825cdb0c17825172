"""`bnlab list diagnostics`: all diagnostics, and the card of each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bnlab.cli.card_text import needs_of, print_card
from bnlab.cli.consoles import OUT, ROOMY, new_table, print_rows, print_table, say_warning
from bnlab.cli.list_runs import AsCsv, AsJson

if TYPE_CHECKING:
    from bnlab.diagnostics.cards import Card

LEAST_SUMMARY = 50
"""Columns that the sentence about a diagnostic needs; in a narrower window, other columns are dropped."""


def _names(incomplete: str) -> list[str]:
    """Return the names of diagnostics that begin with some letters."""
    from bnlab.diagnostics.catalog import DIAGNOSTICS

    return [name for name in DIAGNOSTICS if name.startswith(incomplete)]


def diagnostics(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME | package.module:Class]...",
            help="Show the whole card of these.",
            autocompletion=_names,
            show_default=False,
        ),
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show the whole card of each.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the diagnostics: what each measures, its unit, its cost and its needs.

    [bold]bnlab list diagnostics[/]: all of them

    [bold]bnlab list diagnostics saturation[/]: its formula, how to read it, and what it does not see

    [bold]bnlab list diagnostics my_package.my_module:MyDiagnostic[/]: your own class, read from its source
    """
    from bnlab.diagnostics.cards import read_card
    from bnlab.diagnostics.catalog import DIAGNOSTICS

    cards = [read_card(name) for name in names or DIAGNOSTICS]
    if not names:
        cards += _installed()
    if print_rows([_row(card, flat=as_csv) for card in cards], as_json, as_csv):
        return
    if names or long:
        for number, card in enumerate(cards):
            if number:
                OUT.print("\n")
            print_card(card)
        return
    _print_list(cards)


def _installed() -> "list[Card]":
    """Return the cards of the diagnostics that installed packages add; warn of those that cannot be found or read."""
    from bnlab.diagnostics.cards import read_card
    from bnlab.diagnostics.catalog import DIAGNOSTICS
    from bnlab.errors import ConfigError
    from bnlab.plugins import DIAGNOSTIC_PLUGINS

    for complaint in DIAGNOSTIC_PLUGINS.complaints(DIAGNOSTICS):
        say_warning(complaint)
    cards = []
    for name in DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS):
        try:
            cards.append(read_card(name))
        except ConfigError as error:  # its source is missing, or lacks that class
            say_warning(str(error))
    return cards


def _row(card: "Card", flat: bool) -> dict[str, Any]:
    """Return a card as plain values, for JSON; with ``flat``, each section is one text, for CSV."""
    facts = card.as_dict()
    sections = facts.pop("sections")
    if not flat:
        return {**facts, "sections": sections}
    texts = {heading.lower().replace(" ", "_"): text for heading, text in sections.items()}
    texts["unit_in_full"] = texts.pop("unit", "")
    texts["cost_in_full"] = texts.pop("cost", "")
    healthy = "; ".join(f"{key}: {low} to {high}" for key, (low, high) in facts["healthy"].items())
    return {**facts, "needs": " ".join(card.needs), "healthy": healthy, **texts}


def _print_list(cards: "list[Card]") -> None:
    """Print a line per diagnostic; in a narrow window, without the columns at the right."""
    width = OUT.width if OUT.is_terminal else ROOMY
    beside: dict[str, Callable[[Card], str]] = {
        "unit": lambda card: card.unit,
        "cost": lambda card: card.cost,
        "needs": lambda card: needs_of(card).removeprefix("needs ").replace("nothing more", ""),
        "at once": lambda card: "yes" if card.vectorizable else "no",
    }
    room = {"unit": 26, "cost": 6, "needs": 10, "at once": 7}
    longest = max(len(card.name) for card in cards)
    while beside and width - longest - sum(room[key] + 3 for key in beside) < LEAST_SUMMARY:
        beside.pop(next(key for key in ("at once", "needs", "unit", "cost") if key in beside))
    table = new_table("diagnostic", "what it is", *beside)
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.max_width = room[str(column.header)]
        column.overflow = "fold"
    for card in cards:
        cells = [Text(card.summary), *(Text(write(card), "dim") for write in beside.values())]
        table.add_row(Text(card.name, "bold"), *cells)
    print_table(table)
    at_once = " At once: measured in all runs of a cohort together." if "at once" in beside else ""
    OUT.print(
        f"Their cards: bnlab list diagnostics NAME.{at_once}\n"
        "To measure some: bnlab train 'diagnostics.names=[saturation,gradient_norm]', or diagnostics=full.",
        style="dim",
        highlight=False,
        markup=False,
    )
