"""`bnlab lr-sensitivity --range-test`."""

import contextlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from bnlab.cli.consoles import ERR, OUT, counted, new_table, print_table, say_warning
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.cli.sensitivity_tables import SIGN, two_digits
from bnlab.errors import ConfigError

if TYPE_CHECKING:
    from bnlab.schema import RunConfig
    from bnlab.stats.range_curve import RangeSpread
    from bnlab.sweeps.plan import Sweep

FEW_STEPS = 50
"""Per decade: the running median then looks at 10 losses."""

A_SCREEN = (
    "This is a screen, not a measurement. One short run passes through all learning rates: the low ones have prepared "
    "the weights for the high ones, and each has a few steps only to do its damage. So it tends to overestimate what "
    "trains, and its figures move with train.steps. It cannot tell how good the end of a training is, nor whether arms "
    "differ. Use it to place a grid; then leave out --range-test."
)


_WHY_NOT = {
    "--by": "it reads the loss of its batches alone",
    "--jobs": "its tests run in this process, one after another",
    "--again": "nothing of it is kept, so it runs anew each time",
    "--runs": "nothing of it is kept",
}
"""Options of lr-sensitivity that make no sense with a range test, and the reasons."""


def run_range_tests(
    words: list[str], config_dir: Path | None, refused: list[str], dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Run a range test of every arm and seed of a sweep, over the range of its learning rates, and print them.

    Args:
        words: The overrides of the sweep, in Hydra's grammar.
        config_dir: A folder of own options.
        refused: Options that were given and can have no effect.
        dry_run: Say which tests would be run, and stop.
        quiet: Print nothing but the errors.
        as_json: Print one JSON object.

    Raises:
        ConfigError: The sweep has one learning rate only, and so no range; or an option makes no sense here.
    """
    from bnlab.sweeps.plan import plan_sweep

    for option in refused:
        raise ConfigError(f"{option} has no effect on --range-test: {_WHY_NOT[option]}. Leave one of them out.")
    sweep = plan_sweep(words, None, config_dir)
    for warning in () if quiet else sweep.warnings:
        say_warning(warning)
    lrs = [config.optim.lr for config in sweep.configs.values()]
    lowest, highest = min(lrs), max(lrs)
    if lowest == highest:
        raise ConfigError(
            f"--range-test needs a range of learning rates, got optim.lr={lowest:g} alone. "
            "Give its ends: optim.lr=1e-3,100."
        )
    if not quiet:
        _warn_of_few_steps(sweep, lowest, highest)
    by_arm = _by_arm(sweep)
    if not quiet:
        num_tests = sum(len(configs) for configs in by_arm.values())
        tests = f"{counted(num_tests, 'range test')} of {counted(len(by_arm), 'arm')}"
        ERR.print(f"{tests}, optim.lr from {lowest:g} to {highest:g}; nothing of it is kept", style="dim")
    if dry_run:
        return
    with own_prints_on_stderr():
        found = {
            arm: _screened(arm, configs, lowest, highest, show=not quiet and ERR.is_terminal)
            for arm, configs in by_arm.items()
        }
    if as_json:
        facts = {"lowest": lowest, "highest": highest, "note": A_SCREEN}
        typer.echo(json.dumps({"range_test": {arm: asdict(one) for arm, one in found.items()}, **facts}))
    elif not quiet:
        _print(found, lowest, highest)


def _warn_of_few_steps(sweep: "Sweep", lowest: float, highest: float) -> None:
    decades = math.log10(highest / lowest)
    steps = [config.train.steps for config in sweep.configs.values() if config.train.steps is not None]
    if steps and min(steps) < FEW_STEPS * decades:
        say_warning(
            f"{min(steps)} steps from {lowest:g} to {highest:g} are few: {FEW_STEPS} per decade are the least to tell "
            f"a slope from noise. Try train.steps={math.ceil(2 * FEW_STEPS * decades)}."
        )


def _by_arm(sweep: "Sweep") -> dict[str, list["RunConfig"]]:
    """Return one config per arm and seed: the learning rate does not matter."""
    arms: dict[str, dict[int, RunConfig]] = {}
    for name, config in sweep.configs.items():
        arms.setdefault(sweep.arm(name), {}).setdefault(config.seed, config)
    return {arm: list(by_seed.values()) for arm, by_seed in arms.items()}


def _screened(arm: str, configs: list["RunConfig"], lowest: float, highest: float, show: bool) -> "RangeSpread":
    from bnlab.experiment.screening import screen
    from bnlab.stats.range_curve import read_range, spread

    with ERR.status(f"Range tests of {arm}") if show else contextlib.nullcontext():
        return spread([read_range(curve) for curve in screen(configs, lowest, highest)])


def _print(found: dict[str, "RangeSpread"], lowest: float, highest: float) -> None:
    columns = ["loss begins to fall", "falls fastest", "breaks"]
    OUT.print(f"[bold]Learning-rate range test, {lowest:g} to {highest:g}: lowest and highest of the seeds[/]")
    table = new_table("arm", *columns, "seeds", right=[*columns, "seeds"])
    for arm, one in found.items():
        learned = f"{one.n}" if one.num_learned == one.n else f"{one.num_learned} of {one.n} learned"
        begins = _ends(one.begins, low_sign=SIGN[one.begins_side])
        breaks = _ends(one.breaks, high_sign=SIGN[one.breaks_side])
        table.add_row(escape(arm), begins, _ends(one.steepest), breaks, learned)
    print_table(table)
    OUT.print(A_SCREEN, markup=False, soft_wrap=not OUT.is_terminal)


def _ends(ends: tuple[float, float] | None, low_sign: str = "", high_sign: str = "") -> str:
    if ends is None:
        return "unknown"
    low, high = map(two_digits, ends)
    return f"{low_sign}{high_sign}{low}" if low == high else f"{low_sign}{low} to {high_sign}{high}"
