"""What `bnlab demo` prints at its end: sentences, verdicts, the page, and what to type next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT
from bnlab.cli.study_text import filled, print_brief
from bnlab.cli.sweep_figures import near
from bnlab.cli.verdict_text import MOST_WIDTH
from bnlab.pages.words import Words

NEXT = (
    ("bnlab race norm=batch norm=layer norm=none", "next_race"),
    ("bnlab study all --in-minutes 10", "next_studies"),
)
"""Commands that are proposed, and the words that say what they do."""


def print_demo(
    sentences: Sequence[str], verdicts: Sequence[Mapping[str, Any]], page: Path | None, words: Words
) -> None:
    """Print the sentences, a brief card for each verdict, the page, and what to type next.

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
    _print_heading(words("verdicts"))
    for verdict in verdicts:
        print_brief(verdict, words)
    OUT.print()
    if page is not None:
        OUT.print(Text.assemble((words("page"), "bold"), f"  {near(page)}"), soft_wrap=True)
    for command, what in NEXT:
        OUT.print(Text.assemble((command, "bold"), (f"   {words(what)}", "dim")), soft_wrap=True)


def _print_heading(text: str) -> None:
    OUT.print(Text(f"\n{text}", "bold"))
