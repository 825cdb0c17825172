"""`bnlab train`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.complete import complete_override
from bnlab.cli.consoles import ERR, OUT, say_error, say_warning
from bnlab.cli.summary import print_summaries, print_summary
from bnlab.records import RunSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnlab.loggers.logger import Logger
    from bnlab.schema import RunConfig
    from bnlab.training.loop import Plan


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDES",
            help="Words of the config, in Hydra's grammar: norm=layer optim.lr=0.3 seed=1",
            autocompletion=complete_override,
            show_default=False,
        ),
    ] = None,
    multirun: Annotated[
        bool, typer.Option("-m", "--multirun", help="Several values per word: one run per combination.")
    ] = False,
    cfg: Annotated[
        str | None, typer.Option("--cfg", "-c", metavar="job|hydra|all", help="Print the config and stop.")
    ] = None,
    resolve: Annotated[bool, typer.Option("--resolve", help="With --cfg: fill in interpolations.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Train anew what is finished already.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run.")] = False,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="DIR", help="Where runs go (BNLAB_RUNS, else ./runs).")
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option("--config-dir", "-cd", metavar="DIR", help="Own options, beside bnlab's conf/."),
    ] = None,
) -> None:
    """Train one run: a network, a norm, a data set, a seed.

    [bold]bnlab train[/]: an MLP with BatchNorm on 5,000 MNIST digits

    [bold]bnlab train norm=none optim.lr=0.3 seed=1[/]: another one

    [bold]bnlab train -m norm=batch,none seed=0,1,2[/]: six runs, one table

    A finished run asked for again is not trained again: its result is shown at once.
    """
    from bnlab.sweeps.grid import expand

    words = overrides or []
    _check_config_dir(config_dir)
    if cfg is not None:
        from bnlab.config.compose import render_config

        OUT.print(render_config(words, config_dir, cfg, resolve), markup=False, soft_wrap=True, end="")
        return
    if multirun:
        grid = expand(words, config_dir)
        for warning in () if quiet else grid.warnings:
            say_warning(warning)
        configs, sweep = grid.configs, grid.name
    else:
        from bnlab.config.compose import compose_run

        configs, sweep = [compose_run(words, config_dir)], None
    raise typer.Exit(_train_and_print(configs, sweep, words, runs, again=again, quiet=quiet, as_json=as_json))


def _train_and_print(
    configs: "Sequence[RunConfig]",
    sweep: str | None,
    words: list[str],
    runs: Path | None,
    *,
    again: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train, print each run as it ends, and return the exit status."""
    from bnlab.runfolder.identity import run_id
    from bnlab.runfolder.index import runs_root, write_sweep
    from bnlab.sweeps.execute import SINGLE, train_all

    folder = runs_root(runs) / (sweep or configs[0].name or SINGLE)
    show = not quiet and not as_json
    done: list[RunSummary] = []
    try:
        results = train_all(
            configs,
            folder,
            again=again,
            open_view=None if quiet else _open_view,
            on_failure=lambda error: say_error(str(error)),
            on_warning=(lambda _: None) if quiet else say_warning,
        )
        for summary in results:
            if sweep and not done:  # only now is it sure that the sweep can run at all
                write_sweep(folder, words, [run_id(config) for config in configs])
            done.append(summary)
            if as_json:
                typer.echo(json.dumps(summary.as_dict()))
            elif show and not sweep and summary.status in {"finished", "diverged"}:  # else the error has said it
                print_summary(summary)
    except KeyboardInterrupt:
        if not quiet:
            left = len(configs) - len(done)
            say_warning(f"interrupted; {left} of {len(configs)} runs not finished. What was recorded is in {folder}")
        return 130
    if show and sweep:
        print_summaries(done, folder)
    good = {"finished", "diverged"} if sweep else {"finished"}
    return 0 if all(summary.status in good for summary in done) else 1


def _open_view(config: "RunConfig", run_id: str, plan: "Plan") -> "Logger":
    from bnlab.loggers.terminal import open_terminal

    return open_terminal(ERR, run_id, plan.num_steps, config.train.batch_size)


def _check_config_dir(config_dir: Path | None) -> None:
    if config_dir is not None and not config_dir.is_dir():
        raise typer.BadParameter(f"--config-dir {config_dir} is not a folder")
