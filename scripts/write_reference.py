"""Write the reference pages of docs/: commands, settings, diagnostics, errors and traps.

python scripts/write_reference.py            # after a command, conf/, a docstring of a diagnostic or a trap changed
python scripts/write_reference.py --check    # fail if a page is not up to date; scripts/check does this
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference_commands import facts_of
from reference_settings import page as settings

import bnlab.traps
from bnlab import errors
from bnlab.cli.app import app
from bnlab.diagnostics.cards import Card, read_card
from bnlab.diagnostics.catalog import DIAGNOSTICS

DOCS = Path(__file__).resolve().parents[1] / "docs"

COMMANDS = """\
# Commands

What each command takes; with `--help` behind it a command says the same in the terminal. Written by
`scripts/write_reference.py`. Results go to standard output, all else to standard error. Exit status: 0 done; 1 a law
does not hold, or a run failed or diverged; 2 wrong input; 130 Ctrl-C.
"""

CARDS = """\
# The diagnostics

What each measures, its formula, how to read it, and what it does not see; `bnlab list diagnostics saturation` prints
one. Written by `scripts/write_reference.py` from their docstrings. How they are used: [inside.md](inside.md). *Cost*: a
*shared* diagnostic uses passes that are made anyway, an *extra* one makes one more, a *heavy* one many.
"""

ERRORS = """\
# Errors and traps

Every message has the same parts, in one to three lines on standard error: the place, the law, what came, and what to
type instead. Nothing is left behind by wrong input. `--debug` shows where in the code an error arose.
Written by `scripts/write_reference.py`.

## Errors

From Python, errors are these classes:

```text
"""


def commands() -> str:
    """Return the page of the commands."""
    rows = facts_of(app)
    index = [f"[{row['command'].removeprefix('bnlab ')}](#{row['command'].replace(' ', '-')})" for row in rows[1:]]
    return "\n".join([COMMANDS, " · ".join(index), "", *(_command(row) for row in rows)])


def _command(row: dict[str, Any]) -> str:
    lines = [f"## `{row['command']}`", "", row["what"], ""]
    if row["examples"]:
        width = max(len(one["line"]) for one in row["examples"])
        typed = [
            f"{one['line']:<{width}}    # {one['what']}" if one["what"] else one["line"] for one in row["examples"]
        ]
        lines += ["```sh", *typed, "```", ""]
    lines += [row["about"], ""] if row["about"] else []
    if row["arguments"] or row["options"]:
        lines += ["| | |", "|---|---|"]
        for one in row["arguments"]:
            several = "one or more" if one["required"] else "any number"
            count = several if one["several"] else "" if one["required"] else "may be left out"
            lines.append(f"| `{_cell(one['name'])}` | {_cell(one['what'])}{f' ({count})' if count else ''} |")
        lines += [f"| {_names_of(one)} | {_cell(one['what'])}{_more(one)} |" for one in row["options"]]
        lines.append("")
    return "\n".join(lines)


def _names_of(option: dict[str, Any]) -> str:
    value = f" {option['value']}" if option["value"] and not option["choices"] else ""
    return _cell(", ".join(f"`{name}{value}`" for name in option["names"]))


def _more(option: dict[str, Any]) -> str:
    choices = " or ".join(f"`{word}`" for word in option["choices"])
    default = f"default: `{option['default']}`" if option["default"] not in {None, 0} else ""
    said = "; ".join(part for part in (choices, default) if part)
    return f" ({said})" if said else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def diagnostics() -> str:
    """Return the page of the diagnostics."""
    cards = [read_card(name) for name in DIAGNOSTICS]
    table = [f"| [{card.name}](#{card.name}) | {_cell(_text(card.summary))} | {card.cost} |" for card in cards]
    head = ["| diagnostic | what it measures | cost |", "|---|---|---|"]
    return "\n".join([CARDS, *head, *table, "", *(_card(card) for card in cards)])


def _card(card: Card) -> str:
    lines = [f"## `{card.name}`", "", _text(f"{card.summary}\n\n{card.about}".strip()), ""]
    for section, text in card.sections.items():
        lines += [f"**{section}.** {_text(' '.join(text.split()))}", ""]
    if card.undefined:
        lines += [f"**Undefined without.** {_text(card.undefined)}", ""]
    if card.healthy:
        ranges = [f"{key}: {low:g} to {high:g}" for key, (low, high) in card.healthy.items()]
        lines += [f"**In range.** {'; '.join(ranges)}", ""]
    return "\n".join(lines)


def _text(docstring: str) -> str:
    """Return the text of a docstring as Markdown."""
    return re.sub(r"``(.+?)``", r"`\1`", docstring)


def traps() -> str:
    """Return the page of errors and traps."""
    tree = (errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    before, *_, after = re.split(r"^=[= ]+$", bnlab.traps.__doc__ or "", flags=re.MULTILINE)
    lines = ["| what | is | name | cure |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in _trap_rows())]
    tree = "\n".join(line.removeprefix("    ") for line in tree.splitlines())
    text = f"{ERRORS}{tree}\n```\n\n## Traps\n\n{_sentence(before)}\n\n" + "\n".join(lines) + f"\n\n{after.strip()}\n"
    return _text(text).replace("`find_traps_in`", "`bnlab.find_traps_in(network)`")


def _sentence(text: str) -> str:
    """Return a paragraph without the word of its heading, with a capital letter."""
    rest = text.strip().removeprefix("Traps: ")
    return f"{rest[0].upper()}{rest[1:]}"


def _trap_rows() -> Iterator[list[str]]:
    """Yield the rows of the table in the docstring of bnlab.traps, whose cells may go on in the lines below."""
    table = re.split(r"^=[= ]+$", bnlab.traps.__doc__ or "", flags=re.MULTILINE)[2]
    frame = next(line for line in (bnlab.traps.__doc__ or "").splitlines() if line.startswith("="))
    spans = [(found.start(), found.end()) for found in re.finditer(r"=+", frame)]
    row: list[str] = []
    for line in table.strip("\n").splitlines():
        cells = [line[start : end if end < len(frame) else None].strip() for start, end in spans]
        if cells[1]:  # a new trap; else the cells above go on
            if row:
                yield row
            row = cells
        else:
            row = [f"{above} {below}".strip() for above, below in zip(row, cells, strict=True)]
    yield row


PAGES = {"commands.md": commands, "config.md": settings, "diagnostics.md": diagnostics, "errors.md": traps}


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the pages are up to date")
    is_check = parser.parse_args().check
    for name, write in PAGES.items():
        path = DOCS / name
        if not is_check:
            path.write_text(write(), encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != write():
            sys.exit(f"docs/{name} is not up to date: run python scripts/write_reference.py")


if __name__ == "__main__":
    main()
