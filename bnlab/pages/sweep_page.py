"""The page of a plain sweep: its arms, its curves, and a verdict on two of them where one can be given."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import BnlabError, StudyError
from bnlab.pages.condition_view import Finding, view_condition
from bnlab.pages.drawn.picture import Cell, DataTable, Picture
from bnlab.pages.html_page import render
from bnlab.pages.study_results import Condition, Texts
from bnlab.pages.sweep_numbers import best_table, cells_table, instruments_table
from bnlab.pages.sweep_pictures import draw_sweep
from bnlab.pages.words import Words
from bnlab.report.instrument_rows import instrument_rows
from bnlab.report.wording import is_without_training
from bnlab.results.arms import LEARNING_RATE, Arm, SweepArms
from bnlab.results.instruments import asked_instruments
from bnlab.results.race import has_one_seed
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.studies.judging import find_arms, judge_sweep
from bnlab.studies.quantity import read_quantity

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
    def is_of_one_seed(self) -> bool:
        """Whether no setting has two runs with an outcome."""
        return has_one_seed(self.arms)

    @property
    def best(self) -> DataTable:
        """Each arm at its best learning rate."""
        return best_table(self.arms, self.words)

    @property
    def cells(self) -> DataTable:
        """All settings with their means."""
        return cells_table(self.arms, self.words)

    @property
    def instruments(self) -> DataTable | None:
        """What was measured last, where the sweep's words ask for instruments; else None."""
        asked = asked_instruments(self.sweep)
        arms = [arm for arm in self.arms if arm.compared]
        rows = instrument_rows(arms, asked) if asked and arms else []
        return instruments_table(arms, rows, self.words) if rows else None

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
            verdict = _judged(sweep, compared, words)
        except BnlabError as error:
            why = str(error)
    first = compared if chosen and compared is not None else ()  # figures show the first few arms
    arms = [*first, *(arm for arm in grid.arms if arm not in first)]
    pictures = draw_sweep(arms, "f", words, with_loss=True, measured=asked_instruments(sweep))
    sentences = tuple(grid.sentences())
    return SweepPage(sweep, grid.arms, compared, bool(chosen), verdict, why, pictures, sentences, words)


def _compared(grid: SweepArms, chosen: Sequence[str]) -> tuple[Arm, Arm] | None:
    """Return the two arms that a verdict is on: those that were chosen, else the only two; None where there are others.

    Raises:
        ConfigError: There are no such arms.
    """
    return find_arms(grid, chosen, with_where=False) if chosen or len(grid.arms) == 2 else None


def _judged(sweep: SweepRuns, arms: tuple[Arm, Arm] | None, words: Words) -> Finding:
    """Return the verdict on two arms, as if a study had asked for it; None stands for those of a sweep that has one.

    Raises:
        BnlabError: There is none.
    """
    labels = [arm.label for arm in arms or ()]
    judged = judge_sweep(sweep.folder, read_quantity("test_accuracy"), arms=labels, sweep=sweep)
    found = judged.as_dict()
    says = Texts(en=found["claim"])
    condition = Condition.model_validate({**found, "kind": "pair", "says": says, "bound": f"above {judged.sesoi:g}"})
    return view_condition(condition, "", "fv", words)


def _setting(key: str, value: Any, words: Words) -> str:
    if key == LEARNING_RATE and isinstance(value, float) and is_without_training(value):
        return f"{value:g} ({words('not_trained')})"
    return f"{value:g}" if isinstance(value, float) else str(value)
