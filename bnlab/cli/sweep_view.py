"""The progress of a sweep, on standard error: a live table in a terminal, plain lines elsewhere."""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import counted, duration
from bnlab.records import ENDED

if TYPE_CHECKING:
    from bnlab.sweeps.plan import Sweep
    from bnlab.sweeps.progress import ClosingView

    OpenView = Callable[[Console, Sweep, Sequence[str]], ClosingView]

REFRESHES_PER_S = 4
BAR_WIDTH = 24

MOST_ARMS = 12
"""Most lines of the live table; a sweep with more arms shows those whose runs have not all ended."""

PLAIN_EVERY_S = 10.0
"""Seconds between two lines in a file or a pipe."""


class _Arm:
    """The progress of the runs of one arm, and the best run so far; a look takes no longer with thousands of runs."""

    def __init__(self, name: str, num_runs: int) -> None:
        self.name = name
        self.num_runs = num_runs
        self.statuses: dict[str, str] = {}
        self.best: tuple[float, str] | None = None
        self._shares: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def steps(self, name: str, share: float) -> None:
        """Take the share of a run's steps that is done; a run that has ended counts as whole."""
        if name not in self.statuses:
            self._shares[name] = share

    def end(self, name: str, status: str) -> None:
        """Take the status with which a run ended; of one that is tried again, the last one counts."""
        self._counts.subtract([self.statuses[name]] if name in self.statuses else [])
        self._counts[status] += 1
        self.statuses[name] = status
        self._shares.pop(name, None)

    @property
    def num_ended(self) -> int:
        return len(self.statuses)

    @property
    def done(self) -> float:
        return self.num_ended + sum(self._shares.values())

    def count(self, status: str) -> int:
        return self._counts[status]


class SweepProgress:
    """The progress of a sweep, from the lines that the workers write.

    Args:
        sweep: The plan of the sweep.
        missing: The ids of the runs that will be trained.
    """

    def __init__(self, sweep: "Sweep", missing: Sequence[str]) -> None:
        self.arm_of = {name: sweep.arm(name) for name in missing}
        self.arms = {arm: _Arm(arm, num_runs) for arm, num_runs in Counter(self.arm_of.values()).items()}
        self._sweep = sweep
        self.num_runs = len(missing)
        self.began = time.monotonic()
        self._has_no_room = False
        self._in_trouble: set[str] = set()
        self.moves_since: float | None = (
            None  # until then workers import torch, which would spoil the estimate of the time left
        )

    def take(self, line: Mapping[str, Any]) -> list[str]:
        """Take one line of progress; return the messages that should be printed at once.

        A logger's trouble is told once: what stops it in one run stops it in the others.
        """
        if "steps" in line and self.moves_since is None:
            self.moves_since = time.monotonic()
        for name, step in line.get("steps", {}).items():
            if name in self.arm_of:
                self.arms[self.arm_of[name]].steps(name, step / line["of"])
        ended = line.get("ended")
        if ended and ended["run_id"] in self.arm_of:
            self._end(ended)
        if line.get("trouble") and line["trouble"] not in self._in_trouble:
            self._in_trouble.add(line["trouble"])
            return [f"warning: {line['reason']}"]
        if "failed" not in line or (line.get("no_room") and self._has_no_room):  # told at the end, once for all runs
            return []
        self._has_no_room |= line.get("no_room", False)
        return [f"failed: {', '.join(line['failed'][:3])}: {line['reason']}"]

    def _end(self, ended: Mapping[str, Any]) -> None:
        name = ended["run_id"]
        arm = self.arms[self.arm_of[name]]
        if ended["status"] in ENDED or ended["status"] == "failed":
            arm.end(name, ended["status"])
        accuracy = ended.get("validation_accuracy")
        if ended["status"] == "finished" and accuracy is not None and (arm.best is None or accuracy > arm.best[0]):
            arm.best = (accuracy, self._sweep.cell(name))

    @property
    def done(self) -> float:
        """Share of the work that is done, from 0 to 1."""
        return min(1.0, sum(arm.done for arm in self.arms.values()) / max(1, self.num_runs))

    def headline(self) -> str:
        """Return one line: runs that have ended, the share of the work where some have not, time so far, time left."""
        ended = sum(arm.num_ended for arm in self.arms.values())
        now = time.monotonic()
        elapsed, moving = now - self.began, now - (self.moves_since or now)
        done = self.done
        left = f", {duration(moving * (1 - done) / done)} left" if 0.01 < done < 1 and moving else ""
        counts = {status: sum(arm.count(status) for arm in self.arms.values()) for status in ("diverged", "failed")}
        notes = "".join(f", {number} {status}" for status, number in counts.items() if number)
        runs = counted(self.num_runs, "run")
        if ended == self.num_runs:
            runs = f"{ended} of {runs}"
        else:  # runs that are trained together all end at last, and none until then
            runs += f", {100 * self.done:.0f}% done" + (f", {ended} ended" if ended else "")
        return f"{runs}{notes}; {duration(elapsed)} so far{left}"


