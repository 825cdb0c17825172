"""The progress of a race, on standard error: the curves of all arms while they grow; plain lines elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from bnlab.cli.consoles import knows_braille
from bnlab.cli.sweep_view import LiveView, PlainSweepView, SweepProgress
from bnlab.pages.words import Words
from bnlab.report.race_chart import RaceLine, draw_race
from bnlab.runfolder.json_lines import read_new_lines

if TYPE_CHECKING:
    from bnlab.sweeps.plan import Sweep

AROUND = 9
"""Lines of the window that the plot does not take: what stands around it, and the two lines above it."""

TALLEST = 14
"""Lines of the plot, at most."""

STARTING = "the processes that train are starting"


@dataclass
class _RunCurve:
    """The validation accuracies of one run, read from its records while they are written.

    Attributes:
        path: The file of its records.
        old: The mark of the file while it holds the records of an earlier training; None: it holds none.
        points: Step -> accuracy.
    """

    path: Path
    old: tuple[int, int] | None = None
    points: dict[int, float] = field(default_factory=dict)
    _read: int = 0

    def read(self) -> None:
        if self.old is not None and _mark(self.path) == self.old:
            return
        self.old = None
        before = self._read
        lines, self._read = read_new_lines(self.path, before)
        if self._read < before:  # the run was begun anew, or resumed from a step before its last record
            self.points.clear()
        for line in lines:
            value = line["values"].get("accuracy")
            if line["kind"] == "eval" and line["split"] == "validation" and value is not None:
                self.points[line["step"]] = value


def _mark(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any that stood or will stand in its place; None: there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


class RaceCurves:
    """The curves of all arms: at each step the mean of the runs that have been there.

    Args:
        folder: The folder with the runs.
        parts: Label of each arm -> the ids of its runs.
        words: The fixed words of the language, by which it is said what is drawn.
        again: The ids of runs that are about to be trained again: they have no curve until they have begun.
    """

    def __init__(
        self, folder: Path, parts: Mapping[str, Sequence[str]], words: Words, again: Collection[str] = ()
    ) -> None:
        self._words = words
        paths = {label: [folder / name / "metrics.jsonl" for name in names] for label, names in parts.items()}
        self._runs = {
            label: [_RunCurve(path, _mark(path) if path.parent.name in again else None) for path in of_arm]
            for label, of_arm in paths.items()
        }

    def read(self) -> list[RaceLine]:
        """Read what is new, and return a line per arm."""
        lines = []
        for label, runs in self._runs.items():
            for run in runs:
                run.read()
            steps = sorted({step for run in runs for step in run.points})
            values = {step: [run.points[step] for run in runs if step in run.points] for step in steps}
            lines.append(RaceLine(label, {step: sum(of) / len(of) for step, of in values.items()}))
        return lines

    @property
    def of(self) -> str:
        """What is drawn, in words."""
        num_seeds = max(map(len, self._runs.values()))
        return self._words("axis_accuracy") if num_seeds == 1 else self._words("mean_accuracy", n=num_seeds)


class LiveRaceView(LiveView):
    """A chart that grows: the arms of a race side by side.

    Args:
        console: The terminal to which the chart is drawn.
        title: What stands above it.
        curves: Read for each picture.
        progress: The progress of all runs; this view hands it each line.
    """

    def __init__(self, console: Console, title: str, curves: RaceCurves, progress: SweepProgress) -> None:
        self._title = title
        self._curves = curves
        self._num_steps = 0
        super().__init__(console, progress)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress, which tells how many steps a run has."""
        self._num_steps = max(self._num_steps, line.get("of", 0))
        super().take(line)

    def _picture(self) -> RenderableType:
        lines, headline = self._curves.read(), self._progress.headline()
        height = min(TALLEST, self._console.height - AROUND)
        width, in_braille = self._console.width, knows_braille(self._console)
        chart = draw_race(lines, self._num_steps, self._curves.of, width, height, in_braille)
        begun = any(line.points for line in lines)
        return Group(Text(self._title, "bold"), chart, Text(headline if begun else f"{headline}; {STARTING}", "dim"))


def open_race_view(
    console: Console, title: str, sweep: "Sweep", missing: Sequence[str], curves: RaceCurves
) -> LiveRaceView | PlainSweepView:
    """Return a live view for a terminal, a plain one for a file, a pipe or a terminal that cannot redraw lines.

    Args:
        console: Where it is shown.
        title: What stands above the chart.
        sweep: The plan of the runs.
        missing: The ids of the runs that will be trained.
        curves: The curves of all arms.
    """
    progress = SweepProgress(sweep, missing)
    if not console.is_interactive:
        return PlainSweepView(console, progress)
    return LiveRaceView(console, title, curves, progress)
