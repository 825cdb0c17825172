"""`bnlab train`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.command_options import Again, ConfigDir, Quiet, Runs, SweepOptions, overrides_argument
from bnlab.cli.consoles import ERR, OUT, Waiting, say_error, say_unless, say_warning
from bnlab.cli.interrupts import say_interrupted
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.cli.summary_text import print_summary
from bnlab.errors import ProcessLostError, RunError
from bnlab.experiment.observer import RunObserver
from bnlab.records import ENDED, RunSummary
from bnlab.report.wording import BOUNDED

if TYPE_CHECKING:
    from bnlab.loggers.logger import Logger
    from bnlab.schema import RunConfig
    from bnlab.training.loop import Plan


def train(
    overrides: Annotated[
        list[str] | None,
        overrides_argument("Words of the config, in Hydra's grammar: norm=layer optim.lr=0.3 seed=1"),
    ] = None,
    multirun: Annotated[
        bool, typer.Option("-m", "--multirun", help="Several values per word: one run per combination.")
    ] = False,
    cfg: Annotated[
        str | None, typer.Option("--cfg", "-c", metavar="job|hydra|all", help="Print the config and stop.")
    ] = None,
    resolve: Annotated[bool, typer.Option("--resolve", help="With --cfg: fill in interpolations.")] = False,
    again: Again = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run.")] = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
) -> None:
    """Train one run: a network, a norm, a data set, a seed.

    [bold]bnlab train[/]: an MLP with BatchNorm on 5,000 MNIST digits

    [bold]bnlab train norm=none optim.lr=0.3 seed=1[/]: another one

    [bold]bnlab train -m norm=batch,none seed=0,1,2[/]: six runs, one table

    A finished run is not trained again: its result is shown at once. An interrupted run resumes from its last
    checkpoint: Ctrl-C and SIGTERM write one, train.checkpoint_every=1000 writes more.
    """
    words = overrides or []
    if cfg is not None:
        from bnlab.config.compose import render_config

        OUT.print(render_config(words, config_dir, cfg, resolve), markup=False, soft_wrap=True, end="")
        return
    if multirun:
        from bnlab.cli.sweep_command import run

        raise typer.Exit(run(words, SweepOptions(runs, config_dir, jobs=1, again=again, quiet=quiet, as_json=as_json)))
    raise typer.Exit(_train_and_print(words, runs, config_dir, again=again, quiet=quiet, as_json=as_json))


def _train_and_print(
    words: list[str], runs: Path | None, config_dir: Path | None, *, again: bool, quiet: bool, as_json: bool
) -> int:
    """Train one run, print its result, and return the exit status."""
    waiting = Waiting(quiet=quiet or as_json)
    with waiting:
        return _train(words, runs, config_dir, waiting, again=again, quiet=quiet, as_json=as_json)


def _train(
    words: list[str],
    runs: Path | None,
    config_dir: Path | None,
    waiting: Waiting,
    *,
    again: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Do what `_train_and_print` says, and take the word away that is shown while torch is imported."""
    from bnlab.config.compose import compose_typed
    from bnlab.experiment.single import train_one
    from bnlab.identity.run_id import run_id
    from bnlab.runfolder.finding import SINGLE, runs_root
    from bnlab.runfolder.folder import RunFolder
    from bnlab.training.interruption import interruptible
    from bnlab.world import find_world, with_processes

    world = find_world()
    if not world.leads:
        quiet, as_json = True, False
    config = compose_typed(with_processes(words), config_dir)
    folder = runs_root(runs) / (config.name or SINGLE)
    failure: RunError | None = None
    try:
        with own_prints_on_stderr(), interruptible(say_unless(quiet)) as interruption:
            try:
                summary = train_one(
                    config,
                    folder,
                    again=again,
                    observer=None if quiet else TerminalObserver(waiting),
                    interruption=interruption,
                )
            except RunError as error:  # said at once: torchrun ends all processes as soon as one has failed
                failure = error
                if world.leads or not isinstance(error, ProcessLostError):
                    say_error(str(error))
    except KeyboardInterrupt:
        waiting.end()
        if not quiet:
            say_interrupted(folder)
        return 130
    waiting.end()
    if failure is not None:
        failed = RunFolder(folder / run_id(config))
        summary = RunSummary(failed.path.name, failed.read_status(), str(failed.path), config.seed)
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    elif not quiet and summary.status in ENDED:  # else the error was printed above
        print_summary(summary)
    if summary.status == "interrupted" and interruption.is_asked:
        if not quiet:
            say_warning(f"asked to stop at step {summary.steps:,}; the same command resumes from there")
        return interruption.exit_status
    return 0 if summary.status == "finished" else 1


class TerminalObserver(RunObserver):
    """Prints warnings and the progress of a run on standard error.

    Args:
        waiting: The word that is shown until the run begins; None: there is none.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self._waiting = waiting

    def on_warning(self, text: str) -> None:
        """Print a warning."""
        say_warning(text)

    def on_trouble(self, logger: str, text: str) -> None:  # noqa: ARG002
        """Print it, above the line of progress."""
        say_warning(text)

    def on_resumed(self, step: int) -> None:
        """Print the step of the checkpoint."""
        ERR.print(f"The run was interrupted; it resumes from its checkpoint at step {step:,}.", style="dim")

    def open_logger(self, config: "RunConfig", run_id: str, plan: "Plan") -> "Logger":
        """Return the logger that shows the run's progress."""
        from bnlab.loggers.terminal import open_terminal

        if self._waiting is not None:
            self._waiting.end()
        with_saturation = (
            config.as_dict()["model"].get("activation") in BOUNDED and "saturation" in config.diagnostics.names
        )
        return open_terminal(ERR, run_id, plan.num_steps, config.train.batch_size, with_saturation=with_saturation)
