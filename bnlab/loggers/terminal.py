"""The progress of a run for a reader: a live line in a terminal, plain lines elsewhere. On standard error."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from bnlab.records import Record, RunSummary

REFRESHES_PER_S = 4
"""Redrawing takes a few milliseconds from the training thread: at 4 per second that is about 1%."""


class _State:
    """The latest of each figure, as text."""

    def __init__(self, batch_size: int, with_saturation: bool) -> None:
        self.batch_size = batch_size
        self.with_saturation = with_saturation
        self.loss = self.train = self.validation = self.saturation = self.speed = "-"

    def take(self, record: Record) -> None:
        values = record.values
        if record.kind == "step":
            self.loss, self.train = f"{values['loss']:.4f}", f"{values['accuracy']:.1%}"
        elif record.kind == "eval" and record.split == "validation":
            self.validation = f"{values['accuracy']:.1%}"
        elif record.kind == "timing":
            speed = values["samples_per_s"] / self.batch_size
            self.speed = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
        elif record.kind == "diagnostic" and record.name == "saturation" and values:
            layer = max(values, key=lambda role: values[role])
            self.saturation = f"{values[layer]:.0%} {layer}"


class LiveTerminal:
    """One line that moves: progress, time left, loss, accuracies, the most saturated layer, speed.

    Args:
        console: The console that the text is printed on.
        title: The name of the run.
        num_steps: The step at which the run is planned to end.
        batch_size: Samples per step, to compute the speed in steps from that in samples.
        with_saturation: Whether to show the most saturated layer.
    """

    def __init__(self, console: Console, title: str, num_steps: int, batch_size: int, with_saturation: bool) -> None:
        self._state = _State(batch_size, with_saturation)
        console.print(title, style="bold", markup=False, overflow="ellipsis", no_wrap=True)
        self._progress = Progress(
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            # in a narrow window it is the figures that are cut off, from the right, and not the bar
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=REFRESHES_PER_S,
        )
        self._task = self._progress.add_task("", total=num_steps, figures="")
        self._progress.start()

    def take(self, record: Record) -> None:
        """Take one record."""
        self._state.take(record)
        state = self._state
        figures = (
            f"loss [cyan]{state.loss}[/]  train [cyan]{state.train}[/]  validation [bold cyan]{state.validation}[/]  "
            f"{f'saturation [yellow]{state.saturation}[/]  ' if state.with_saturation else ''}"
            f"[dim]{state.speed} steps/s[/]"
        )
        self._progress.update(self._task, completed=record.step, figures=figures)

    def close(self, summary: RunSummary | None) -> None:  # noqa: ARG002
        """Remove the line; the summary is printed by the command that asked for the run."""
        self._progress.stop()


class PlainTerminal:
    """One line per validation, for files and pipes.

    Args:
        console: The console that the text is printed on.
        title: The name of the run.
        num_steps: The step at which the run is planned to end.
        batch_size: Samples per step, to compute the speed in steps from that in samples.
        with_saturation: Whether to show the most saturated layer.
    """

    def __init__(self, console: Console, title: str, num_steps: int, batch_size: int, with_saturation: bool) -> None:
        self._console = console
        self._num_steps = num_steps
        self._state = _State(batch_size, with_saturation)
        self._is_read = True
        self._print(f"{title}: {num_steps} steps")

    def take(self, record: Record) -> None:
        """Take one record."""
        self._state.take(record)
        if record.kind == "eval" and record.split == "validation":
            state = self._state
            self._print(
                f"step {record.step}/{self._num_steps}  loss {state.loss}  train {state.train}  "
                f"validation {state.validation}  "
                f"{f'saturation {state.saturation}  ' if state.with_saturation else ''}{state.speed} steps/s"
            )

    def close(self, summary: RunSummary | None) -> None:
        """Say how it ended."""
        if summary is not None:
            self._print(f"{summary.status} at step {summary.steps}")

    def _print(self, line: str) -> None:
        if not self._is_read:
            return
        try:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        except (OSError, SystemExit):  # a pipe that nobody reads any more: rich ends the program
            self._is_read = False


class NotebookLine:
    """One line under the cell of a notebook, which is written over: of a saved notebook, its last state is left.

    Rich's own progress there needs ipywidgets, and stays empty without it.

    Args:
        console: Only to be called like the others.
        title: The name of the run.
        num_steps: The step at which the run is planned to end.
        batch_size: Samples per step, to compute the speed in steps from that in samples.
        with_saturation: Only to be called like the others.
    """

    def __init__(
        self,
        console: Console,  # noqa: ARG002
        title: str,
        num_steps: int,
        batch_size: int,
        with_saturation: bool = False,
    ) -> None:
        from IPython.display import display  # noqa: PLC0415  (who has a notebook has it)

        self._title = title
        self._num_steps = num_steps
        self._state = _State(batch_size, with_saturation)
        self._drawn = time.monotonic()
        self._handle = display({"text/plain": self._line(0)}, raw=True, display_id=True)

    def take(self, record: Record) -> None:
        """Take one record."""
        self._state.take(record)
        if time.monotonic() - self._drawn > 1 / REFRESHES_PER_S:
            self._drawn = time.monotonic()
            self._draw(self._line(record.step))

    def close(self, summary: RunSummary | None) -> None:
        """Say how it ended."""
        ending = "stopped" if summary is None else f"{summary.status} at step {summary.steps}"
        accuracy = None if summary is None else summary.validation_accuracy
        self._draw(f"{self._title}  {ending}" + ("" if accuracy is None else f"  validation {accuracy:.1%}"))

    def _line(self, step: int) -> str:
        state = self._state
        share = step / self._num_steps if self._num_steps else 0.0
        figures = f"loss {state.loss}  train {state.train}  validation {state.validation}"
        return f"{self._title}  {share:4.0%} of {self._num_steps} steps  {figures}  {state.speed} steps/s"

    def _draw(self, line: str) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": line}, raw=True)


def open_terminal(
    console: Console, title: str, num_steps: int, batch_size: int, *, with_saturation: bool = True
) -> LiveTerminal | PlainTerminal | NotebookLine:
    """Return a live view for a terminal or a notebook, and a plain one for what cannot redraw lines, such as a file.

    Args:
        console: The console that the text is printed on.
        title: The name of the run.
        num_steps: The step at which the run is planned to end.
        batch_size: Samples per step, to compute the speed in steps from that in samples.
        with_saturation: Whether to show the most saturated layer: of use where activations are bounded on both sides.
    """
    kind = NotebookLine if console.is_jupyter else LiveTerminal if console.is_interactive else PlainTerminal
    return kind(console, title, num_steps, batch_size, with_saturation)
