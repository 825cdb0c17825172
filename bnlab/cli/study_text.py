"""The card of a study and the table of claims, in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, duration, new_table, print_table
from bnlab.cli.verdict_text import COLORS, MOST_FLIPS, MOST_WIDTH

SYMBOLS = {"supported": "+", "refuted": "x", "inconclusive": "?"}
"""Beside the word, so that a verdict is told apart without color."""


def print_study(verdict: Mapping[str, Any]) -> None:
    """Print the claim, the verdict, each condition, the stress panel, what was found before, and how to repeat it."""
    card = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, width=min(OUT.width, MOST_WIDTH))
    card.add_column(style="dim", no_wrap=True)
    card.add_column(overflow="fold")
    statement = f" ({verdict['statement']})" if verdict["statement"] else ""
    card.add_row("claim", Text(f"{verdict['claim']}{statement}"))
    word = Text(verdict["verdict"].upper(), COLORS[verdict["verdict"]])
    card.add_row("verdict", Text.assemble(word, f"  {verdict['reason']}" if verdict["reason"] else ""))
    decisive = verdict["conditions"][verdict["decisive"]]
    level = "" if decisive["level"] is None else f" at {100 * decisive['level']:.3g}%"
    of = f", {decisive['metric']}" if len(verdict["conditions"]) > 1 else ""
    effect = f"{effect_of(verdict)}{level}{of}"
    card.add_row("effect", Text(effect))
    for number, condition in enumerate(verdict["conditions"]):
        card.add_row("because" if number == 0 else "", _condition(condition))
    for number, condition in enumerate(verdict["checks"]):
        card.add_row("checked" if number == 0 else "", _condition(condition))
    for number, condition in enumerate(verdict["also"]):
        card.add_row("besides" if number == 0 else "", _condition(condition))
    stress = verdict["stress"]
    if stress["of"]:
        flips = stress["flips"]
        more = f"; {len(flips) - MOST_FLIPS} more" if len(flips) > MOST_FLIPS else ""
        told = f". It flips {'; '.join(flips[:MOST_FLIPS])}{more}." if flips else ""
        card.add_row("holds in", Text(f"{stress['agree']} of {stress['of']} analyses of the same runs{told}"))
    for name, key in (("literature", "literature"), ("what fools", "fools")):
        if verdict[key]["en"]:
            card.add_row(name, Text(verdict[key]["en"]))
    if verdict["to_change"]:
        card.add_row("to change it", Text(verdict["to_change"]))
    made = f"training {duration(verdict['seconds'])}, one run after the other"
    card.add_row("criterion", Text(f"{verdict['criterion']} File {verdict['sha256'][:8]}; {made}"))
    card.add_row("again", Text(verdict["command"]))
    OUT.print(card)
    sentences = [sentence for one in verdict["conditions"] for sentence in one["sentences"]]
    for sentence in dict.fromkeys([*([verdict["changed"]] if verdict["changed"] else []), *sentences]):
        OUT.print(Text(sentence, "dim"), width=min(OUT.width, MOST_WIDTH))
    OUT.print(Text.assemble(word, f"  {effect}"))  # what was printed first may have left a small screen


def print_claims(verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per study: claim, verdict, effect, seeds."""
    if not verdicts:
        return
    table = new_table("study", "about", "verdict", "effect", "seeds", "holds in", right=["seeds"])
    for verdict in verdicts:
        word = verdict["verdict"]
        stress = verdict["stress"]
        table.add_row(
            Text(verdict["study"], "bold"),
            Text(verdict["statement"] or verdict["pack"]),
            Text(f"{SYMBOLS[word]} {word}", COLORS[word]),
            Text(effect_of(verdict)),
            str(verdict["n"]),
            f"{stress['agree']} of {stress['of']}" if stress["of"] else "",
        )
    print_table(table)


def effect_of(found: Mapping[str, Any]) -> str:
    """Return the effect of a study or of a condition with its interval and unit; shares of images in points."""
    if found["effect"] is None:
        return "not known"
    points = found["unit"] == "share of images"
    effect, low, high = (
        "no bound" if value is None else f"{100 * value:.2f}" if points else f"{value:.3g}"
        for value in (found["effect"], found["low"], found["high"])
    )
    unit = "points" if points else found["unit"]
    return f"{effect} [{low}, {high}] {unit}".strip()


def _condition(condition: Mapping[str, Any]) -> Text:
    word = condition["verdict"]
    says = condition["says"]["en"]
    rates = condition["learning_rates"]
    at = "" if rates is None else f", at learning rate {' and '.join(f'{rate:g}' for rate in dict.fromkeys(rates))}"
    return Text.assemble(
        (f"{SYMBOLS[word]} {word}", COLORS[word].removeprefix("bold ")),
        f"  {says} {effect_of(condition)}, {condition['n']} seeds{at}",
    )
