"""A study as a page shows it: its verdict, the conditions behind it, and its figures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bnlab.pages.amounts import Unit, unit_of
from bnlab.pages.drawn.picture import Cell, DataTable, Picture
from bnlab.pages.drawn.seed_dots import draw_seeds, read_region, seeds_table
from bnlab.pages.holm import SHARED, adjusted_shares
from bnlab.pages.interval_strip import draw_strip
from bnlab.pages.study_results import Condition, StudyResult, Texts, Word, statements_in
from bnlab.pages.sweep_pictures import SweepPictures
from bnlab.pages.words import Words, article_statements

MINUTE = 60.0


@dataclass(frozen=True)
class Finding:
    """One condition, ready to be shown.

    Attributes:
        number: ``1``, ``2``, ... for those that decide, ``a``, ``b``, ... for the others.
        condition: What the study says of it.
        says: The condition as a sentence.
        detail: Where it was measured, in the words of settings; empty where its sentence says enough.
        bound: The bound with its unit.
        unit: How its effects are written.
        picture: The figure of its seeds; None where there is none.
        table: Its figures by seed.
        strip: The interval as a small drawing.
    """

    number: str
    condition: Condition
    says: Texts
    detail: str
    bound: str
    unit: Unit
    picture: Picture | None
    table: DataTable
    strip: Markup

    @property
    def has_more(self) -> bool:
        """Whether there is more to show than a row of a table holds."""
        return bool(self.picture or self.table.rows or self.condition.sentences or self.condition.reason)


@dataclass(frozen=True)
class StudyView:
    """One study, ready to be shown.

    Attributes:
        result: What the study left.
        anchor: Its place in the page.
        adjusted: The error rate of the whole table at which its verdict would just hold; None where it takes no part.
        family: ``holds``, ``does_not_hold`` or ``exact``; None where there is no verdict to hold.
        unit: How its effect is written.
        findings: The conditions that decide.
        also: The conditions that decide nothing.
        parts: Its sweeps, with their figures.
        strip: The interval as a small drawing.
        history: The verdicts that it gave earlier.
        facts: Its name, scale, experiment, version and file, in words.
    """

    result: StudyResult
    anchor: str
    adjusted: float | None
    family: str | None
    unit: Unit
    findings: tuple[Finding, ...]
    also: tuple[Finding, ...]
    parts: tuple[SweepPictures, ...]
    strip: Markup
    history: DataTable
    facts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, with its scale where it is not the quick one."""
        scale = self.result.scale
        return self.result.study if scale in {"", "quick"} else f"{self.result.study} ({scale})"

    @property
    def claim(self) -> Texts:
        """The claim."""
        return self.result.texts

    @property
    def minutes(self) -> str:
        """The minutes of training, as text."""
        return "–" if self.result.seconds is None else f"{self.result.seconds / MINUTE:.1f}"

    @property
    def rows_below(self) -> list[Finding]:
        """The conditions that stand below it in a table: those of a statement of their own, and all that disagree."""
        is_mixed = any(each.condition.verdict != self.result.verdict for each in self.findings)
        own = [each for each in (*self.findings, *self.also) if each.condition.statement]
        several = len({each.condition.statement for each in own}) > 1
        differing = any(each.condition.verdict != self.result.verdict for each in own)
        shown = own if several or differing else []
        return [each for each in (*self.findings, *self.also) if each in shown or (is_mixed and each in self.findings)]

    @property
    def short_statements(self) -> str:
        """The ids of its statements, those in a row as ``S1–S10``."""
        numbers = sorted(int(name[1:]) for name in self.result.statements)
        rows: list[list[int]] = []
        for each in numbers:
            if rows and each == rows[-1][-1] + 1:
                rows[-1].append(each)
            else:
                rows.append([each])
        texts = [f"S{row[0]}–S{row[-1]}" if len(row) > 2 else ", ".join(f"S{each}" for each in row) for row in rows]
        return ", ".join(texts)

    @property
    def articles(self) -> list[tuple[str, Texts]]:
        """The statements of the article that it is about, with their texts."""
        known = article_statements()
        return [(name, known[name][1]) for name in self.result.statements if name in known]

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is what it is, each reason once."""
        return list(dict.fromkeys(each.condition.reason for each in self.findings if each.condition.reason))

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The name and the command of each sweep behind it."""
        return [(name, part.command) for name, part in self.result.parts.items() if part.command]

    def answers(self) -> list[tuple[str, Word]]:
        """Return which statements it answers, and how: a condition of its own before the whole study."""
        own = [
            (name, each.verdict)
            for each in (*self.result.conditions, *self.result.also)
            for name in statements_in(each.statement)
        ]
        taken = {name for name, _ in own}
        whole = [(name, self.result.verdict) for name in self.result.statements if name not in taken]
        return list(dict.fromkeys([*whole, *own]))


