"""`bnlab sweep hydra/sweeper=optuna`: a search, announced, executed, and its results printed."""

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.consoles import ERR, OUT, Waiting, counted, say_error, say_unless, say_warning
from bnlab.cli.interrupts import say_interrupted
from bnlab.cli.next_command import NextCommand
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.cli.summary_text import number
from bnlab.cli.sweep_figures import leave_dashboard, leave_pictures, say_ending
from bnlab.errors import ConfigError

if TYPE_CHECKING:
    from bnlab.sweeps.search_plan import Search
    from bnlab.sweeps.trials import SearchResult


def search(words: list[str], options: SweepOptions) -> int:
    """Plan a search, announce it, execute it, print its results; return the exit status.

    Raises:
        ConfigError: ``--only`` is given, and a search has no list of its runs.
    """
    if options.only is not None:
        raise ConfigError(f"--only {options.only}: a search does not know its runs beforehand. Leave it out.")
    quiet = options.quiet
    with own_prints_on_stderr(), Waiting("Trying every setting", quiet):
        from bnlab.runfolder.writable import check_writable
        from bnlab.sweeps.search_execution import run_search
        from bnlab.sweeps.search_plan import plan_search
        from bnlab.training.interruption import interruptible

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
        with own_prints_on_stderr(), interruptible(say_unless(quiet)) as interruption:
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
            say_interrupted(planned.folder)
        return 130
    if interruption.is_asked:
        if not quiet:
            say_interrupted(planned.folder)
        return interruption.exit_status
    if result.problem is not None:
        say_error(f"the search ended before its last trial: {result.problem}")
    leave_dashboard(result.sweep)
    _show(result, planned, quiet=quiet, as_json=options.as_json)
    if options.figures and not (quiet or options.as_json):
        say_ending(result.sweep.folder, leave_pictures(result.sweep.folder, is_new=True), _following(result, planned))
    is_well = result.problem is None and all(trial.problem is None for trial in result.trials.values())
    return 0 if is_well else 1


class TrialView:
    """Prints a line for each trial that has ended.

    Args:
        num_trials: Trials of the search in all.
    """

    def __init__(self, num_trials: int) -> None:
        self._num_trials = num_trials
        self._best = float("inf")

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of progress: ``told`` counts the trials of earlier calls, ``trial`` is one that has ended."""
        if "told" in line:
            self._best = line["best"] if line["best"] is not None else self._best
            self._print(f"{counted(line['told'], 'trial')} of an earlier call{self._so_far()}")
        if "trial" not in line:
            return
        if line["problem"] is not None:
            outcome = f"failed: {line['problem']}"
        elif line["pruned_at"] is not None:
            outcome = f"stopped early at step {line['pruned_at']}, validation loss {number(line['value'])}"
        else:
            self._best = min(self._best, line["value"])
            outcome = f"validation loss {number(line['value'])}{self._so_far()}"
        chosen = " ".join(f"{key}={value}" for key, value in line["chosen"].items())
        self._print(f"trial {line['trial'] + 1} of {self._num_trials}: {chosen}: {outcome}")

    def _so_far(self) -> str:
        return "" if self._best == float("inf") else f", best {number(self._best)}"

    def _print(self, text: str) -> None:
        ERR.print(text, markup=False, highlight=False, soft_wrap=True)


def _announce(planned: "Search") -> None:
    ERR.print(f"[bold]{counted(planned.num_trials, 'trial')}[/] in {escape(str(planned.folder))}", soft_wrap=True)
    spaces = [f"{axis.key} {_space(axis)}" for axis in planned.axes]
    pruner = planned.method.pruner
    by = f"sampler {planned.method.sampler}" + ("" if pruner == "none" else f", pruner {pruner}")
    text = f"  {planned.num_at_a_time} at a time; {'; '.join(spaces)}; {by}"
    ERR.print(text, style="dim", markup=False, soft_wrap=True)


def _space(axis: Any) -> str:
    if not axis.is_interval:
        return ", ".join(axis.values)
    return f"from {' to '.join(axis.values)}{', logarithmic' if axis.is_log else ''}"


def _show(result: "SearchResult", planned: "Search", *, quiet: bool, as_json: bool) -> None:
    """Print the results: one JSON object per run, or tables and the best trial."""
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
    num_pruned = sum(trial.pruned_at is not None for trial in result.trials.values())
    if num_pruned:
        OUT.print(f"{counted(num_pruned, 'trial')} stopped early by the pruner", style="dim")
    if planned.method.storage is None:
        command = f"optuna-dashboard {shlex.quote(str(planned.journal))}"
        OUT.print(f"all trials: {command}", style="dim", markup=False, soft_wrap=True)
    if result.best is not None:
        best = result.trials[result.best]
        words = _words_of_best(result, planned)
        OUT.print(f"best trial: {result.best + 1} of {len(result.trials)}, validation loss {number(best.value)}")
        OUT.print(f"  {shlex.join(words)}", markup=False, soft_wrap=True)


def _words_of_best(result: "SearchResult", planned: "Search") -> list[str]:
    """Return the words of the best trial; none where no trial has ended well."""
    if result.best is None:
        return []
    return [*planned.fixed, *(f"{key}={value}" for key, value in result.trials[result.best].chosen.items())]


def _following(result: "SearchResult", planned: "Search") -> NextCommand | None:
    words = [word for word in _words_of_best(result, planned) if word.partition("=")[0] not in {"seed", "name"}]
    if not words:
        return None
    return NextCommand(
        shlex.join(["bnlab", "sweep", *words, "seed=range(5)"]), "whether the best trial holds on 5 seeds"
    )
