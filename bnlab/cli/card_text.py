"""A diagnostic's card, in the terminal."""

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from bnlab.cli.consoles import OUT

if TYPE_CHECKING:
    from bnlab.diagnostics.cards import Card

MOST_WIDTH = 100
"""Columns: longer lines are hard to read."""


def print_card(card: "Card", sections: tuple[str, ...] | None = None) -> None:
    """Print what a diagnostic is, its formula, and how to read it.

    Args:
        card: The card of the diagnostic.
        sections: Headings of the sections to print; None for all sections, with name, facts and formula before them.
    """
    if sections is None:
        OUT.print(Text.assemble((card.name, "bold"), "  ", (_facts(card), "dim")), soft_wrap=True)
        _print_text(card.summary)
        if card.about:
            OUT.print()
            _print_text(card.about)
    for heading, text in card.sections.items():
        if sections is None or heading in sections:
            OUT.print(Text(f"\n{heading}", "bold"))
            _print_text(text)
    if sections is None and card.undefined:
        OUT.print(Text("\nUndefined without", "bold"))
        _print_text(card.undefined)
    if sections is None and card.healthy:
        OUT.print(Text("\nIn range", "bold"))
        for key, (low, high) in card.healthy.items():
            _print_text(f"{key}: {_range(low, high)}")


def _facts(card: "Card") -> str:
    together = "measured in many runs at once" if card.vectorizable else "measured run by run"
    return ", ".join([card.unit, f"cost {card.cost}", needs_of(card), together])


def needs_of(card: "Card") -> str:
    """Return what a diagnostic needs, in words."""
    words = {"gradients": "gradients", "eval_mode": "eval mode", "update": "an update"}
    return "needs " + " and ".join(words.get(need, need) for need in card.needs) if card.needs else "needs nothing more"


def _range(low: float, high: float) -> str:
    if high >= 1e9:
        return f"{low:g} or more"
    return f"{low:g} to {high:g}"


def _print_text(text: str) -> None:
    """Print paragraphs, wrapped anew; what is indented, mostly a formula, keeps its lines."""
    for part in text.split("\n\n"):
        is_formula = all(line.startswith(" ") for line in part.splitlines())
        shown = part if is_formula else " ".join(part.split())
        width = min(OUT.width, MOST_WIDTH)
        OUT.print(Padding(Text(shown), (0, 0, 0, 2)), width=width, soft_wrap=False)
