"""The command line: the app, its commands' registration, and what happens to errors."""

import os
import sys

import typer

from bnlab.cli import dashboard, doctor, listing, train
from bnlab.cli.consoles import say_error
from bnlab.errors import BnlabError

app = typer.Typer(
    name="bnlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure what normalization does: train, watch and compare networks with and without it.",
    epilog="Start with [bold]bnlab train[/]. Every command explains itself: [bold]bnlab train --help[/].",
)
app.command(context_settings={"ignore_unknown_options": False})(train.train)
app.command()(dashboard.dashboard)
app.add_typer(listing.app, name="list")
app.command()(doctor.doctor)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="On an error, show where in the code it arose."),
) -> None:
    """Declare the options that every command has; main() takes them off before typer looks."""


def main() -> None:
    """Run the command line: an error of ours becomes one to three lines and its exit status.

    Raises:
        BnlabError: With --debug, so that its traceback is seen.
    """
    # Before torch is loaded. Threads that wait for each other by spinning made a convolutional net 3.5 times slower on
    # a machine that was busy with something else; waiting asleep costs nothing measurable on an idle one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app()
    except BnlabError as error:
        if debug:
            raise
        say_error(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
