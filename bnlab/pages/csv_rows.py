"""The numbers of a page as rows of CSV: one file, in which the column ``kind`` tells what a row is about."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from bnlab.pages.condition_view import Finding
from bnlab.pages.drawn.seed_dots import SeedFigure, seed_figures
from bnlab.pages.plain_text import plain
from bnlab.pages.studies_page import StudiesPage
from bnlab.pages.study_results import Bracket, Condition, Stress
from bnlab.pages.study_view import StudyView
from bnlab.pages.sweep_page import SweepPage
from bnlab.stats.estimate import Estimate

COLUMNS = (
    *("kind", "study", "scale", "condition", "part", "statement", "claim", "metric", "arms", "arm", "lr", "bound"),
    *("pack", "verdict", "reason", "effect", "low", "high", "unit", "n", "sesoi", "level", "method"),
    *("agree", "of", "holm_p", "holm_adjusted", "family", "seconds", "seed", "first", "second", "difference"),
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high"),
    *("validation_accuracy", "validation_accuracy_low", "validation_accuracy_high"),
    *("validation_loss", "validation_loss_low", "validation_loss_high", "diverged", "missing"),
)
"""All columns; those that no row has are left out."""

Row = dict[str, Any]


def studies_csv(page: StudiesPage) -> str:
    """Return the studies of a page as CSV: a row per study, per condition, and per seed of each condition."""
    rows: list[Row] = []
    for study in page.studies:
        rows.append(_study_row(study))
        for kind, findings in (("condition", study.findings), ("check", study.checks), ("also", study.also)):
            for finding in findings:
                rows += _condition_rows(finding, kind, {"study": study.result.study, "scale": study.result.scale})
    return _written(rows)


def sweep_csv(page: SweepPage) -> str:
    """Return a sweep as CSV: its verdict, its seeds, and a row per arm and learning rate."""
    rows: list[Row] = []
    if page.verdict is not None:
        rows += _condition_rows(page.verdict, "verdict", {"study": page.sweep.folder.name})
    for arm in page.arms:
        for cell in arm.cells:
            row: Row = {"kind": "cell", "arm": arm.label, "lr": cell.lr, "n": len(cell.outcomes)}
            row |= {"diverged": cell.num_diverged, "missing": sum(cell.num_missing.values())}
            row |= _estimate("test_accuracy", cell.mean_test_accuracy())
            if cell.outcomes:
                row |= _estimate("validation_accuracy", cell.mean("accuracy"))
                row |= _estimate("validation_loss", cell.mean("loss"))
            rows.append(row)
    return _written(rows)


def _study_row(study: StudyView) -> Row:
    result = study.result
    row: Row = {"kind": "study", "claim": result.claim, "pack": study.pack, **_stress(result.stress)}
    if result.decisive_condition is not None:
        row["condition"] = study.findings[result.decisive].number
    names = (
        "study",
        "scale",
        "statement",
        "verdict",
        "reason",
        "effect",
        "low",
        "high",
        "unit",
        "n",
        "sesoi",
        "holm_p",
        "seconds",
    )
    row |= {name: getattr(result, name) for name in names}
    return row | {"holm_adjusted": study.adjusted, "family": study.family}


def _condition_rows(finding: Finding, kind: str, of: Mapping[str, Any]) -> list[Row]:
    condition = finding.condition
    names = ("part", "statement", "metric", "bound", "verdict", "reason", "effect", "low", "high", "unit", "n", "sesoi")
    row: Row = {"kind": kind, **of, "condition": finding.number, "claim": finding.says.in_lang("en")[0]}
    row |= {name: getattr(condition, name) for name in (*names, "level", "method")}
    row |= {"arms": ",".join(condition.arms), **_stress(condition.stress)}
    figures = enumerate(seed_figures(condition))
    return [row, *(_seed_row(condition, place, figure, finding.number, of) for place, figure in figures)]


def _stress(stress: Stress) -> Row:
    """Return in how many analyses the verdict holds; nothing where there is no other one."""
    return {"agree": stress.agree, "of": stress.of} if stress.of else {}


def _seed_row(condition: Condition, place: int, figure: SeedFigure, number: str, of: Mapping[str, Any]) -> Row:
    row: Row = {"kind": "seed", **of, "condition": number, "seed": figure.seed, "difference": figure.value}
    for name, figures in (("first", condition.first), ("second", condition.second)):
        value = figures[place] if place < len(figures) else None
        row[name] = value.seen if isinstance(value, Bracket) else value
    return row


def _estimate(name: str, estimate: Estimate | None) -> Row:
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _written(rows: Iterable[Row]) -> str:
    found = list(rows)
    columns = [name for name in COLUMNS if any(row.get(name) not in {None, ""} for row in found)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _field(value) for name, value in row.items()} for row in found)
    return buffer.getvalue()


def _field(value: Any) -> Any:
    """Return a value for CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
