"""The card of a study and the table of claims, in the terminal, in English or Chinese."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, is_narrow, new_table, print_table
from bnlab.cli.spoken_verdict import LABELS, SYMBOLS, SpokenVerdict
from bnlab.cli.verdict_text import COLORS, MOST_WIDTH
from bnlab.pages.study_results import shortened, statements_in
from bnlab.pages.words import Words

HEADINGS = {
    "study": "study",
    "about": "statement",
    "verdict": "verdict",
    "effect": "effect",
    "seeds": "n",
    "holds in": "holds_in",
}
"""The columns of the table of verdicts, and the words of the pages that say them in Chinese."""

DROPPED = ("about", "holds in")
"""Columns that a narrow terminal does without, so that a study has one line: what it is about was said above."""

_SIGNS, _MARKS = "\u3000-\u9fff\uff00-\uffef", "\u3001\u3002\u201d\uff01\uff09\uff0c\uff1a\uff1b\uff1f"
_PIECE = re.compile(f" +|(?:\u201c?[{_SIGNS}]|[^ {_SIGNS}]+)[{_MARKS}]*")
"""What stays on one line: a Chinese sign or a word, with the marks that cling to it."""

MOST_BRIEF = 3
"""Conditions that a brief card names; of more it tells the number."""

LONGEST_NAME = 24
"""Letters of a study's name that are never broken."""


def print_study(verdict: Mapping[str, Any], words: Words) -> None:
    """Print the claim, the verdict, each condition, the stress panel, what was found before, and how to repeat it.

    Args:
        verdict: The verdict, as it is kept.
        words: The fixed words of the language.
    """
    say = SpokenVerdict(verdict, words)
    width = min(OUT.width, MOST_WIDTH)
    card, add = _new_card(say, width, LABELS)
    add("claim", say.claim())
    word = Text(say.word(verdict["verdict"]).upper(), COLORS[verdict["verdict"]])
    add("verdict", Text.assemble(word, f"  {say.reason()}" if verdict["reason"] else ""))
    of = f"{words('comma')}{say.decisive['metric']}" if len(verdict["conditions"]) > 1 else ""
    effect = f"{say.own_effect()}{say.made(say.decisive)}{of}"
    add("effect", effect)
    for label, key in (("because", "conditions"), ("checked", "checks"), ("besides", "also")):
        for number, condition in enumerate(verdict[key]):
            add(label if number == 0 else "", say.condition(condition))
    if verdict["stress"]["of"]:
        add("holds in", say.stress())
    for label, key in (("literature", "literature"), ("what fools", "fools")):
        if text := say.texts(verdict[key]):
            add(label, text)
    if verdict["to_change"]:
        add("to change it", say.engine(verdict["to_change"]))
    add("criterion", say.criterion())
    add("again", verdict["command"])
    OUT.print(card)
    sentences = [sentence for one in verdict["conditions"] for sentence in one["sentences"]]
    for sentence in dict.fromkeys([*([verdict["changed"]] if verdict["changed"] else []), *sentences]):
        told = Text(say.engine(sentence), "dim")
        OUT.print(filled(told, width) if say.is_chinese else told, width=width)
    OUT.print(Text.assemble(word, f"  {effect}"))  # what was printed first may have left a small screen


def print_brief(verdict: Mapping[str, Any], words: Words) -> None:
    """Print the claim, the verdict, the conditions with their effects, and the command that asks again.

    Args:
        verdict: The verdict, as it is kept.
        words: The fixed words of the language.
    """
    say = SpokenVerdict(verdict, words)
    card, add = _new_card(say, min(OUT.width, MOST_WIDTH), ("claim", "verdict", "because", "again"))
    add("claim", say.claim())
    conditions = verdict["conditions"]
    are_named = len(conditions) <= MOST_BRIEF
    word = Text(say.word(verdict["verdict"]).upper(), COLORS[verdict["verdict"]])
    if verdict["verdict"] == "refuted":
        word.append(f"  {words('not_here')}", "default not bold")
    add("verdict", word if are_named else Text.assemble(word, f"  {say.own_effect()}{say.made(say.decisive)}"))
    for number, condition in enumerate(conditions if are_named else ()):
        add("because" if number == 0 else "", say.brief_condition(condition))
    if not are_named:
        agree = sum(condition["verdict"] == verdict["verdict"] for condition in conditions)
        held = words("of", agree=agree, of=len(conditions))
        add("because", f"{held} {say.word(verdict['verdict'])}")
    add("again", verdict["command"])
    OUT.print(card)


def _new_card(say: SpokenVerdict, width: int, labels: Iterable[str]) -> tuple[Table, Callable[[str, str | Text], None]]:
    """Return an empty card as wide as its labels need, and what adds a line to it: a label, or none, and a text."""
    card = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, width=width)
    card.add_column(style="dim", no_wrap=True)
    card.add_column(overflow="fold")
    room = width - max(cell_len(say.label(label)) for label in labels) - 2

    def add(label: str, text: str | Text) -> None:
        shown = Text(text) if isinstance(text, str) else text
        card.add_row(say.label(label) if label else "", filled(shown, room) if say.is_chinese else shown)

    return card, add


def filled(text: Text, width: int) -> Text:
    """Return a text with ends of lines, which Chinese fills: it has no blanks, at which alone others are wrapped.

    Args:
        text: The text.
        width: Columns of a line.
    """
    ends, used = [], 0
    for piece in _PIECE.finditer(text.plain):
        size = cell_len(piece[0])
        if used and used + size > width and piece[0].strip():
            ends.append(piece.start())
            used = 0
        used += size
    lines = text.divide(ends)
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def print_claims(verdicts: Sequence[Mapping[str, Any]], words: Words) -> None:
    """Print a line per study: verdict, effect, seeds; where there is room, its statements and how firmly it stands.

    Args:
        verdicts: The verdicts, as they are kept.
        words: The fixed words of the language.
    """
    if not verdicts:
        return
    keys = [key for key in HEADINGS if key not in DROPPED or not is_narrow()]
    headings = [words(HEADINGS[key]) if words.lang == "zh" else key for key in keys]
    table = new_table(*headings, right=[headings[keys.index("seeds")]])
    table.columns[0].no_wrap = max(len(verdict["study"]) for verdict in verdicts) <= LONGEST_NAME
    table.columns[keys.index("verdict")].no_wrap = True
    for verdict in verdicts:
        say, word, stress = SpokenVerdict(verdict, words), verdict["verdict"], verdict["stress"]
        statement = verdict["statement"] or ""
        cells = {
            "study": Text(verdict["study"], "bold"),
            "about": Text(shortened(statements_in(statement)) or statement or verdict["pack"]),
            "verdict": Text(f"{SYMBOLS[word]} {say.word(word)}", COLORS[word]),
            "effect": Text(say.own_effect()),
            "seeds": Text(str(verdict["n"])),
            "holds in": Text(words("of", agree=stress["agree"], of=stress["of"]) if stress["of"] else ""),
        }
        table.add_row(*(cells[key] for key in keys))
    print_table(table)


def one_line(verdict: Mapping[str, Any], words: Words) -> str:
    """Return verdict, effect and seeds in one line.

    Args:
        verdict: The verdict, as it is kept.
        words: The fixed words of the language.
    """
    say = SpokenVerdict(verdict, words)
    effect = words("effect_unknown") if verdict["effect"] is None else say.own_effect()
    return words("comma").join([say.word(verdict["verdict"]), effect, say.seeds(verdict["n"])])