def view_studies(results: Sequence[StudyResult], roots: Sequence[Path], words: Words) -> list[StudyView]:
    """Return all studies of a table, in the order of the article's statements.

    Args:
        results: What the studies left.
        roots: Folders of runs in which their sweeps are looked for, the first one first.
        words: The fixed words.
    """
    ordered = sorted(results, key=_place)
    adjusted = adjusted_shares([_share(result) for result in ordered])
    views = []
    for number, (result, share) in enumerate(zip(ordered, adjusted, strict=True), start=1):
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", result.study).strip("-") or "study"
        anchor = f"study-{number}-{slug}"
        drawn = SweepPictures.of_study(result, roots, f"f{number}", words)
        views.append(_view(result, anchor, share, drawn, f"f{number}", words))
    return views


def _view(
    result: StudyResult,
    anchor: str,
    adjusted: float | None,
    parts: tuple[SweepPictures, ...],
    name: str,
    words: Words,
) -> StudyView:
    first = result.conditions[0] if result.conditions else None
    unit = unit_of("pair" if first is None else first.kind, result.unit)
    region = None if first is None or first.kind == "law" else read_region(first.bound, unit.is_ratio)
    conditions = enumerate(result.conditions, start=1)
    findings = tuple(view_condition(each, str(place), f"{name}c{place}", words) for place, each in conditions)
    also = tuple(
        view_condition(each, _letter(place), f"{name}a{place}", words) for place, each in enumerate(result.also)
    )
    family = None
    if result.verdict != "inconclusive":
        family = "exact" if adjusted is None else "holds" if adjusted <= SHARED else "does_not_hold"
    strip = draw_strip(result.effect if region else None, result.low, result.high, region, unit)
    history = history_table(result, words)
    facts = _facts(result, words)
    return StudyView(result, anchor, adjusted, family, unit, findings, also, parts, strip, history, facts)


def view_condition(condition: Condition, number: str, name: str, words: Words) -> Finding:
    """Return a condition, ready to be shown.

    Args:
        condition: What the study says of it.
        number: How the page names it.
        name: A name that no other figure of the page has.
        words: The fixed words.
    """
    unit = unit_of(condition.kind, condition.unit)
    says = condition.says
    arms = " / ".join(condition.arms)
    measured = [condition.metric, arms]
    if not says.en and not says.zh:
        text = f"{words.metric(condition.metric)}{words.colon}{arms}"
        says, measured = Texts(en=text, zh=text), []
    part = words("of_part", part=condition.part) if condition.part not in {"", "main"} else ""
    detail = " · ".join(text for text in (*measured, *condition.where, part) if text)
    region = None if condition.kind == "law" else read_region(condition.bound, unit.is_ratio)
    strip = draw_strip(condition.effect if region else None, condition.low, condition.high, region, unit)
    picture = draw_seeds(condition, name, words)
    return Finding(
        number, condition, says, detail, condition.bound, unit, picture, seeds_table(condition, words), strip
    )


def _facts(result: StudyResult, words: Words) -> tuple[str, ...]:
    facts = [result.study, result.experiment]
    for key, value in (("scale", result.scale), ("made", result.made[:10]), ("version", result.version)):
        facts.append(words(key, **{key: value}) if value else "")
    facts.append(words("file_hash", hash=result.sha256[:8]) if result.sha256 else "")
    return tuple(fact for fact in facts if fact)


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else f"a{place}"


def _place(result: StudyResult) -> tuple[int, str, str]:
    """Return where a study stands in a table: by its first statement; definitions after claims, other claims last."""
    first = min((int(name[1:]) for name in result.statements), default=1000)
    if result.conditions and all(condition.kind == "law" for condition in result.conditions):
        first += 100
    return first, result.study, result.scale


def _share(result: StudyResult) -> float | None:
    """Return the error rate at which the verdict would just hold; 1 without a verdict; None where there is no error."""
    return 1.0 if result.verdict == "inconclusive" else result.holm_p


def history_table(result: StudyResult, words: Words) -> DataTable:
    """Return the verdicts that the study gave earlier.

    Args:
        result: What the study left.
        words: The fixed words.
    """
    unit = unit_of(result.conditions[0].kind if result.conditions else "pair", result.unit)
    rows = []
    for look in result.history:
        verdict = words(look.verdict) if words.has(look.verdict) else look.verdict
        effect = unit.amount(look.effect, words.lang)
        text = f"{effect} {unit.interval(look.low, look.high, words.lang)}".strip()
        rows.append(
            (Cell(look.made), Cell(verdict), Cell(text, look.effect), Cell("–" if look.n is None else str(look.n)))
        )
    return DataTable((words("when"), words("verdict"), words("effect"), words("n")), tuple(rows))
