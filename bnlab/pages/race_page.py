"""The page of a race, or of several: sentences, curves, arms; and verdicts of studies below them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnlab.errors import UnwrittenError
from bnlab.pages.drawn.arm_curves import draw_curves
from bnlab.pages.drawn.layer_maps import draw_layers, recorded_by_layer
from bnlab.pages.drawn.picture import MOST_ARMS, Cell, DataTable, Picture
from bnlab.pages.html_page import render
from bnlab.pages.pair_sentences import share_in_words
from bnlab.pages.study_results import StudyResult
from bnlab.pages.study_view import StudyView, view_studies
from bnlab.pages.words import Words
from bnlab.report.interval_text import points_with_interval
from bnlab.report.wording import BOUNDED
from bnlab.results.arms import Arm
from bnlab.results.curves import read_best_curves
from bnlab.results.race import SATURATION, cell_of, has_one_seed
from bnlab.results.versus import cells_against_first
from bnlab.runfolder.whole_files import write_whole


@dataclass(frozen=True)
class ShownRace:
    """One race, ready to be shown.

    Attributes:
        title: Its heading; empty on the page of one race, which has one of its own.
        sentence: What came out, in a sentence; empty where nobody made one.
        table: A row per arm.
        curves: The figure of its curves; None where no run was evaluated.
        pictures: Its other figures.
        command: The command that repeats it.
        is_of_one_seed: Whether no arm has two runs with an outcome.
    """

    title: str
    sentence: str
    table: DataTable
    curves: Picture | None
    pictures: tuple[Picture, ...]
    command: str
    is_of_one_seed: bool = False


def show_race(
    arms: Sequence[Arm], name: str, words: Words, command: str, title: str = "", sentence: str = ""
) -> ShownRace:
    """Return a race, ready to be shown.

    Args:
        arms: Its arms, as `read_race` returns them.
        name: A name that no other race of the page has.
        words: The fixed words of the page's language.
        command: The command that repeats it.
        title: Its heading.
        sentence: What came out.
    """
    curves = [(arm.label, read_best_curves(arm, every_diagnostic=True)) for arm in arms[:MOST_ARMS]]
    is_of_one_seed = has_one_seed(arms)
    drawn, maps = draw_curves(curves, "accuracy", f"{name}c", words, is_of_one_seed), None
    activations = {
        run.row.get("model.activation") for arm in arms for cell in arm.cells for run in cell.runs if run.row
    }
    if SATURATION in recorded_by_layer(curves) and activations <= BOUNDED:
        maps = draw_layers(curves, SATURATION, f"{name}m", words)
    shown = [None if picture is None else _at_own_rate(picture, words) for picture in (drawn, maps)]
    others = tuple(picture for picture in shown[1:] if picture is not None)
    return ShownRace(title, sentence, arms_table(arms, words), shown[0], others, command, is_of_one_seed)


def arms_table(arms: Sequence[Arm], words: Words) -> DataTable:
    """Return a row per arm: seeds, test accuracy, the difference to the first arm, validation accuracy and loss.

    Args:
        arms: The arms of a race.
        words: The fixed words of the page's language.
    """
    cells = [cell_of(arm) for arm in arms]
    rows = []
    for arm, cell, against in zip(arms, cells, cells_against_first(cells), strict=True):
        test = None if cell is None else cell.mean_test_accuracy()
        validation = None if cell is None or not cell.outcomes else cell.mean("accuracy")
        n = 0 if cell is None else len(cell.outcomes)
        versus = against.get("test_accuracy")
        row = [
            Cell(arm.label),
            Cell(str(n), n),
            Cell(share_in_words(test, words), None if test is None else test.value),
            Cell(points_with_interval(versus.difference), versus.difference.value) if versus else Cell("–"),
            Cell(share_in_words(validation, words), None if validation is None else validation.value),
        ]
        rows.append(tuple(row))
    headings = ("arm", "n", "test_accuracy", "points_to_first", "validation_accuracy")
    return DataTable(tuple(words(key) for key in headings), tuple(rows))


def _at_own_rate(picture: Picture, words: Words) -> Picture:
    """Return a figure whose note does not speak of the best learning rate: an arm of a race has one."""
    return replace(picture, note=picture.note.replace(words("at_best"), words("at_own")))


@dataclass(frozen=True)
class RacePage:
    """One race or several, and verdicts.

    Attributes:
        title: The heading.
        lead: What stands below it.
        races: The races.
        studies: The studies whose verdicts stand below; none where none was asked.
        words: The fixed words of the page's language.
    """

    title: str
    lead: str
    races: tuple[ShownRace, ...]
    studies: tuple[StudyView, ...]
    words: Words

    @property
    def sentences(self) -> list[str]:
        """What came out, a sentence per race that has one."""
        return [race.sentence for race in self.races if race.sentence]

    def html(self) -> str:
        """Return the page as HTML."""
        return render("race", self.words, page=self, title=self.title)


def make_race_page(
    title: str, lead: str, races: Sequence[ShownRace], verdicts: Sequence[dict[str, Any]], words: Words
) -> RacePage:
    """Return the page of some races.

    Args:
        title: The heading.
        lead: What stands below it.
        races: The races, ready to be shown.
        verdicts: The verdicts of studies, as `judge_study` returns them.
        words: The fixed words of the page's language.
    """
    results = [StudyResult.model_validate(verdict) for verdict in verdicts]
    return RacePage(title, lead, tuple(races), tuple(view_studies(results, [], words)), words)


def write_race_page(page: RacePage, path: Path) -> None:
    """Write a page.

    Args:
        page: The page.
        path: The file of HTML.

    Raises:
        UnwrittenError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.html())
    except OSError as error:
        raise UnwrittenError(
            f"{path} cannot be written: {error.strerror}. Make room there, then type it again."
        ) from error
