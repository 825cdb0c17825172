"""`bnlab sweep`."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bnlab.cli.command_options import (
    Again,
    ConfigDir,
    NoFigures,
    OnError,
    Only,
    Quiet,
    Runs,
    SweepOptions,
    overrides_argument,
)
from bnlab.cli.consoles import ERR, Waiting, counted, duration, say_error, say_unless, say_warning
from bnlab.cli.interrupts import say_interrupted
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.cli.sweep_figures import leave_dashboard, leave_pictures, say_ending
from bnlab.records import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bnlab.cli.sweep_view import OpenView
    from bnlab.sweeps.execute import SweepResult
    from bnlab.sweeps.plan import Sweep


MOST_TOLD = 5
"""Runs of which a warning is told; of the others their number."""

Overrides = Annotated[
    list[str] | None,
    overrides_argument(
        "Words of the config with several values, in Hydra's grammar; sweep=NAME takes them from a file."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Processes (default: one per physical core); on a cluster: jobs; in a search: trials at a time.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
AfterAnError = Annotated[OnError, typer.Option("--on-error", help="After a failure: go on, or begin no other run.")]
Retries = Annotated[int, typer.Option("--retries", min=0, metavar="N", help="Try a run that fails again.")]
OnlyThose = Annotated[Only | None, typer.Option("--only", help="Train only the runs that ended so.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per run, in the order swept.")]


def sweep(
    overrides: Overrides = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    on_error: AfterAnError = "continue",
    retries: Retries = 0,
    only: OnlyThose = None,
    again: Again = False,
    quiet: Quiet = False,
    no_figures: NoFigures = False,
    as_json: AsJson = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
) -> None:
    """Train every combination of several values: all that is missing, and nothing twice.

    [bold]bnlab sweep norm=batch,none 'optim.lr=logspace(1e-3,10,9)' 'seed=range(5)'[/]: 90 runs, two tables

    [bold]bnlab sweep sweep=norms-lr-seeds[/]: what conf/sweep/norms-lr-seeds.yaml says

    [bold]bnlab sweep hydra/sweeper=optuna 'optim.lr=tag(log, interval(1e-3, 10))'[/]: Optuna chooses, one run per trial

    The same command again trains the runs that are missing, failed or were interrupted. Quote words with brackets.
    """
    options = SweepOptions(
        runs, config_dir, jobs, dry_run, on_error, retries, only, again, quiet, as_json, figures=not no_figures
    )
    with Waiting("Reading what is swept", quiet):
        from bnlab.sweeps.plan import is_search

        is_sought = is_search(overrides or [], config_dir)
    if is_sought:
        from bnlab.cli.search_command import search

        raise typer.Exit(search(overrides or [], options))
    raise typer.Exit(run(overrides or [], options))


def run(
    words: list[str],
    options: SweepOptions,
    refuse: "Callable[[Sweep], None]" = lambda _: None,
    show_result: "Callable[[SweepResult], None] | None" = None,
    plan: "Callable[[], Sweep] | None" = None,
    open_view: "OpenView | None" = None,
) -> int:
    """Plan a sweep, say what it will do, train what is missing, print the outcome; return the exit status.

    Args:
        words: The words of the config and of the launcher.
        options: The options of the command line.
        refuse: Called with the plan of the sweep, before anything is trained. Another command that sweeps raises here
            what does not suit it.
        show_result: Prints the outcome for another command; None: the tables of a sweep are printed.
        plan: Plans the sweep for another command; None: the words say all of it.
        open_view: Opens what shows the progress; None: a bar for each arm.
    """
    quiet = options.quiet
    with own_prints_on_stderr(), Waiting("Checking every run", quiet):
        from bnlab.experiment.single import refuse_a_missing_device
        from bnlab.experiment.what_runs_lack import about_what_it_lacks
        from bnlab.runfolder.writable import check_writable
        from bnlab.sweeps.execute import start_workers_early
        from bnlab.sweeps.plan import plan_sweep, prepared

        sweep = plan() if plan else plan_sweep(words, options.runs, options.config_dir)
        refuse(sweep)
        if not sweep.launcher:  # else other machines train
            refuse_a_missing_device(sweep.configs.values())
        missing = sweep.missing(only=options.only, again=options.again)
        others = [] if options.again else sweep.of_other_versions()
        if missing and not options.dry_run:
            check_writable(sweep.folder)
            start_workers_early(sweep, missing, options.jobs)
        sweep = prepared(sweep, again=options.again) if missing else sweep
        taken = {}
        if missing and not (options.dry_run or options.again or options.only):
            from bnlab.sweeps.copied_runs import take_over_runs  # it waits for torch; a finished sweep need not

            taken = take_over_runs(sweep, missing)
            missing = sweep.missing() if taken else missing
        absent = set(missing)
        there = [] if options.again else [name for name in sweep.configs if name not in absent]
        others += about_what_it_lacks((sweep.run_folder(name), sweep.configs[name]) for name in there)
    for warning in () if quiet else [*sweep.warnings, *others, *_about_what_is_there(sweep, missing)]:
        say_warning(warning)
    if not quiet:
        announce(sweep, missing, options, taken)
    if options.dry_run:
        return 0
    with own_prints_on_stderr():
        result = execute_shown(sweep, missing, options, open_view)
    if isinstance(result, int):
        return result
    if show_result is not None:
        show_result(result)
    else:
        show(result, quiet=quiet, as_json=options.as_json)
    if missing or taken:
        leave_dashboard(result)
    if options.figures and not (quiet or options.as_json):
        _end(result.folder, words, options, is_new=bool(missing or taken), has_rates=show_result is not None)
    are_all_there = all(summary.status in ENDED for summary in result.summaries)
    return 0 if are_all_there and not result.reasons else 1


def _end(folder: Path, words: list[str], options: SweepOptions, *, is_new: bool, has_rates: bool) -> None:
    """Leave the figures and the page of a sweep, and say what to type next."""
    from bnlab.cli.next_command import next_command
    from bnlab.results.sweep import read_sweep

    pictures = leave_pictures(folder, is_new=is_new, has_rates=has_rates)
    sweep = read_sweep(folder)
    say_ending(folder, pictures, next_command(sweep, sweep.read_arms(), words, options))


def execute_shown(
    sweep: "Sweep",
    missing: list[str],
    options: SweepOptions,
    open_view: "OpenView | None" = None,
    *,
    is_all: bool = True,
) -> "SweepResult | int":
    """Train what is missing, and show progress; return the outcome, or the exit status if the sweep was cut off.

    Args:
        sweep: The sweep, `prepared` if any run is missing.
        missing: The ids of the runs to train.
        options: The options of the command line.
        open_view: Opens what shows the progress; None: a bar for each arm.
        is_all: Whether the command trains nothing else: a stop that was asked for too late is then none.
    """
    from bnlab.cli.sweep_view import open_sweep_view
    from bnlab.sweeps.execute import execute
    from bnlab.training.interruption import interruptible

    before = {name: sweep.run_folder(name).result_stamp() if options.again else None for name in missing}
    view = None if options.quiet or not missing else (open_view or open_sweep_view)(ERR, sweep, missing)
    try:
        with (
            contextlib.closing(view) if view else contextlib.nullcontext(),
            interruptible(say_unless(options.quiet)) as interruption,
        ):
            result = execute(
                sweep,
                missing,
                jobs=options.jobs,
                on_error=options.on_error,
                retries=options.retries,
                again=options.again,
                view=view,
                interruption=interruption,
            )
    except KeyboardInterrupt:
        _say_interrupted(sweep, _num_left(sweep, before), options)
        return 130
    if interruption.is_asked:
        num_left = _num_left(sweep, before)
        if num_left or not is_all:
            _say_interrupted(sweep, num_left, options)
            return interruption.exit_status
    if result.obstacle is not None:
        say_error(result.obstacle)
    return result


def _num_left(sweep: "Sweep", before: "Mapping[str, tuple[int, int] | None]") -> int:
    """Return how many runs have no result, or only the one from before."""
    return sum(sweep.run_folder(name).result_stamp() in {None, mark} for name, mark in before.items())


def _say_interrupted(sweep: "Sweep", num_left: int, options: SweepOptions) -> None:
    if not options.quiet:
        left = f"{num_left} of {len(sweep.configs)} runs are missing;" if num_left else "no run is missing;"
        say_interrupted(sweep.folder, left)


def announce(sweep: "Sweep", missing: list[str], options: SweepOptions, taken: "Mapping[Path, int]") -> None:
    """Say what a sweep will do: how many runs it has, how many have a result, how the others are trained, how long."""
    num_runs = len(sweep.configs)
    together = [brought for cohort, brought in sweep.to_train(missing) if cohort.engine == "vectorized"]
    ERR.print(f"[bold]{counted(num_runs, 'run')}[/] in {escape(str(sweep.folder))}", soft_wrap=True)
    there = num_runs - len(missing)
    parts = [f"{there} there already"] if there else []
    if together:
        parts.append(f"{sum(map(len, together))} trained together in {counted(len(together), 'cohort')}")
    if missing and (options.dry_run or not sweep.is_short(missing)):
        from bnlab.sweeps.time_estimate import (
            PATIENCE_S,
            estimate_s,
        )  # it imports torch; a finished sweep need not wait

        with Waiting("Estimating the time"):
            seconds = estimate_s(sweep, missing, options.jobs, None if options.dry_run else PATIENCE_S)
        parts += [] if seconds is None else [f"about {duration(seconds)}"]
    if parts:
        ERR.print("  " + "; ".join(parts), style="dim")
    for folder, number in taken.items():
        text = f"  {counted(number, 'run')} copied from {folder}: trained there as they would be here"
        ERR.print(text, style="dim", markup=False, soft_wrap=True)
    if num_kept := len(sweep.earlier.kept):
        new = f"; new in it: {sweep.earlier.added}" if sweep.earlier.added else ""
        text = f"  {counted(num_kept, 'other run')} of earlier commands in this sweep{new}"
        ERR.print(text, style="dim", markup=False, soft_wrap=True)


def _about_what_is_there(sweep: "Sweep", missing: list[str]) -> list[str]:
    """Return sentences on runs in the sweep's folder that are trained again though they ended, or are left out."""
    sentences = []
    for name in missing:
        with contextlib.suppress(FileNotFoundError):
            facts = sweep.run_folder(name).read_facts()
            if facts.has_ended and not facts.is_usable and not facts.is_other:
                sentences.append(f"{name}: {'; '.join(facts.problems)}. It is trained again.")
    if num_outdated := len(sweep.earlier.outdated):
        sentences.append(
            f"{counted(num_outdated, 'outdated run')} in {sweep.folder}: their code or data have changed. They stay "
            "there, and are left out of this sweep. All runs: bnlab list runs"
        )
    if len(sentences) > MOST_TOLD:
        sentences = [*sentences[:MOST_TOLD], f"{len(sentences) - MOST_TOLD} more such runs"]
    return sentences


def show(result: "SweepResult", *, quiet: bool, as_json: bool) -> None:
    """Print the outcome: one JSON object per run, or tables."""
    from bnlab.cli.sweep_tables import print_sweep

    if as_json:
        for summary in result.summaries:
            typer.echo(json.dumps(summary.as_dict()))
    elif not quiet:
        print_sweep(result)
