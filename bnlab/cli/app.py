"""The command line: the app, its commands, and what is printed on an error."""

import atexit
import contextlib
import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import bnlab
from bnlab.cli import list_command, runs_command
from bnlab.cli.check_command import check
from bnlab.cli.command_options import MARK
from bnlab.cli.compare_command import compare
from bnlab.cli.consoles import say_error
from bnlab.cli.dashboard_command import dashboard
from bnlab.cli.demo_command import demo
from bnlab.cli.diff_command import diff
from bnlab.cli.doctor_command import doctor
from bnlab.cli.explain_command import explain
from bnlab.cli.export_command import export
from bnlab.cli.interrupts import hearing_interruptions
from bnlab.cli.judge_command import judge, power, tunability
from bnlab.cli.list_commands import commands_of
from bnlab.cli.lr_sensitivity_command import lr_sensitivity
from bnlab.cli.propagate_command import propagate
from bnlab.cli.race_command import race
from bnlab.cli.report_command import report
from bnlab.cli.rerun_command import rerun
from bnlab.cli.show_command import show
from bnlab.cli.study_command import study
from bnlab.cli.sweep_command import sweep
from bnlab.cli.train_command import train
from bnlab.cli.usage_errors import explain_usage
from bnlab.errors import BnlabError, ConfigError
from bnlab.failed_imports import why_imports_fail
from bnlab.garbage import look_rarely
from bnlab.runfolder.short_names import FROM_THE_END

app = typer.Typer(
    name="bnlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure what normalization does: train, watch and compare networks with and without it.",
    epilog="Start with [bold]bnlab demo[/]. Every command explains itself: [bold]bnlab train --help[/].",
)
app.command()(demo)
app.command(context_settings={"ignore_unknown_options": False})(train)
app.command(context_settings={"ignore_unknown_options": False})(race)
app.command(context_settings={"ignore_unknown_options": False})(sweep)
app.command(context_settings={"ignore_unknown_options": False})(lr_sensitivity)
app.command(context_settings={"ignore_unknown_options": False})(study)
app.command()(judge)
app.command()(power)
app.command()(tunability)
app.command()(report)
app.command()(rerun)
app.command()(show)
app.command()(compare)
app.command()(diff)
app.command()(dashboard)
app.command()(export)
list_command.app.command()(commands_of(app))
app.add_typer(list_command.app, name="list")
app.add_typer(runs_command.app, name="runs")
app.command()(doctor)
app.command()(check)
app.command()(explain)
app.command(context_settings={"ignore_unknown_options": False})(propagate)


OF_RUNS = {"compare", "diff", "export", "rerun", "runs", "show"}
"""Commands whose arguments are runs."""

_USAGE_ERROR: Any = typer.BadParameter.__base__
"""What typer raises for a word it does not know; it has no public name. Typer's own answer is a box of seven lines."""


_OF_A_PATH = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of a path that the user gave: its names are too long, or it leads where nobody may go."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnlab {bnlab.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="On an error, show where in the code it arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Declare the options that every command has; main() takes --debug off before typer looks."""


def main() -> None:
    """Run the command line. An error of bnlab's becomes one to three lines and an exit status.

    Raises:
        BnlabError: With --debug, so that its traceback is seen.
        OSError: Standard output is not the cause, or with --debug.
    """
    look_rarely()
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    sys.argv[1:] = with_shared_words_marked(with_runs_from_the_end(sys.argv[1:]))
    atexit.register(gc.freeze)  # else Python looks for garbage among torch's objects for half a second before it ends
    try:
        with hearing_interruptions():
            status = _run_app()
        sys.exit(status)
    except BnlabError as error:
        if debug:
            raise
        say_error(str(error))
        sys.exit(error.exit_status)
    except _USAGE_ERROR as error:
        if message := explain_usage(error, sys.argv[1:]):  # without any word at all the help has been shown instead
            say_error(message)
        sys.exit(2)
    except OSError as error:
        if not debug and error.errno in _OF_A_PATH and error.filename is not None:
            path = os.fsdecode(error.filename)
            say_error(f"{path[:100]}{'...' * (len(path) > 100)}: {error.strerror}. Give another path.")
            sys.exit(2)
        if debug or not _arose_in_typer(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries it again at its end
        say_error(f"standard output cannot be written to: {error.strerror}. Make room there, or write it elsewhere.")
        sys.exit(2)
    except Exception as error:
        why = why_imports_fail(error)
        if debug or why is None:
            raise
        say_error(why)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):  # typer turns the first into the second, outside of a command's own lines
        sys.exit(130)
    finally:
        if "bnlab.sweeps.backends.local" in sys.modules:
            with contextlib.suppress(KeyboardInterrupt):  # once more, while the program ends by an earlier one
                sys.modules["bnlab.sweeps.backends.local"].end_workers()


def with_runs_from_the_end(words: Sequence[str]) -> list[str]:
    """Return the words of a command line so that -1 and -2, the last runs, do not look like options.

    Args:
        words: The words behind ``bnlab``.

    Example:
        >>> with_runs_from_the_end(["compare", "-1", "-2", "--json"])
        ['compare', 'run:-1', 'run:-2', '--json']
        >>> with_runs_from_the_end(["list", "runs", "-n", "-1"])
        ['list', 'runs', '-n', '-1']
    """
    if not set(words[:1]) <= OF_RUNS:
        return list(words)
    return [f"{FROM_THE_END}{word}" if re.fullmatch(r"-[1-9]\d*", word) else word for word in words]


def with_shared_words_marked(words: Sequence[str]) -> list[str]:
    """Return the words of a command line so that the place of ``--`` is known to `bnlab race`: typer drops it.

    Args:
        words: The words behind ``bnlab``.

    Example:
        >>> with_shared_words_marked(["race", "norm=batch", "norm=none", "--", "seed=1", "--quiet"])
        ['race', 'norm=batch', 'norm=none', 'shared:', 'seed=1', '--quiet']
        >>> with_shared_words_marked(["train", "--", "seed=1"])
        ['train', '--', 'seed=1']
    """
    return [MARK if word == "--" else word for word in words] if words[:1] == ["race"] else list(words)


def _run_app() -> int | None:
    """Run the command that was typed, and return its exit status.

    Raises:
        ConfigError: Code of the user's ended the program, or the current folder was deleted.
        SystemExit: Typer's own, after a completion.
    """
    try:
        Path.cwd()
    except OSError as error:  # torch would end the program from within
        raise ConfigError("the current folder no longer exists. Go to another one.") from error
    try:
        status: int | None = app(prog_name="bnlab", standalone_mode=False)
    except SystemExit as error:
        if _arose_in_typer(error):
            raise
        raise ConfigError(
            f"a layer or an instrument of yours ended the program (SystemExit: {error.code}). It should raise an error "
            "that says why."
        ) from error
    return status


def _arose_in_typer(error: BaseException) -> bool:
    """Whether an error arose where text is printed, or words are completed."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"]).partition(".")[0] in {"rich", "typer", "click"}


if __name__ == "__main__":
    main()
