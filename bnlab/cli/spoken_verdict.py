"""A verdict in the words of a card, in English or Chinese."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from bnlab.cli.consoles import duration
from bnlab.cli.verdict_text import COLORS, MOST_FLIPS
from bnlab.pages.amounts import unit_of
from bnlab.pages.engine_sentences import in_both, in_chinese, reason_of
from bnlab.pages.study_results import StudyResult, Texts
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


class SpokenVerdict:
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
        """Return what stands on the left of a card, in the language."""
        return self.t(LABELS[english]) if self.is_chinese else english

    def word(self, verdict: str) -> str:
        """Return the word of a verdict, in the language."""
        return self.t(verdict) if self.is_chinese else verdict

    def texts(self, both: Mapping[str, str]) -> str:
        """Return a text that stands in both languages, in this one."""
        return in_both(Texts(**both)).in_lang(self.t.lang)[0]

    def engine(self, sentence: str) -> str:
        """Return a sentence of the rooms that judge, in the language where it is known there."""
        return (in_chinese(sentence) if self.is_chinese else None) or sentence

    def claim(self) -> str:
        """Return the claim, with the statements of the article that it is about."""
        verdict = self.verdict
        claim = self.texts({"en": verdict["claim"], "zh": verdict["claim_zh"]})
        return f"{claim} ({verdict['statement']})" if verdict["statement"] else claim

    def reason(self) -> str:
        """Return why the verdict is what it is."""
        if not self.is_chinese:
            return str(self.verdict["reason"])
        return reason_of(StudyResult.model_validate(self.verdict)).in_lang("zh")[0]

    def effect(self, found: Mapping[str, Any], kind: str) -> str:
        """Return the effect of a study or of a condition of some kind, with its interval and unit."""
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
        """Return a number of seeds."""
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

    def brief_condition(self, condition: Mapping[str, Any]) -> Text:
        """Return a condition: its verdict, what it says, its effect."""
        word = condition["verdict"]
        text = f"  {self.texts(condition['says'])} {self.effect(condition, condition['kind'])}"
        return Text.assemble((f"{SYMBOLS[word]} {self.word(word)}", COLORS[word].removeprefix("bold ")), text)

    def condition(self, condition: Mapping[str, Any]) -> Text:
        """Return a condition: its verdict, what it says, its effect, and how that was made."""
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
        """Return in how many other analyses the verdict holds, and which turn it over."""
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
        """Return the rule, the hash of the file in which it stands, and the seconds of training."""
        rule = self.verdict.get("rule") or self.verdict["criterion"]
        criterion, seconds = self.engine(rule), self.verdict["seconds"]
        if self.is_chinese:
            file = self.t("file_hash", hash=self.verdict["sha256"][:8])
            return f"{criterion}{file}{self.t('comma')}{seconds / 60:.1f} {self.t('minutes')}{self.t('stop')}"
        file = f"File {self.verdict['sha256'][:8]}"
        return f"{criterion} {file}; training {duration(seconds)}, one run after the other"


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
