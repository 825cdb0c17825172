"""`bnlab sweep`."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bnlab.cli.complete import complete_override
from bnlab.cli.consoles import ERR, duration, say_warning
from bnlab.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnlab.sweeps.execute import SweepResult
    from bnlab.sweeps.plan import Sweep


def sweep(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDES",
            help="Words of the config with several values, in Hydra's grammar; sweep=NAME takes them from a file.",
            autocompletion=complete_override,
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Processes (default: one per core); of a cluster, its jobs; of a search, its trials at a time.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    on_error: Annotated[
        Literal["continue", "stop"],
        typer.Option("--on-error", help="After a failure: go on, or begin no other run."),
    ] = "continue",
    retries: Annotated[int, typer.Option("--retries", min=0, metavar="N", help="Try a run that fails again.")] = 0,
    only: Annotated[
        Literal["failed", "interrupted"] | None, typer.Option("--only", help="Train only the runs that ended so.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew what is finished already.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run, in the order swept.")] = False,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="DIR", help="Where runs go (BNLAB_RUNS, else ./runs).")
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option("--config-dir", "-cd", metavar="DIR", help="Own options, beside bnlab's conf/."),
    ] = None,
) -> None:
    """Train every combination of several values: all that is missing, and nothing twice.

    [bold]bnlab sweep norm=batch,none 'optim.lr=logspace(1e-3,10,9)' 'seed=range(5)'[/]: 90 runs, two tables

    [bold]bnlab sweep sweep=norms-lr-seeds[/]: what conf/sweep/norms-lr-seeds.yaml says

    [bold]bnlab sweep hydra/sweeper=optuna 'optim.lr=tag(log, interval(1e-3, 10))'[/]: Optuna chooses, one run per trial

    The same command again fills in what is missing, failed or was cut off. Quote what has brackets, for the shell.
    """
    from bnlab.sweeps.plan import is_search

    if is_search(overrides or [], config_dir):
        from bnlab.cli.search import search

        if only is not None:
            raise ConfigError(f"--only {only}: a search does not know its runs beforehand. Leave it out.")
        raise typer.Exit(
            search(
                overrides or [],
                runs,
                config_dir,
                jobs=jobs,
                dry_run=dry_run,
                on_error=on_error,
                retries=retries,
                again=again,
                quiet=quiet,
                as_json=as_json,
            )
        )
    raise typer.Exit(
        run(
            overrides or [],
            runs,
            config_dir,
            jobs=jobs,
            dry_run=dry_run,
            on_error=on_error,
            retries=retries,
            only=only,
            again=again,
            quiet=quiet,
            as_json=as_json,
        )
    )


def run(
    words: list[str],
    runs: Path | None,
    config_dir: Path | None,
    *,
    jobs: int | None = None,
    dry_run: bool = False,
    on_error: Literal["continue", "stop"] = "continue",
    retries: int = 0,
    only: str | None = None,
    again: bool = False,
    quiet: bool = False,
    as_json: bool = False,
    refuse: "Callable[[Sweep], None]" = lambda _: None,
    show_result: "Callable[[SweepResult], None] | None" = None,
) -> int:
    """Plan a sweep, say what it will do, do it, print what came out or hand it on; return the exit status.

    Another command's words are swept by it too: ``refuse`` raises where the plan does not suit that command, and
    ``show_result`` prints in place of the tables.
    """
    from bnlab.cli.sweep_view import open_sweep_view
    from bnlab.sweeps.execute import begin, execute
    from bnlab.sweeps.plan import plan_sweep, prepared
    from bnlab.training.interruption import interruptible

    with contextlib.nullcontext() if quiet or not ERR.is_terminal else ERR.status("Checking every run"):
        sweep = plan_sweep(words, runs, config_dir)
        refuse(sweep)
        missing = sweep.missing(only=only, again=again)
        if not dry_run:
            begin(sweep, missing, jobs)
        sweep = prepared(sweep) if missing else sweep
    for warning in () if quiet else sweep.warnings:
        say_warning(warning)
    if not quiet:
        announce(sweep, missing, jobs)
    if dry_run:
        return 0
    view = None if quiet or not missing else open_sweep_view(ERR, sweep, missing)
    try:
        with interruptible() as interruption:
            result = execute(
                sweep,
                missing,
                jobs=jobs,
                on_error=on_error,
                retries=retries,
                again=again,
                view=view,
                interruption=interruption,
            )
    except KeyboardInterrupt:
        if not quiet:
            _say_interrupted(sweep, missing)
        return 130
    finally:
        if view is not None:
            view.close()
    if interruption.is_asked:
        return interruption.exit_status
    figures = _leave_dashboard(sweep) if missing else []
    if show_result is None:
        show(result, quiet=quiet, as_json=as_json)
        for path in [] if quiet else figures:
            ERR.print(str(path), style="dim", soft_wrap=True, markup=False)
    else:
        show_result(result)
    return 1 if any(summary.status not in {"finished", "diverged"} for summary in result.summaries) else 0


def _say_interrupted(sweep: "Sweep", missing: list[str]) -> None:
    left = len([name for name in missing if sweep.run_folder(name).read_finished() is None])
    say_warning(
        f"interrupted; {left} of {len(sweep.configs)} runs are missing. What was recorded is in {sweep.folder}; "
        "the same command goes on from there"
    )


def _leave_dashboard(sweep: "Sweep") -> list[Path]:
    """Write a sweep's pages for TensorBoard, if its runs have any; return the paths of the figures drawn for it."""
    if not any("tensorboard" in config.loggers for config in sweep.configs.values()):
        return []
    from bnlab.report.dashboard import write_dashboard

    return write_dashboard(sweep.folder)


def announce(sweep: "Sweep", missing: list[str], jobs: int | None) -> None:
    """Say what a sweep will do: how many runs, how many are there, how they are trained, how long that will take."""
    num_runs, together = len(sweep.configs), [c for c in sweep.cohorts if c.engine == "vectorized"]
    ERR.print(f"[bold]{num_runs} runs[/] in {sweep.folder}", soft_wrap=True)
    there = num_runs - len(missing)
    parts = [f"{there} there already"] if there else []
    if missing and together:
        parts.append(f"{sum(len(c.configs) for c in together)} trained together in {len(together)} cohorts")
    if missing:
        from bnlab.sweeps.estimate import estimate_s  # it waits for torch; a finished sweep need not

        seconds = estimate_s(sweep, missing, jobs)
        parts += [] if seconds is None else [f"about {duration(seconds)}"]
    ERR.print("  " + "; ".join(parts), style="dim")


def show(result: "SweepResult", *, quiet: bool, as_json: bool) -> None:
    """Print what came out: one JSON object per run, or tables."""
    from bnlab.cli.sweep_tables import print_sweep

    if as_json:
        for summary in result.summaries:
            typer.echo(json.dumps(summary.as_dict()))
    elif not quiet:
        print_sweep(result)
