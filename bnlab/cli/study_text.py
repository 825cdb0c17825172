"""The card of a study and the table of claims, in the terminal, in English or Chinese."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, duration, is_narrow, new_table, print_table
from bnlab.cli.verdict_text import COLORS, MOST_FLIPS, MOST_WIDTH
from bnlab.pages.amounts import unit_of
from bnlab.pages.engine_sentences import in_both, in_chinese, reason_of
from bnlab.pages.study_results import StudyResult, Texts, shortened, statements_in
from bnlab.pages.words import Words
from bnlab.report.wording import is_without_training

SYMBOLS = {"supported": "+", "refuted": "x", "inconclusive": "?"}
"""Beside the word, so that a verdict is told apart without color."""

LABELS = {
    "claim": "claim",
    "verdict": "verdict",
    "effect": "effect",
    "because": "conditions",
    "checked": "checks",
    "besides": "also",
    "holds in": "holds_in",
    "literature": "literature",
    "what fools": "fools",
    "to change it": "to_change",
    "criterion": "rule",
    "again": "repeat",
}
"""What stands on the left of a card, and the words of the pages that say it in Chinese."""

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

LONGEST_NAME = 24
"""Letters of a study's name that are never broken."""


class _Spoken:
    """What a verdict says, in one language; the words are those of the pages.

    Args:
        verdict: The verdict, as it is kept.
        words: The fixed words of the language.
    """

    def __init__(self, verdict: Mapping[str, Any], words: Words) -> None:
        self.verdict = verdict
        self.t = words
        self.is_chinese = words.lang == "zh"

    def label(self, english: str) -> str:
        return self.t(LABELS[english]) if self.is_chinese else english

    def word(self, verdict: str) -> str:
        return self.t(verdict) if self.is_chinese else verdict

    def texts(self, both: Mapping[str, str]) -> str:
        return in_both(Texts(**both)).in_lang(self.t.lang)[0]

    def engine(self, sentence: str) -> str:
        return (in_chinese(sentence) if self.is_chinese else None) or sentence

    def claim(self) -> str:
        verdict = self.verdict
        claim = self.texts({"en": verdict["claim"], "zh": verdict["claim_zh"]})
        return f"{claim} ({verdict['statement']})" if verdict["statement"] else claim

    def reason(self) -> str:
        if not self.is_chinese:
            return str(self.verdict["reason"])
        return reason_of(StudyResult.model_validate(self.verdict)).in_lang("zh")[0]

    def effect(self, found: Mapping[str, Any], kind: str) -> str:
        if not self.is_chinese:
            return effect_of(found, kind)
        unit = unit_of(kind, found["unit"])
        interval = unit.interval(found["low"], found["high"], "zh") if found["effect"] is not None else ""
        return f"{unit.amount(found['effect'], 'zh')} {interval}".strip()

    @property
    def decisive(self) -> Mapping[str, Any]:
        """The condition whose effect is that of the study."""
        found: Mapping[str, Any] = self.verdict["conditions"][self.verdict["decisive"]]
        return found

    def own_effect(self) -> str:
        """The effect of the study, which is that of its decisive condition."""
        return self.effect(self.verdict, self.decisive["kind"])

    def seeds(self, number: int) -> str:
        return f"n = {number}" if self.is_chinese else f"{number} seeds"

    def made(self, condition: Mapping[str, Any], above: Mapping[str, Any] | None = None) -> str:
        """How an interval was made, of how many seeds, at which level; empty where there is none.

        Args:
            condition: The condition whose interval it is.
            above: One that stands above it: where both were made alike, that is all that is said.
        """
        if condition["level"] is None:
            return ""
        how = condition.get("method") or "", f"{100 * condition['level']:.3g}%"
        is_alike = above is not None and how == (above.get("method") or "", f"{100 * (above['level'] or 0):.3g}%")
        seeds = self.seeds(condition["n"])
        said = [seeds, self.t("as_above")] if is_alike else [self.engine(how[0]), seeds, how[1]]
        text = self.t("comma").join(part for part in said if part)
        return f"（{text}）" if self.is_chinese else f" ({text})"

    def rates(self, rates: Sequence[float]) -> str:
        """At which learning rates; of one at which nothing is learned it is said that there was no training."""
        named = [f"{rate:g}" for rate in rates]
        if all(is_without_training(rate) for rate in rates):
            return f"{self.t('not_trained')}{self.t('colon')}{self.t('lr')} {self.t('comma').join(named)}"
        named = [
            f"{name} ({self.t('not_trained')})" if is_without_training(rate) else name
            for name, rate in zip(named, rates, strict=True)
        ]
        return f"{self.t('lr')} {', '.join(named)}" if self.is_chinese else "at learning rate " + " and ".join(named)

    def condition(self, condition: Mapping[str, Any]) -> Text:
        word = condition["verdict"]
        made = self.made(condition, self.decisive)
        told = [self.effect(condition, condition["kind"]) + made]
        if not made:
            told.append(self.seeds(condition["n"]))
        if rates := list(dict.fromkeys(condition["learning_rates"] or ())):
            told.append(self.rates(rates))
        text = f"  {self.texts(condition['says'])} {self.t('comma').join(told)}"
        if condition["effect"] is None and condition["reason"]:
            text += f"{self.t('stop')} {self.engine(condition['reason'])}"
        return Text.assemble(
            (f"{SYMBOLS[word]} {self.word(word)}", COLORS[word].removeprefix("bold ")),
            text,
        )

    def stress(self) -> str:
        agree, of, flips = (self.verdict["stress"][key] for key in ("agree", "of", "flips"))
        named = [self.engine(flip) for flip in flips[:MOST_FLIPS]]
        if len(flips) > MOST_FLIPS:
            named.append(self.engine(f"{len(flips) - MOST_FLIPS} more"))
        told = f"{self.t('semicolon').join(named)}{self.t('stop')}" if flips else ""
        if self.is_chinese:
            lead = self.t("stress_lead", agree=agree, of=of)
            return f"{lead}{self.t('flips')}{self.t('colon')}{told}" if told else lead
        return f"{agree} of {of} analyses of the same runs" + (f". It flips {told}" if told else "")

    def criterion(self) -> str:
        rule = self.verdict.get("rule") or self.verdict["criterion"]
        criterion, seconds = self.engine(rule), self.verdict["seconds"]
        if self.is_chinese:
            file = self.t("file_hash", hash=self.verdict["sha256"][:8])
            return f"{criterion}{file}{self.t('comma')}{seconds / 60:.1f} {self.t('minutes')}{self.t('stop')}"
        file = f"File {self.verdict['sha256'][:8]}"
        return f"{criterion} {file}; training {duration(seconds)}, one run after the other"


