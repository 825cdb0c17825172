"""`bnlab show`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.consoles import ERR

if TYPE_CHECKING:
    from bnlab.report.inside import RunInside
    from bnlab.report.needles import Needle
    from bnlab.report.shown import Shown

NoFigures = Annotated[bool, typer.Option("--no-figures", help="Print only; draw nothing.")]


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, by name or folder; a folder with one run in it.")],
    diagnostic: Annotated[
        str | None,
        typer.Argument(metavar="[DIAGNOSTIC]", help="One of them, layer by layer.", show_default=False),
    ] = None,
    no_figures: NoFigures = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as one JSON object.")] = False,
) -> None:
    """Show what was seen inside a run: a panel with verdicts, and figures for paper as SVG and PNG.

    [bold]bnlab show batch-mlp-mnist_5k-lr0.1-s0-05e7b1a2[/]: all that was measured; figures into the run's folder

    [bold]bnlab show runs/single/batch-* saturation[/]: one diagnostic, layer by layer, and how it is read

    [bold]bnlab train diagnostics=full[/] makes a run with much to see.
    """
    from bnlab.report.inside import find_run, read_inside
    from bnlab.report.needles import needles_of

    inside = read_inside(find_run(run))
    chosen = None if diagnostic is None else inside.pick(diagnostic)
    needles = needles_of(inside)
    if not as_json:
        _print(inside, needles, None if chosen is None else chosen.name)
    paths = [] if no_figures else _draw(inside, None if chosen is None else [chosen.name])
    if as_json:
        typer.echo(json.dumps(_as_dict(inside, needles, diagnostic, paths), allow_nan=False))
    elif paths:
        what = (
            f"The figure is in {paths[0]}" if len(paths) <= 2 else f"{len(paths) // 2} figures are in {paths[0].parent}"
        )
        ERR.print(what, style="dim", markup=False, soft_wrap=True)


def _print(inside: "RunInside", needles: "Sequence[Needle]", diagnostic: str | None) -> None:
    from bnlab.cli.panel import print_layers, print_panel, print_title, print_verdicts

    print_title(inside)
    if diagnostic is None:
        print_panel(needles)
        print_verdicts(needles)
        return
    from bnlab.cli.cards import print_card

    needle = next(needle for needle in needles if needle.measured.name == diagnostic)
    print_layers(needle.measured, needle)
    if needle.measured.card is not None:
        print_card(needle.measured.card, ("Reading", "Blind spots"))


def _draw(inside: "RunInside", names: list[str] | None) -> list[Path]:
    from bnlab.report.shown import shown_side_by_side
    from bnlab.runfolder.figures import inside_figure_path

    return draw_all(
        shown_side_by_side([inside]), lambda name, kind: inside_figure_path(inside.folder, name, kind), names
    )


def draw_all(
    shown: "Sequence[Shown]", path_of: Callable[[str, str], Path], names: Sequence[str] | None = None
) -> list[Path]:
    """Draw figures and say meanwhile which; return their paths.

    Args:
        shown: The runs.
        path_of: Name of a figure and format -> where to.
        names: Diagnostics; None: all there is.
    """
    from bnlab.report.inside_figures import write_inside

    paths: list[Path] = []
    with ERR.status("drawing", spinner_style="dim") as status:
        for name, written in write_inside(shown, path_of, names):
            paths += written
            status.update(f"[dim]drawn: {name}[/]")
    return paths


def _as_dict(
    inside: "RunInside", needles: "Sequence[Needle]", diagnostic: str | None, paths: Sequence[Path]
) -> dict[str, object]:
    chosen = [needle for needle in needles if diagnostic in {None, needle.measured.name}]
    return {
        "run_id": inside.run_id,
        "folder": str(inside.folder),
        "status": inside.row.get("status"),
        "diagnostics": [needle.as_dict() for needle in chosen],
        "verdicts": [verdict.as_dict() for needle in chosen for verdict in needle.verdicts],
        "figures": [str(path) for path in paths],
    }