class LiveView(ABC):
    """A picture in a terminal, drawn anew while runs train. A subclass says how it looks.

    Args:
        console: The terminal to which it is drawn.
        progress: The progress that is shown; this view hands it each line.
    """

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        self._console = console
        self._progress = progress
        self._lock = threading.Lock()
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=REFRESHES_PER_S, transient=True
        )
        self._live.start()

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress; messages about failures are printed above the picture, and stay."""
        with self._lock:
            aloud = self._progress.take(line)
        for text in aloud:
            kind, _, rest = text.partition(": ")
            style = "bold red" if kind == "failed" else "yellow"
            self._console.print(Text.assemble((f"{kind}: ", style), rest), soft_wrap=True)

    def close(self) -> None:
        """Remove the picture."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        with self._lock:
            return self._picture()

    @abstractmethod
    def _picture(self) -> RenderableType:
        """Return what is drawn now; no line of progress comes meanwhile."""


class LiveSweepView(LiveView):
    """A live table: all runs on top, then each arm with its best run so far."""

    def _picture(self) -> RenderableType:
        progress = self._progress
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, max_width=24, overflow="ellipsis")
        table.add_column(width=BAR_WIDTH)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        ended = sum(arm.num_ended for arm in progress.arms.values())
        table.add_row("[bold]all[/]", _bar(progress.done, 1.0), f"[bold]{ended}/{progress.num_runs}[/]", "")
        arms = [
            arm for arm in progress.arms.values() if arm.num_ended < arm.num_runs or len(progress.arms) <= MOST_ARMS
        ]
        for arm in arms[:MOST_ARMS]:
            table.add_row(Text(arm.name), _bar(arm.done, arm.num_runs), f"{arm.num_ended}/{arm.num_runs}", _notes(arm))
        return Group(Text(progress.headline(), style="bold"), table)


class PlainSweepView:
    """A line every `PLAIN_EVERY_S` seconds, for files and pipes.

    Args:
        console: The console to which lines are printed.
        progress: The progress that is shown; this view hands it each line.
    """

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        self._console = console
        self._progress = progress
        self._said = time.monotonic()

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress."""
        for text in self._progress.take(line):
            self._print(text)
        if time.monotonic() - self._said > PLAIN_EVERY_S:
            self._said = time.monotonic()
            self._print(self._progress.headline())

    def close(self) -> None:
        """Print the last line."""
        self._print(self._progress.headline())

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def open_sweep_view(console: Console, sweep: "Sweep", missing: Sequence[str]) -> LiveSweepView | PlainSweepView:
    """Return a live view for a terminal, a plain one for a file, a pipe or a terminal that cannot redraw lines."""
    progress = SweepProgress(sweep, missing)
    return LiveSweepView(console, progress) if console.is_interactive else PlainSweepView(console, progress)


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=total, completed=done, width=BAR_WIDTH)


def _notes(arm: _Arm) -> Text:
    notes = Text()
    if arm.best is not None:
        notes.append(f"best {arm.best[0]:.1%}", style="green")
        notes.append(f" {arm.best[1]}", style="dim")
    for status, style in (("diverged", "yellow"), ("failed", "bold red")):
        if number := arm.count(status):
            notes.append(f"  {number} {status}", style=style)
    return notes
