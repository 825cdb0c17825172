"""`bnlab lr-sensitivity`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bnlab.cli.command_options import Again, ConfigDir, Jobs, Quiet, Runs, SweepOptions, overrides_argument
from bnlab.cli.consoles import Waiting, telling_what_is_unwritten
from bnlab.cli.sweep_command import run
from bnlab.errors import ConfigError

if TYPE_CHECKING:
    from bnlab.sweeps.execute import SweepResult
    from bnlab.sweeps.plan import Sweep

DEFAULT = "lr-sensitivity"
"""The file of conf/sweep that says what is swept where nothing else is said."""


Overrides = Annotated[
    list[str] | None,
    overrides_argument(
        f"Words of the config with several values, in Hydra's grammar; they win over conf/sweep/{DEFAULT}.yaml."
    ),
]
By = Annotated[
    Literal["loss", "accuracy"] | None,
    typer.Option("--by", help="What a best LR and the chart are about (default: loss)."),
]
RangeTest = Annotated[
    bool, typer.Option("--range-test", help="A quick screen instead: one run per arm and seed, with a rising LR.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")]


def lr_sensitivity(
    overrides: Overrides = None,
    by: By = None,
    range_test: RangeTest = False,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    again: Again = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    runs: Runs = None,
    config_dir: ConfigDir = None,
) -> None:
    """Find out how much the learning rate matters, and how high it can be, for each norm.

    [bold]bnlab lr-sensitivity[/]: batch, none, layer and group on 5,000 MNIST digits; two tables, a chart, a figure

    [bold]bnlab lr-sensitivity norm=batch,rms model.activation=sigmoid data=digits[/]: other arms, model and data

    [bold]bnlab lr-sensitivity optim=adam 'optim.lr=logspace(1e-5,1,11)' 'seed=range(10)'[/]: another grid

    [bold]bnlab lr-sensitivity --range-test[/]: a quick look at where a grid should lie

    What is trained already is only read. A run that diverged is never left out: its outcome is its start.
    """
    words = words_of_sweep(overrides or [])
    if range_test:
        from bnlab.cli.range_test_command import run_range_tests

        given = {"--by": by is not None, "--jobs": (jobs or 1) > 1, "--again": again, "--runs": runs is not None}
        run_range_tests(words, config_dir, [name for name in given if given[name]], dry_run, quiet, as_json)
        return

    def show(result: "SweepResult") -> None:
        _show(result.folder, by or "loss", quiet=quiet, as_json=as_json)

    options = SweepOptions(
        runs, config_dir, jobs, dry_run, again=again, quiet=quiet, as_json=as_json, command="lr-sensitivity"
    )
    status = run(words, options, _refuse_one_rate, show)
    raise typer.Exit(status)


def words_of_sweep(typed: list[str]) -> list[str]:
    """Return what is swept: what was typed, and for the rest the file of conf/sweep.

    Args:
        typed: As on the command line.

    Example:
        >>> words_of_sweep([]), words_of_sweep(["data=digits"])
        (['sweep=lr-sensitivity', 'name=lr-sensitivity'], ['sweep=lr-sensitivity', 'data=digits'])
    """
    keys = {word.partition("=")[0] for word in typed}
    words = typed if "sweep" in keys else [f"sweep={DEFAULT}", *typed]
    if "train.epochs" in keys and "train.steps" not in keys:
        words = [*words, "train.steps=null"]  # the file's steps would win over the epochs that were asked for
    return words if typed else [*words, f"name={DEFAULT}"]


def _refuse_one_rate(sweep: "Sweep") -> None:
    """Raise where a sweep has no curve over learning rates, before anything is trained.

    Raises:
        ConfigError: It has one learning rate only.
    """
    lrs = sorted({config.optim.lr for config in sweep.configs.values()})
    if len(lrs) < 2:
        raise ConfigError(
            f"lr-sensitivity needs 2 or more learning rates, got optim.lr={lrs[0]:g} alone. "
            "Leave it out, or sweep it: 'optim.lr=logspace(1e-3,100,11)'."
        )


def _show(folder: Path, by: Literal["loss", "accuracy"], *, quiet: bool, as_json: bool) -> None:
    """Print what a finished sweep says, and draw it into its folder."""
    paths: list[Path] = []
    with telling_what_is_unwritten(), Waiting("Drawing", quiet or as_json):
        from bnlab.report.lr_sensitivity.figure import write_figures
        from bnlab.report.lr_sensitivity.summary import read_sensitivity

        found = read_sensitivity(folder, by=by)
        paths = write_figures(found, folder)
    if as_json:
        typer.echo(json.dumps({**found.as_dict(), "figures": [str(path) for path in paths]}, allow_nan=False))
    elif not quiet:
        from bnlab.cli.sensitivity_tables import print_sensitivity

        print_sensitivity(found)
