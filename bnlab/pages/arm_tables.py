"""The tables of a sweep's page: arms at their best learning rate, all settings, and what instruments measured."""

import math
from collections.abc import Callable, Sequence

from bnlab.pages.amounts import number
from bnlab.pages.drawn.picture import Cell, DataTable, labels_of
from bnlab.pages.words import Words
from bnlab.report.instrument_rows import InstrumentRow
from bnlab.report.wording import is_without_training
from bnlab.results.arms import Arm
from bnlab.results.outcomes import Cell as SweepCell
from bnlab.results.versus import Figure, Versus, against_first
from bnlab.stats.estimate import Estimate

MOST_CELLS = 200
"""Rows of the table of settings; the file of CSV has all."""


def best_table(arms: Sequence[Arm], t: Words) -> DataTable:
    """Return each arm at its best learning rate, with its difference from the first arm, seed by seed.

    Args:
        arms: The arms of the sweep.
        t: The fixed words of the page's language.
    """
    against = against_first(arms)
    figure: Figure = "test_accuracy" if any("test_accuracy" in each for each in against) else "accuracy"
    rows = []
    for arm, versus in zip(arms, against, strict=True):
        best = arm.best()
        if best is None:
            rows.append((Cell(arm.label), Cell("–"), Cell("0", 0), *[Cell("–")] * 4, Cell(t("unknown"))))
            continue
        note = t("no_better") if best.lr is None else t("edge") if best.edge else ""
        lr = Cell("–") if best.lr is None else rate_cell(best.lr, t)
        n = len(best.cell.outcomes)
        points, change = _points(versus.get(figure)), _change(versus.get("loss"))
        test, loss = share_cell(best.cell.mean_test_accuracy()), _loss_cell(best.cell)
        rows.append((Cell(arm.label), lr, Cell(str(n), n), test, points, loss, change, Cell(note)))
    first = labels_of([arms[0].label])[0] if arms else ""
    headings = [t(key) for key in ("arm", "best_lr", "n", "test_accuracy")]
    headings += [t("against_points", first=first), t("validation_loss"), t("against", first=first), t("notes")]
    return _without_empty_columns(DataTable(tuple(headings), tuple(rows)))


def cells_table(arms: Sequence[Arm], t: Words) -> DataTable:
    """Return all settings with their means.

    Args:
        arms: The arms of the sweep.
        t: The fixed words of the page's language.
    """
    rows = []
    for arm in arms:
        for cell in arm.cells:
            n = len(cell.outcomes)
            accuracy = cell.mean("accuracy") if cell.outcomes else None
            figures = (share_cell(cell.mean_test_accuracy()), share_cell(accuracy), _loss_cell(cell))
            rows.append((Cell(arm.label), rate_cell(cell.lr, t), Cell(str(n), n), *figures, Cell(_notes(cell, t))))
    headings = ("arm", "lr", "n", "test_accuracy", "validation_accuracy", "validation_loss", "notes")
    return _without_empty_columns(DataTable(tuple(t(key) for key in headings), tuple(rows[:MOST_CELLS])))


def instruments_table(arms: Sequence[Arm], rows: Sequence[InstrumentRow], t: Words) -> DataTable:
    """Return what instruments measured last, arm by arm.

    Args:
        arms: The arms, in the order of the rows' values.
        rows: What the instruments measured.
        t: The fixed words of the page's language.
    """
    found = []
    for row in rows:
        for arm, mean, versus in zip(arms, row.means, row.against, strict=True):
            name = " ".join(labels_of([t.metric(row.name), row.layer])).strip()
            value = share_cell(mean) if row.is_share else _with_ends(mean, number)
            change = Cell("") if versus is None else _instrument_change(row, versus.difference, t)
            found.append((Cell(name), Cell(arm.label), value, change))
    first = labels_of([arms[0].label])[0] if arms else ""
    headings = (t("instrument"), t("arm"), t("last_value"), t("against", first=first))
    return _without_empty_columns(DataTable(headings, tuple(found)))


def rate_cell(learning_rate: float, words: Words) -> Cell:
    """Return a learning rate; of one at which nothing is learned, that there was no training."""
    text = number(learning_rate)
    return Cell(f"{text} ({words('not_trained')})" if is_without_training(learning_rate) else text, learning_rate)


def share_cell(estimate: Estimate | None) -> Cell:
    """Return a mean share in percent, with the ends of its interval where it has one."""
    cell = _with_ends(estimate, lambda share: f"{100 * share:.2f}")
    head, bracket, ends = cell.text.partition(" [")
    return cell if estimate is None else Cell(f"{head}%{bracket}{ends}", cell.raw)


def _instrument_change(row: InstrumentRow, difference: Estimate, t: Words) -> Cell:
    if row.scale == "log":
        cell = _with_ends(difference, lambda value: number(value, 2))
        return Cell(f"× {cell.text}", cell.raw)
    if row.is_share:
        cell = _with_ends(difference, _signed_points)
        return Cell(t("in_points", value=cell.text), cell.raw)
    return _with_ends(difference, _signed)


def _loss_cell(cell: SweepCell) -> Cell:
    return _with_ends(cell.mean("loss"), number) if cell.outcomes else Cell("–")


def _points(versus: Versus | None) -> Cell:
    return Cell("") if versus is None else _with_ends(versus.difference, _signed_points)


def _change(versus: Versus | None) -> Cell:
    return Cell("") if versus is None else _with_ends(versus.difference, _signed)


def _with_ends(estimate: Estimate | None, write: Callable[[float], str]) -> Cell:
    if estimate is None:
        return Cell("–")
    raw = estimate.value if math.isfinite(estimate.value) else None
    if estimate.low is None or estimate.high is None:
        return Cell(write(estimate.value), raw)
    return Cell(f"{write(estimate.value)} [{write(estimate.low)}, {write(estimate.high)}]", raw)


def _signed(value: float) -> str:
    text = number(value, 2)
    return f"+{text}" if value > 0 and text != "0" else text


def _signed_points(share: float) -> str:
    text = f"{100 * abs(share):.2f}"
    sign = "" if text == "0.00" else "+" if share > 0 else "−"
    return f"{sign}{text}"


def _notes(cell: SweepCell, words: Words) -> str:
    missing = sum(cell.num_missing.values())
    notes = [words("diverged", number=cell.num_diverged)] if cell.num_diverged else []
    return words("comma").join([*notes, *([words("missing", number=missing)] if missing else [])])


def _without_empty_columns(data: DataTable) -> DataTable:
    """Return a table without the columns in which nothing stands."""
    kept = [place for place in range(len(data.headings)) if any(row[place].text for row in data.rows)]
    headings = tuple(data.headings[place] for place in kept)
    return DataTable(headings, tuple(tuple(row[place] for place in kept) for row in data.rows))