def print_study(verdict: Mapping[str, Any], words: Words) -> None:
    """Print the claim, the verdict, each condition, the stress panel, what was found before, and how to repeat it.

    Args:
        verdict: The verdict, as it is kept.
        words: The fixed words of the language.
    """
    say = _Spoken(verdict, words)
    width = min(OUT.width, MOST_WIDTH)
    room = width - max(cell_len(say.label(label)) for label in LABELS) - 2
    card = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, width=width)
    card.add_column(style="dim", no_wrap=True)
    card.add_column(overflow="fold")

    def add(label: str, text: str | Text) -> None:
        shown = Text(text) if isinstance(text, str) else text
        card.add_row(say.label(label) if label else "", _filled(shown, room) if say.is_chinese else shown)

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
        OUT.print(_filled(told, width) if say.is_chinese else told, width=width)
    OUT.print(Text.assemble(word, f"  {effect}"))  # what was printed first may have left a small screen


def _filled(text: Text, width: int) -> Text:
    """Return a text with ends of lines, which Chinese fills: it has no blanks, at which alone others are wrapped."""
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
        say, word, stress = _Spoken(verdict, words), verdict["verdict"], verdict["stress"]
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
    say = _Spoken(verdict, words)
    effect = words("effect_unknown") if verdict["effect"] is None else say.own_effect()
    return words("comma").join([say.word(verdict["verdict"]), effect, say.seeds(verdict["n"])])


def effect_of(found: Mapping[str, Any], kind: str) -> str:
    """Return the effect of a study or of a condition with its interval and unit.

    Differences of shares of images are in points, shares themselves in percent.

    Args:
        found: The verdict on the study, or on the condition.
        kind: The form of the condition: ``pair``, ``arm``, ``recovered`` or ``law``.
    """
    if found["effect"] is None:
        return "not known"
    points = found["unit"] == "share of images"
    effect, low, high = (
        "no bound" if value is None else f"{100 * value:.2f}" if points else f"{value:.3g}"
        for value in (found["effect"], found["low"], found["high"])
    )
    unit = ("points" if kind == "pair" else "%") if points else found["unit"]
    return f"{effect} [{low}, {high}] {unit}".strip()
