"""What `bnlab demo` prints at its end: sentences, verdicts, the page, and what to type next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT
from bnlab.cli.spoken_verdict import SYMBOLS, SpokenVerdict
from bnlab.cli.study_text import filled, print_brief
from bnlab.cli.sweep_figures import near
from bnlab.cli.verdict_text import COLORS, MOST_WIDTH
from bnlab.pages.words import Words

NEXT = (
    ("bnlab race norm=batch norm=layer norm=none", "next_race"),
    ("bnlab study all --in-minutes 10", "next_studies"),
)
"""Commands that are proposed, and the words that say what they do."""


BRIEF = {"vanishing-gradients": "brief_vanishing_gradients", "definitions": "brief_definitions"}
"""The studies that are asked, and the words that say in one line what each one asks."""

EFFECT_WITHOUT_REASON = ("vanishing-gradients", ["supported", "refuted"])
"""The study with an effect and an explanation as its conditions, and their verdicts where only the first one held."""


def print_cards(verdicts: Sequence[Mapping[str, Any]], words: Words) -> None:
    """Print a brief card for each verdict; `print_demo` repeats the verdicts in one line each.

    Args:
        verdicts: The verdicts of the studies that were asked.
        words: The fixed words of the language.
    """
    for verdict in verdicts:
        print_brief(verdict, words)


def print_demo(
    sentences: Sequence[str], verdicts: Sequence[Mapping[str, Any]], page: Path | None, words: Words
) -> None:
    """Print the sentences, a line for each verdict, the page, and what to type next: it fits into 24 lines of 80.

    Args:
        sentences: One per pair of networks.
        verdicts: The verdicts of the studies that were asked.
        page: The page; None where it could not be written.
        words: The fixed words of the language.
    """
    width = min(OUT.width, MOST_WIDTH)
    _print_heading(words("seen"))
    told = Table.grid(padding=(0, 1, 0, 0))
    told.add_column(style="dim")
    told.add_column(max_width=width - 3)
    for number, sentence in enumerate(sentences, 1):
        told.add_row(f"{number}.", filled(Text(sentence), width - 4) if words.lang == "zh" else Text(sentence))
    OUT.print(told, width=width)
    if verdicts:
        _print_heading(f"{words('verdicts')}{words('colon')}{words('verdicts_read')}")
        _print_lines(verdicts, words)
    OUT.print()
    if page is not None:
        OUT.print(Text.assemble((words("page"), "bold"), f"  {near(page)}"), soft_wrap=True)
    for command, what in NEXT:
        OUT.print(Text.assemble((words.command(command), "bold"), (f"   {words(what)}", "dim")), soft_wrap=True)


def _print_lines(verdicts: Sequence[Mapping[str, Any]], words: Words) -> None:
    """Print a line per verdict, and one more where an effect held and its explanation did not."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    for verdict in verdicts:
        word, name = verdict["verdict"], verdict["study"]
        told = f"{SYMBOLS[word]} {SpokenVerdict(verdict, words).word(word)}"
        lines.add_row(Text(told, COLORS[word]), words(BRIEF[name]))
        if (name, [one["verdict"] for one in verdict["conditions"]]) == EFFECT_WITHOUT_REASON:
            lines.add_row("", Text(words("effect_without_reason"), "dim"))
    OUT.print(lines)


def _print_heading(text: str) -> None:
    OUT.print(Text(f"\n{text}", "bold"))
