"""`bnlab compare` of many runs: by their arms, over seeds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from bnlab.cli.arm_tables import print_arms
from bnlab.cli.consoles import ERR, OUT, counted, say_warning, telling_what_is_unwritten
from bnlab.cli.instrument_table import MOST_INSTRUMENTS, print_instruments
from bnlab.diagnostics.cards import near_or_few
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.errors import ConfigError
from bnlab.plugins import DIAGNOSTIC_PLUGINS
from bnlab.report.instrument_rows import InstrumentRow, instrument_rows
from bnlab.results.arms import Arm
from bnlab.results.compared_arms import ComparedArms
from bnlab.results.versus import Versus, against_first
from bnlab.stats.estimate import Estimate


def compare_arms(
    compared: ComparedArms,
    names: Sequence[str] | None,
    folder: Path | None,
    *,
    as_json: bool,
    is_place_named: bool = False,
) -> None:
    """Print arms beside the first one, and what instruments measured in them; draw their curves.

    Args:
        compared: The runs, sorted into arms.
        names: The instruments that were asked for; None: all that any run has.
        folder: Where figures go; None: nothing is drawn.
        as_json: Print one JSON object.
        is_place_named: Whether the user named the folder: then it is an error that it cannot be written to.

    Raises:
        UnwrittenError: It cannot.
    """
    for row in compared.rows:
        if "problem" in row:
            say_warning(f"{row['run_id']}: {row['problem']}")
    arms = [arm for arm in compared.arms if arm.compared]
    without = [arm.label for arm in compared.arms if not arm.compared]
    wanted = _recorded(compared) if names is None else list(names)
    rows = instrument_rows(arms, wanted) if arms and wanted else []
    _say_absent([name for name in names or () if name not in {row.name for row in rows}], wanted=_recorded(compared))
    if not as_json:
        if not arms:
            OUT.print("No run has come to an end, so that there are no final figures.", soft_wrap=True)
            return
        print_arms(arms, compared.swept)
        if without:
            OUT.print(f"No run has a result: {', '.join(without)}.", markup=False, soft_wrap=not OUT.is_terminal)
        shown = rows if names is not None else rows[:MOST_INSTRUMENTS]
        more = "" if len(shown) == len(rows) else f"{counted(len(rows) - len(shown), 'instrument')} more: -d NAME."
        print_instruments(arms, shown, beside=more)
    paths: list[Path] = []
    with telling_what_is_unwritten(is_asked_for=is_place_named):
        paths = [] if folder is None or not arms else _draw(arms, rows, wanted, folder)
    if as_json:
        typer.echo(json.dumps(_as_dict(compared, arms, rows, paths), allow_nan=False))
    elif paths and folder is not None:
        drawn = [path.name for path in paths if path.suffix == ".png"]
        ERR.print(f"{', '.join(drawn)} (and .svg) in {folder}", style="dim", markup=False, soft_wrap=True)


def _say_absent(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Say which instruments that were asked for have no value in any run.

    Raises:
        ConfigError: There is no instrument of a name.
    """
    known = [*DIAGNOSTICS, *DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS), *wanted]
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no diagnostic {name}. {near_or_few(name, [*wanted, *known])}")
        ERR.print(f"{name}: none of these runs has recorded it, or it is undefined in them.", style="dim")


def _recorded(compared: ComparedArms) -> list[str]:
    """Return the instruments that the configs of the runs name."""
    names = [name for row in compared.rows for name in row.get("diagnostics.names") or []]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _draw(arms: Sequence[Arm], rows: Sequence[InstrumentRow], names: Sequence[str], folder: Path) -> list[Path]:
    """Draw the curves of the arms, and what was measured: over the layers, and over the steps; return the paths."""
    from bnlab.report.instrument_figure import draw_instruments, draw_over_steps
    from bnlab.report.style import paper, save
    from bnlab.report.training_curves import draw_training_curves, read_arm_curves
    from bnlab.results.curves import read_best_curves
    from bnlab.runfolder.figure_paths import figure_path

    def over_steps() -> Any:
        return draw_over_steps([(arm.label, read_best_curves(arm, every_diagnostic=True)) for arm in arms], rows)

    figures: dict[str, Callable[[], Any]] = {
        "curves": lambda: draw_training_curves(read_arm_curves(arms)),
        "instruments": lambda: draw_instruments(arms, names),
        "instruments-over-steps": over_steps,
    }
    paths: list[Path] = []
    with ERR.status("drawing", spinner_style="dim"), paper():
        for name, draw in figures.items():
            figure = draw()
            if figure is not None:
                path_of = lambda kind, name=name: figure_path(folder, name, kind)  # noqa: E731
                paths += save(figure, path_of, "Choose another folder by --out.")
    return paths


def _as_dict(
    compared: ComparedArms, arms: Sequence[Arm], rows: Sequence[InstrumentRow], paths: Sequence[Path]
) -> dict[str, Any]:
    against = against_first(arms)
    return {
        "arms": [
            {
                "label": arm.label,
                "settings": arm.settings,
                "runs": [run.row["run_id"] for cell in arm.cells for run in cell.runs if run.row is not None],
                **_means(arm),
                "against_first": {figure: _versus(versus) for figure, versus in each.items()},
            }
            for arm, each in zip(arms, against, strict=True)
        ],
        "instruments": [
            {
                "name": row.name,
                "layer": row.layer,
                "unit": row.unit,
                "scale": row.scale,
                "means": [None if mean is None else _estimate(mean) for mean in row.means],
                "against_first": [None if versus is None else _versus(versus) for versus in row.against],
            }
            for row in rows
        ],
        "without_result": [arm.label for arm in compared.arms if arm not in arms],
        "figures": [str(path) for path in paths],
    }


def _means(arm: Arm) -> dict[str, Any]:
    best = arm.best()
    if best is None:
        return {}
    test = best.cell.mean_test_accuracy()
    return {
        "lr": best.lr,
        "test_accuracy": None if test is None else _estimate(test),
        "validation_accuracy": _estimate(best.cell.mean("accuracy")),
        "validation_loss": _estimate(best.cell.mean("loss")),
    }


def _versus(found: Versus) -> dict[str, Any]:
    return {**_estimate(found.difference), "is_apart": found.is_apart}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as plain values; an end that is no number is None."""
    ends = (float("inf"), float("-inf"))
    return {key: None if value in ends else value for key, value in asdict(estimate).items()}
