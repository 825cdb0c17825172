"""`bnlab sweep hydra/sweeper=optuna`: a search, announced, watched and told of."""

import contextlib
import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.consoles import ERR, OUT, counted, say_error, say_warning
from bnlab.cli.summary_text import number
from bnlab.cli.sweep_figures import leave_dashboard, say_where
from bnlab.errors import ConfigError

if TYPE_CHECKING:
    from bnlab.sweeps.search import Search
    from bnlab.sweeps.searching import SearchResult


def search(words: list[str], options: SweepOptions) -> int:
    """Plan a search, say what it will do, make it, print what came out; return the exit status.

    Raises:
        ConfigError: It is asked to train only some of its runs.
    """
    from bnlab.runfolder.writable import check_writable
    from bnlab.sweeps.search import plan_search
    from bnlab.sweeps.searching import run_search
    from bnlab.training.interruption import interruptible

    if options.only is not None:
        raise ConfigError(f"--only {options.only}: a search does not know its runs beforehand. Leave it out.")
    quiet = options.quiet
    with contextlib.nullcontext() if quiet or not ERR.is_terminal else ERR.status("Trying every setting"):
        planned = plan_search(words, options.runs, options.config_dir, options.jobs)
    if not options.dry_run:
        check_writable(planned.folder)
    if not quiet:
        for warning in planned.warnings:
            say_warning(warning)
        _announce(planned)
    if options.dry_run:
        return 0
    view = None if quiet else TrialView(planned.num_trials)
    try:
        with interruptible() as interruption:
            result = run_search(
                planned,
                on_error=options.on_error,
                retries=options.retries,
                again=options.again,
                view=view,
                interruption=interruption,
            )
    except KeyboardInterrupt:
        if not quiet:
            say_warning(
                f"interrupted. What was recorded is in {planned.folder}; the same command makes the same choices "
                "and goes on from there"
            )
        return 130
    if interruption.is_asked:
        return interruption.exit_status
    if result.problem is not None:
        say_error(f"the search came to no end: {result.problem}")
    figures = leave_dashboard(result.sweep)
    _show(result, planned, quiet=quiet, as_json=options.as_json)
    say_where(figures, options)
    is_well = result.problem is None and all(trial.problem is None for trial in result.trials.values())
    return 0 if is_well else 1


class TrialView:
    """A line for each trial that has come to its end.

    Args:
        num_trials: How many there will be, at most.
    """

    def __init__(self, num_trials: int) -> None:
        self._num_trials = num_trials
        self._said: set[int] = set()
        self._best = float("inf")

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress; a search that is made once more says nothing of what it has said."""
        if not ({"value", "problem"} & line.keys()) or line["trial"] in self._said:
            return
        self._said.add(line["trial"])
        if "value" in line:
            self._best = min(self._best, line["value"])
            outcome = f"validation loss {number(line['value'])}, best {number(self._best)}"
        else:
            outcome = f"failed: {line['problem']}"
        chosen = " ".join(f"{key}={value}" for key, value in line["chosen"].items())
        text = f"trial {line['trial'] + 1} of {self._num_trials}: {chosen}: {outcome}"
        ERR.print(text, markup=False, highlight=False, soft_wrap=True)


def _announce(planned: "Search") -> None:
    ERR.print(f"[bold]{counted(planned.num_trials, 'trial')}[/] in {planned.folder}", soft_wrap=True)
    spaces = [f"{axis.key} {_space(axis)}" for axis in planned.axes]
    ERR.print(f"  {planned.num_at_a_time} at a time; {'; '.join(spaces)}", style="dim", markup=False, soft_wrap=True)


def _space(axis: Any) -> str:
    if not axis.is_interval:
        return ", ".join(axis.values)
    return f"from {' to '.join(axis.values)}{', logarithmic' if axis.is_log else ''}"


def _show(result: "SearchResult", planned: "Search", *, quiet: bool, as_json: bool) -> None:
    """Print what came out: one JSON object per run, or tables and the best trial."""
    from bnlab.cli.sweep_tables import print_sweep

    if as_json:
        for summary in result.sweep.summaries:
            typer.echo(json.dumps(summary.as_dict()))
        return
    if quiet:
        return
    print_sweep(result.sweep, is_grid=False)
    num_different = len(result.sweep.summaries)
    if num_different < len(result.trials):
        OUT.print(f"{len(result.trials)} trials, some with the same settings", style="dim")
    if result.best is not None:
        best = result.trials[result.best]
        words = [*planned.fixed, *(f"{key}={value}" for key, value in best.chosen.items())]
        OUT.print(f"best trial: {result.best + 1} of {len(result.trials)}, validation loss {number(best.value)}")
        OUT.print(f"  {shlex.join(words)}", markup=False, soft_wrap=True)
