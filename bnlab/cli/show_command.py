"""`bnlab show`."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bnlab.cli.command_options import NoFigures
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, Waiting, say_warning, telling_what_is_unwritten
from bnlab.cli.network_tables import is_model, print_layers_of
from bnlab.errors import ConfigError, DamagedRunError

if TYPE_CHECKING:
    from bnlab.report.network.absent import Absent
    from bnlab.report.network.labels import LabeledRun
    from bnlab.report.network.panel import PanelRow
    from bnlab.report.network.read import MeasuredRun
    from bnlab.runfolder.folder import RunFolder

SLICES = ("slices", "slices_2d")
"""Figures that are computed from the final weights when they are asked for: no diagnostic records them."""


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run, by name or folder; a folder with one run in it.", autocompletion=complete_run
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIAGNOSTIC]",
            help="One of them, layer by layer. Of a network: words of the config, such as norm=layer.",
            show_default=False,
        ),
    ] = None,
    no_figures: NoFigures = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as one JSON object.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Of a network: the data set that it is built for.")
    ] = None,
) -> None:
    """Show what the diagnostics of a run measured: a panel with verdicts, and figures for paper as SVG and PNG.

    [bold]bnlab show RUN[/]: all diagnostics of a run that [bold]bnlab list runs[/] names; figures go into its folder

    [bold]bnlab show RUN saturation[/]: one diagnostic, layer by layer, and how to read it

    [bold]bnlab show RUN slices[/], [bold]bnlab show RUN slices_2d[/]: the loss around the final weights

    [bold]bnlab show cnn norm=layer[/]: the layers of a network, where no run has this name

    [bold]bnlab train diagnostics=full[/] trains a run with nearly all diagnostics.
    """
    with Waiting("Reading the run", as_json):
        from bnlab.renamed import current_name
        from bnlab.report.network.absent import absent_of
        from bnlab.report.network.comparison import say_what_measures
        from bnlab.report.network.panel import panel_rows
        from bnlab.report.network.read import read_measured_run
        from bnlab.runfolder.cures import how_to_train_again, with_cure
        from bnlab.runfolder.finding import find_run

    words = words or []
    diagnostic = words[0] if words else None
    if diagnostic in SLICES and len(words) == 1:
        _show_slice(find_run(run), diagnostic, as_json=as_json)
        return
    try:
        folder = find_run(run)
    except ConfigError:
        if not is_model(run) or not all("=" in word for word in words):
            raise
        print_layers_of(run, words, data, as_json)
        return
    if len(words) > 1:
        raise ConfigError(
            f"Give the name of one run, and then that of one of its diagnostics at most, got {' '.join(words)}."
        )
    try:
        measured_run = read_measured_run(folder)
    except DamagedRunError as error:
        raise DamagedRunError(f"{error}. {how_to_train_again(folder)}") from error
    chosen = None if diagnostic is None else current_name(diagnostic)
    rows = [row for row in panel_rows(measured_run) if chosen in {None, row.measured.name}]
    absent = absent_of(measured_run, None if chosen is None else [chosen])
    if "problem" in measured_run.row:
        say_warning(f"{measured_run.run_id}: {with_cure(measured_run.row['problem'], measured_run.folder)}")
    if not as_json:
        _print(measured_run, rows, absent, chosen)
    if chosen is None and (note := say_what_measures([measured_run])):
        ERR.print(note, style="dim", markup=False, soft_wrap=True)
    paths: list[Path] = []
    if not no_figures:
        with telling_what_is_unwritten():
            paths = _draw(measured_run, None if chosen is None else [chosen], with_panel=bool(rows))
    if as_json:
        typer.echo(json.dumps(_as_dict(measured_run, rows, absent, paths), allow_nan=False))
    elif paths:
        what = (
            f"The figure is in {paths[0]}" if len(paths) <= 2 else f"{len(paths) // 2} figures are in {paths[0].parent}"
        )
        ERR.print(what, style="dim", markup=False, soft_wrap=True)


def _print(run: "MeasuredRun", rows: "Sequence[PanelRow]", absent: "Sequence[Absent]", diagnostic: str | None) -> None:
    from bnlab.cli.card_text import print_card
    from bnlab.cli.panel_text import print_absent, print_gap, print_layers, print_panel, print_title, print_verdicts
    from bnlab.report.network.gap import explain_gap
    from bnlab.results.controlled_divergence import controlled_divergence

    print_title(run)
    if diagnostic in {None, "logit_scale"} and (growth := controlled_divergence(run.row)) is not None:
        OUT.print(f"\n{growth.sentence}", soft_wrap=True, markup=False, highlight=False)
    if diagnostic is None:
        if rows:
            print_panel(rows)
            print_verdicts(rows)
        print_gap(explain_gap(run))
        print_absent(absent)
        return
    for each in absent:
        OUT.print(f"\n{each.sentence}", soft_wrap=True, markup=False, highlight=False)
    for row in rows:
        print_layers(row.measured, row)
        if row.measured.card is not None:
            print_card(row.measured.card, ("Reading", "Blind spots"))


def _show_slice(folder: "RunFolder", which: str, *, as_json: bool) -> None:
    """Draw the loss around a run's final weights; print the loss at the weights and the largest loss of the slice."""
    from bnlab.experiment.slicing import slice_run
    from bnlab.report.network.slice_figures import draw_slice_1d, draw_slice_2d
    from bnlab.report.style import paper, save
    from bnlab.runfolder.figure_paths import run_figure_path

    paths: list[Path] = []
    with ERR.status("looking around the weights", spinner_style="dim"), paper():
        found = slice_run(folder.path, is_plane=which == "slices_2d")
        figure = (draw_slice_2d if which == "slices_2d" else draw_slice_1d)({folder.path.name: found})
        with telling_what_is_unwritten():
            paths = save(
                figure, lambda kind: run_figure_path(folder.path, which, kind), "Make room there, or allow writing."
            )
    if as_json:
        losses = {
            name: [[value if math.isfinite(value) else None for value in row] for row in loss.tolist()]
            for name, loss in (("train_loss", found.train_loss), ("eval_loss", found.eval_loss))
        }
        steps = {"steps": found.steps, "other_steps": found.other_steps}
        facts = {"run_id": folder.path.name, **steps, **losses, "figures": [str(path) for path in paths]}
        typer.echo(json.dumps(facts, allow_nan=False))
        return
    middle = found.train_loss[len(found.steps) // 2, len(found.other_steps) // 2]
    OUT.print(
        f"Training loss {middle:.4f} at the weights, up to {found.train_loss.max():.4f} where every filter is changed "
        "by its own length (batch statistics).",
        soft_wrap=True,
    )
    if paths:
        ERR.print(f"The figure is in {paths[0]}", style="dim", markup=False, soft_wrap=True)


def _draw(run: "MeasuredRun", names: list[str] | None, *, with_panel: bool) -> list[Path]:
    """Draw a run's loss and accuracy, and its diagnostics; those that were named alone. Return the paths."""
    from bnlab.report.network.labels import label_runs
    from bnlab.report.training_curves import NAME
    from bnlab.runfolder.figure_paths import run_figure_path

    labeled = label_runs([run])
    curves = [] if names else draw_curves(labeled, lambda kind: run_figure_path(run.folder, NAME, kind))
    if not with_panel:
        return curves
    return [*curves, *draw_all(labeled, lambda name, kind: run_figure_path(run.folder, name, kind), names)]


def draw_curves(runs: "Sequence[LabeledRun]", path_of: Callable[[str], Path]) -> list[Path]:
    """Draw the loss and the accuracy of one or more runs over training; return the paths.

    Args:
        runs: One run, or the runs of a comparison.
        path_of: Function from a format (``svg`` or ``png``) to the path of the figure.
    """
    from bnlab.report.network.labels import shared_settings
    from bnlab.report.training_curves import ArmCurves, write_training_curves
    from bnlab.results.curves import read_run_curves

    curves = [ArmCurves(each.label, 1, read_run_curves(each.run.folder)) for each in runs]
    return write_training_curves(curves, shared_settings(runs), path_of)


def draw_all(
    runs: "Sequence[LabeledRun]", path_of: Callable[[str, str], Path], names: Sequence[str] | None = None
) -> list[Path]:
    """Draw figures and show on the terminal which are done; return the paths of the files.

    Args:
        runs: One run, or the runs of a comparison.
        path_of: Function from a figure's name and format (``svg`` or ``png``) to the path of its file.
        names: Names of diagnostics, a figure each; None for all figures of these runs.
    """
    from bnlab.report.network.figures import write_figures

    paths: list[Path] = []
    with ERR.status("drawing", spinner_style="dim") as status:
        for name, written in write_figures(runs, path_of, names):
            paths += written
            status.update(f"[dim]drawn: {escape(name)}[/]")
    return paths


def _as_dict(
    run: "MeasuredRun", rows: "Sequence[PanelRow]", absent: "Sequence[Absent]", paths: Sequence[Path]
) -> dict[str, object]:
    from bnlab.report.network.gap import explain_gap
    from bnlab.results.controlled_divergence import controlled_divergence

    gap, growth = explain_gap(run), controlled_divergence(run.row)
    return {
        "run_id": run.run_id,
        "folder": str(run.folder),
        "status": run.row.get("status"),
        "diagnostics": [row.as_dict() for row in rows],
        "absent": {each.name: each.as_dict() for each in absent},
        "verdicts": [verdict.as_dict() for row in rows for verdict in row.verdicts],
        "statistics_gap": None if gap is None else {"cause": gap.cause, "sentence": gap.sentence},
        "controlled_divergence": None if growth is None else growth.sentence,
        "figures": [str(path) for path in paths],
    }
