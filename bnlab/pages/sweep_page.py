"""The page of a plain sweep: its arms, its curves, and a verdict on two of them where one can be given."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import BnlabError, StudyError
from bnlab.pages.amounts import number
from bnlab.pages.condition_view import Finding, view_condition
from bnlab.pages.drawn.picture import Cell, DataTable, Picture
from bnlab.pages.html_page import render
from bnlab.pages.study_results import Condition, Texts
from bnlab.pages.sweep_pictures import draw_sweep
from bnlab.pages.words import Words
from bnlab.report.wording import is_without_training
from bnlab.results.arms import LEARNING_RATE, Arm, SweepArms
from bnlab.results.outcomes import Cell as SweepCell
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.stats.estimate import Estimate
from bnlab.studies.judging import find_arms, judge_sweep
from bnlab.studies.quantity import read_quantity

MOST_CELLS = 200
"""Rows of the table of settings; the file of CSV has all."""

MOST_NAMED = 8
"""Arms that are named as not compared; the table has all of them."""

FACTS = (
    *("model", "model.activation", "model.depth", "model.width", "model.init_std", "data", "optim"),
    *(LEARNING_RATE, "optim.momentum", "train.steps", "train.epochs", "train.batch_size", "train.parameters"),
    "placement",
)
"""Settings that are told where all runs share them."""


@dataclass(frozen=True)
class SweepPage:
    """A sweep, ready to be shown.

    Attributes:
        sweep: Its folder, as read.
        arms: Its arms.
        compared: The two arms that the verdict is on: those of ``--arms``, or the only two; None where it has others.
        is_chosen: Whether they were chosen by ``--arms``.
        verdict: The verdict on these arms; None where there is none.
        no_verdict: Why there is none; empty where there is one, or where two arms are to be chosen first.
        pictures: Its figures.
        sentences: What must be said aloud.
        words: The fixed words of the page's language.
    """

    sweep: SweepRuns
    arms: tuple[Arm, ...]
    compared: tuple[Arm, Arm] | None
    is_chosen: bool
    verdict: Finding | None
    no_verdict: str
    pictures: tuple[Picture, ...]
    sentences: tuple[str, ...]
    words: Words

    @property
    def title(self) -> str:
        """The heading."""
        return self.words("sweep_title", name=self.sweep.folder.name)

    @property
    def lead(self) -> str:
        """How large it is."""
        cells = [cell for arm in self.arms for cell in arm.cells]
        seeds = {run.seed for cell in cells for run in cell.runs}
        lrs = {cell.lr for cell in cells}
        sizes = {"runs": len(self.sweep.planned), "arms": len(self.arms), "lrs": len(lrs), "seeds": len(seeds)}
        return self.words("sweep_lead", **sizes)

    @property
    def commands(self) -> list[str]:
        """The commands that made it and judge it."""
        sweeps = [
            shlex.join(["bnlab", "sweep", *words]) for words in (*self.sweep.earlier, self.sweep.overrides) if words
        ]
        return [*sweeps, self._command(self.compared if self.is_chosen else None)]

    @property
    def others(self) -> tuple[Arm, ...]:
        """The arms that the verdict says nothing of."""
        return () if self.compared is None else tuple(arm for arm in self.arms if arm not in self.compared)

    @property
    def choice(self) -> str:
        """Which arms are compared and which are not, or that two are to be chosen; empty where there are only two."""
        if len(self.arms) <= 2:
            return ""
        t, number = self.words, len(self.arms)
        if self.compared is None:
            return t("arms_open", number=number, others=self._named(self.arms))
        first, second = (arm.label for arm in self.compared)
        return t("arms_chosen", first=first, second=second, number=number, others=self._named(self.others))

    def _named(self, arms: Sequence[Arm]) -> str:
        labels = [arm.label for arm in arms[:MOST_NAMED]]
        if len(arms) > MOST_NAMED:
            labels.append(self.words("more", number=len(arms) - MOST_NAMED))
        return self.words("comma").join(labels)

    @property
    def other_command(self) -> str:
        """The command that compares the first arm with one that it was not compared with; empty where there is none."""
        if len(self.arms) <= 2:
            return ""
        first, second = (self.arms[0], self.arms[1]) if self.compared is None else (self.compared[0], self.others[0])
        return self._command((first, second))

    def _command(self, arms: tuple[Arm, Arm] | None) -> str:
        chosen = [] if arms is None else ["--arms", ",".join(arm.folder_name for arm in arms)]
        in_lang = [] if self.words.lang == "en" else ["--lang", self.words.lang]
        return shlex.join(["bnlab", "report", self.sweep.folder.name, *chosen, *in_lang])

    @property
    def best(self) -> DataTable:
        """Each arm at its best learning rate."""
        t = self.words
        rows = []
        for arm in self.arms:
            best = arm.best()
            if best is None:
                rows.append((Cell(arm.label), Cell("–"), Cell("0", 0), Cell("–"), Cell("–"), Cell(t("unknown"))))
                continue
            note = t("no_better") if best.lr is None else t("edge") if best.edge else ""
            lr = Cell("–") if best.lr is None else rate_cell(best.lr, t)
            n = len(best.cell.outcomes)
            rows.append((Cell(arm.label), lr, Cell(str(n), n), *_figures(best.cell), Cell(note)))
        headings = ("arm", "best_lr", "n", "test_accuracy", "validation_loss", "notes")
        return _without_empty_end(DataTable(tuple(t(key) for key in headings), tuple(rows)))

    @property
    def cells(self) -> DataTable:
        """All settings with their means."""
        t = self.words
        rows = []
        for arm in self.arms:
            for cell in arm.cells:
                n = len(cell.outcomes)
                accuracy = cell.mean("accuracy") if cell.outcomes else None
                test, loss = _figures(cell)
                row = (
                    Cell(arm.label),
                    rate_cell(cell.lr, t),
                    Cell(str(n), n),
                    test,
                    share_cell(accuracy),
                    loss,
                )
                rows.append((*row, Cell(_notes(cell, t))))
        headings = ("arm", "lr", "n", "test_accuracy", "validation_accuracy", "validation_loss", "notes")
        return _without_empty_end(DataTable(tuple(t(key) for key in headings), tuple(rows[:MOST_CELLS])))

    @property
    def facts(self) -> DataTable:
        """The settings that all runs share."""
        shared = self.sweep.shared_settings()
        if shared.get("train.steps") is not None:
            shared.pop("train.epochs", None)  # steps win over epochs
        rows = [
            (Cell(key), Cell(_setting(key, shared[key], self.words))) for key in FACTS if shared.get(key) is not None
        ]
        return DataTable((self.words("settings"), self.words("setting_value")), tuple(rows))

    def html(self) -> str:
        """Return the page as HTML."""
        return render("sweep", self.words, page=self, title=self.title)


def make_sweep_page(folder: Path, words: Words, chosen: Sequence[str] = ()) -> SweepPage:
    """Return the page of a sweep.

    Args:
        folder: The sweep's folder; any folder of runs will do.
        words: The fixed words of the page's language.
        chosen: The two arms that the verdict is on, as for ``bnlab judge --arms``; none: the only two. Where there are
            more, there is no verdict: one on the first two would be one that nobody has asked for.

    Raises:
        ConfigError: There are no such arms.
        StudyError: There are no runs in it.
    """
    sweep = read_sweep(folder)
    grid = sweep.read_arms()
    if not grid.arms:
        raise StudyError(
            f"{folder} holds neither results of studies nor the runs of a sweep. Make some: bnlab study all, or "
            "bnlab sweep norm=batch,none 'seed=range(5)'."
        )
    compared = _compared(grid, chosen)
    verdict, why = None, ""
    if compared is not None or len(grid.arms) == 1:
        try:
            verdict = _judged(folder, compared, words)
        except BnlabError as error:
            why = str(error)
    first = compared if chosen and compared is not None else ()  # figures show the first few arms
    pictures = draw_sweep([*first, *(arm for arm in grid.arms if arm not in first)], "f", words)
    sentences = tuple(grid.sentences())
    return SweepPage(sweep, grid.arms, compared, bool(chosen), verdict, why, pictures, sentences, words)


def _compared(grid: SweepArms, chosen: Sequence[str]) -> tuple[Arm, Arm] | None:
    """Return the two arms that a verdict is on: those that were chosen, else the only two; None where there are others.

    Raises:
        ConfigError: There are no such arms.
    """
    return find_arms(grid, chosen, with_where=False) if chosen or len(grid.arms) == 2 else None


def _judged(folder: Path, arms: tuple[Arm, Arm] | None, words: Words) -> Finding:
    """Return the verdict on two arms, as if a study had asked for it; None stands for those of a sweep that has one.

    Raises:
        BnlabError: There is none.
    """
    judged = judge_sweep(folder, read_quantity("test_accuracy"), arms=[arm.label for arm in arms or ()])
    found = judged.as_dict()
    says = Texts(en=found["claim"])
    condition = Condition.model_validate({**found, "kind": "pair", "says": says, "bound": f"above {judged.sesoi:g}"})
    return view_condition(condition, "", "fv", words)


def _without_empty_end(data: DataTable) -> DataTable:
    """Return a table without its last column where that is empty."""
    if any(row[-1].text for row in data.rows):
        return data
    return DataTable(data.headings[:-1], tuple(row[:-1] for row in data.rows))


def _figures(cell: SweepCell) -> tuple[Cell, Cell]:
    """Return the test accuracy and the validation loss of a cell."""
    return share_cell(cell.mean_test_accuracy()), _loss_cell(cell)


def share_cell(estimate: Estimate | None) -> Cell:
    """Return a mean share in percent, with half the width of its interval where it has one."""
    if estimate is None:
        return Cell("–")
    half = half_width(estimate)
    return Cell(f"{100 * estimate.value:.2f}%" + ("" if half is None else f" ±{100 * half:.2f}"), estimate.value)


def rate_cell(learning_rate: float, words: Words) -> Cell:
    """Return a learning rate; of one at which nothing is learned, that there was no training."""
    text = number(learning_rate)
    return Cell(f"{text} ({words('not_trained')})" if is_without_training(learning_rate) else text, learning_rate)


def _loss_cell(cell: SweepCell) -> Cell:
    if not cell.outcomes:
        return Cell("–")
    estimate = cell.mean("loss")
    half = half_width(estimate)
    return Cell(number(estimate.value) + ("" if half is None else f" ±{number(half, 2)}"), estimate.value)


def half_width(estimate: Estimate) -> float | None:
    """Return half the width of an interval; None where there is none."""
    return None if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / 2


def _notes(cell: SweepCell, words: Words) -> str:
    missing = sum(cell.num_missing.values())
    notes = [words("diverged", number=cell.num_diverged)] if cell.num_diverged else []
    return words("comma").join([*notes, *([words("missing", number=missing)] if missing else [])])


def _setting(key: str, value: Any, words: Words) -> str:
    if key == LEARNING_RATE and isinstance(value, float) and is_without_training(value):
        return f"{value:g} ({words('not_trained')})"
    return f"{value:g}" if isinstance(value, float) else str(value)
