"""A study as a page shows it: its verdict, the conditions behind it, and its figures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bnlab.pages.amounts import Unit, unit_of
from bnlab.pages.condition_view import Finding, view_condition
from bnlab.pages.drawn.picture import Cell, DataTable
from bnlab.pages.engine_sentences import reason_of
from bnlab.pages.holm import SHARED
from bnlab.pages.interval_strip import draw_strip
from bnlab.pages.packs import adjusted_by_pack, in_order, pack_of
from bnlab.pages.study_results import StudyResult, Texts, Word, shortened, statements_in
from bnlab.pages.sweep_pictures import SweepPictures
from bnlab.pages.words import Words, article_statements
from bnlab.studies.bounds import read_region

MINUTE = 60.0


@dataclass(frozen=True)
class StudyView:
    """One study, ready to be shown.

    Attributes:
        result: What the study left.
        anchor: Its place in the page.
        pack: The group of studies in whose table it stands.
        adjusted: The error rate of that table at which its verdict would just hold; None where it takes no part.
        family: ``holds``, ``does_not_hold`` or ``exact``; None where there is no verdict to hold.
        unit: How its effect is written.
        reason: Why its verdict is what it is.
        findings: The conditions that decide.
        checks: What the experiment presupposes.
        also: The conditions that decide nothing.
        parts: Its sweeps, with their figures.
        strip: The interval as a small drawing.
        history: The verdicts that it gave earlier.
        facts: Its name, scale, experiment, version and file, in words.
    """

    result: StudyResult
    anchor: str
    pack: str
    adjusted: float | None
    family: str | None
    unit: Unit
    reason: Texts
    findings: tuple[Finding, ...]
    checks: tuple[Finding, ...]
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
        """What stands below it in a table: conditions of several statements, or that disagree, and checks that fail."""
        is_mixed = any(each.condition.verdict != self.result.verdict for each in self.findings)
        own = [each for each in self.findings if each.condition.statement]
        several = len({each.condition.statement for each in own}) > 1
        failed = [each for each in self.checks if each.condition.verdict != "supported"]
        return [*(self.findings if is_mixed else own if several else ()), *failed]

    @property
    def short_statements(self) -> str:
        """The ids of its statements, those in a row as ``S1–S10``."""
        return shortened(self.result.statements)

    @property
    def articles(self) -> list[tuple[str, Texts]]:
        """The statements of the article that it is about, with their texts."""
        known = article_statements()
        return [(name, known[name][1]) for name in self.result.statements if name in known]

    @property
    def reasons(self) -> list[str]:
        """Why its conditions came out as they did, each reason once; none where one sentence says it of the study."""
        if self.result.reason:
            return []
        return list(dict.fromkeys(each.condition.reason for each in self.findings if each.condition.reason))

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The name and the command of each sweep behind it."""
        return [(name, part.command) for name, part in self.result.parts.items() if part.command]

    def answers(self) -> list[tuple[str, Word]]:
        """Return which statements it answers, and how: a condition of its own before the whole study.

        Where a check fails, the experiment is no test, whatever its conditions say. What is measured besides decides
        nothing, and answers nothing.
        """
        result = self.result
        own = [
            (name, each.verdict if result.failed_check is None else result.verdict)
            for each in result.conditions
            for name in statements_in(each.statement)
        ]
        taken = {name for name, _ in own}
        whole = [(name, result.verdict) for name in result.statements if name not in taken]
        return list(dict.fromkeys([*whole, *own]))

    def statement_of(self, finding: Finding) -> str:
        """Return the statement that a condition answers; empty where it answers none.

        Args:
            finding: One of its conditions or checks.
        """
        return finding.condition.statement if finding in self.findings and self.result.failed_check is None else ""


def view_studies(results: Sequence[StudyResult], roots: Sequence[Path], words: Words) -> list[StudyView]:
    """Return all studies of a page, by group, in the order of the article's statements.

    Args:
        results: What the studies left.
        roots: Folders of runs in which their sweeps are looked for, the first one first.
        words: The fixed words of the page's language.
    """
    ordered = in_order(results)
    adjusted = adjusted_by_pack(ordered)
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
    shown = result.decisive_condition
    unit = _unit(result)
    region = None if shown is None or shown.kind == "law" else read_region(shown.bound)
    conditions = enumerate(result.conditions, start=1)
    findings = tuple(view_condition(each, str(place), f"{name}c{place}", words) for place, each in conditions)
    checks = tuple(
        view_condition(each, f"C{place}", f"{name}k{place}", words) for place, each in enumerate(result.checks, start=1)
    )
    also = tuple(
        view_condition(each, _letter(place), f"{name}a{place}", words) for place, each in enumerate(result.also)
    )
    family = None
    if result.verdict != "inconclusive":
        family = "exact" if adjusted is None else "holds" if adjusted <= SHARED else "does_not_hold"
    strip = draw_strip(result.effect if region else None, result.low, result.high, region, unit)
    return StudyView(
        result=result,
        anchor=anchor,
        pack=pack_of(result),
        adjusted=adjusted,
        family=family,
        unit=unit,
        reason=reason_of(result),
        findings=findings,
        checks=checks,
        also=also,
        parts=parts,
        strip=strip,
        history=history_table(result, words),
        facts=_facts(result, words),
    )


def _unit(result: StudyResult) -> Unit:
    """Return how the effect of a study is written, which is that of its decisive condition."""
    shown = result.decisive_condition
    return unit_of("pair" if shown is None else shown.kind, result.unit)


def _facts(result: StudyResult, words: Words) -> tuple[str, ...]:
    facts = [result.study, result.experiment]
    for key, value in (("scale", result.scale), ("made", result.made[:10]), ("version", result.version)):
        facts.append(words(key, **{key: value}) if value else "")
    facts.append(words("file_hash", hash=result.sha256[:8]) if result.sha256 else "")
    return tuple(fact for fact in facts if fact)


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else f"a{place}"


def history_table(result: StudyResult, words: Words) -> DataTable:
    """Return the verdicts that the study gave earlier.

    Args:
        result: What the study left.
        words: The fixed words of the page's language.
    """
    unit = _unit(result)
    rows = []
    for look in result.history:
        verdict = words(look.verdict) if words.has(look.verdict) else look.verdict
        effect = unit.amount(look.effect, words.lang)
        text = f"{effect} {unit.interval(look.low, look.high, words.lang)}".strip()
        rows.append(
            (Cell(look.made), Cell(verdict), Cell(text, look.effect), Cell("–" if look.n is None else str(look.n)))
        )
    return DataTable((words("when"), words("verdict"), words("effect"), words("n")), tuple(rows))
