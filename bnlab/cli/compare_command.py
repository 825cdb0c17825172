"""`bnlab compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, new_table, print_table, say_warning
from bnlab.cli.show_command import SLICES, NoFigures, draw_all

if TYPE_CHECKING:
    from bnlab.report.network.comparison import ComparedRow
    from bnlab.report.network.labels import LabeledRun

WIDE = 100
"""Columns of a terminal window from which on the table names layers."""

LAYER, VALUE, MOST_VALUE, DIFFERENCE, GAP = 19, 9, 22, 11, 3
"""Letters of these columns: a layer, a value, a value with a long heading, the difference; and the gap between two."""

LEAST_VALUES = 2
"""Runs side by side in the table at least, however narrow the window."""


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="Runs, by name or folder; or the name of a sweep.", autocompletion=complete_run
        ),
    ],
    where: Annotated[
        list[str] | None, typer.Option("--where", "-w", help="Only runs with these settings: seed=0 · 'lr>0.1'")
    ] = None,
    diagnostic: Annotated[
        list[str] | None,
        typer.Option("--diagnostic", "-d", metavar="NAME", help="Only this diagnostic; can be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where figures go (runs/comparisons/...).", show_default=False),
    ] = None,
    no_figures: NoFigures = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all last values as one JSON object.")] = False,
) -> None:
    """Compare several runs: a table of their final figures and diagnostics, and figures on the same axes.

    [bold]bnlab compare RUN RUN[/]: two runs, such as one with a norm and one without

    [bold]bnlab compare my_sweep --where seed=0[/]: the runs of a sweep with one seed

    [bold]bnlab compare my_sweep -d saturation -d gradient_norm --out figures[/]: two figures, in a folder of your own
    """
    from bnlab.report.network.comparison import compared_as_dict, find_compared, folder_of_comparison
    from bnlab.report.network.labels import label_runs
    from bnlab.runfolder.figure_paths import figure_path

    labeled = label_runs(find_compared(runs, where or []))
    for each in labeled:
        if "problem" in each.run.row:
            say_warning(f"{each.run.run_id}: {each.run.row['problem']}")
    slices = [name for name in diagnostic or [] if name in SLICES]
    names = [_checked(name, labeled) for name in diagnostic or [] if name not in SLICES]
    chosen = names if names or slices else None
    if not as_json:
        _print(labeled, chosen)
    folder = out.absolute() if out is not None else folder_of_comparison(runs, labeled)
    paths = [] if no_figures else draw_all(labeled, lambda name, kind: figure_path(folder, name, kind), chosen)
    for name in slices:
        paths += _draw_slices(labeled, name, folder)
    if as_json:
        typer.echo(json.dumps(compared_as_dict(labeled, paths), allow_nan=False))
    elif paths:
        ERR.print(f"{len(paths) // 2} figures are in {folder}", style="dim", markup=False, soft_wrap=True)


def _draw_slices(labeled: "Sequence[LabeledRun]", which: str, folder: Path) -> list[Path]:
    """Draw the losses around the final weights of all runs on the same axes; return the paths."""
    from bnlab.experiment.slicing import slice_run
    from bnlab.report.network.labels import shared_settings
    from bnlab.report.network.slice_figures import draw_slice_1d, draw_slice_2d
    from bnlab.report.style import paper, save
    from bnlab.runfolder.figure_paths import figure_path

    found = {each.label: slice_run(each.run.folder, is_plane=which == "slices_2d") for each in labeled}
    with paper():
        figure = (draw_slice_2d if which == "slices_2d" else draw_slice_1d)(found, shared_settings(labeled))
        return save(figure, lambda kind: figure_path(folder, which, kind), "Choose another folder by --out.")


def _checked(name: str, labeled: "Sequence[LabeledRun]") -> str:
    """Return the diagnostic's name of today, if any of the runs has recorded it."""
    from bnlab.diagnostics.cards import near_or_few
    from bnlab.errors import ConfigError
    from bnlab.renamed import current_name

    known = {known for each in labeled for known in each.run.measured}
    if current_name(name) not in known:
        raise ConfigError(f"none of these runs has a diagnostic {name}. {near_or_few(name, known)}")
    return current_name(name)


def _print(labeled: "Sequence[LabeledRun]", names: Sequence[str] | None) -> None:
    """Print the table, in blocks of as many runs as fit side by side."""
    from bnlab.cli.panel_text import width
    from bnlab.report.network.comparison import compared_diagnostics, compared_figures

    runs = [each.run for each in labeled]
    figures = [row for row in compared_figures(runs) if any(value is not None for value in row.values)]
    inside = [row for row in compared_diagnostics(runs) if names is None or row.name in names]
    rows = [*figures, *inside]
    has_layers = width() >= WIDE
    names_width = max(len(row.name) for row in rows) + (LAYER + GAP if has_layers else 0)
    longest = max(len(word) for each in labeled for word in each.label.split())
    room = max(LEAST_VALUES, (width() - names_width - DIFFERENCE - GAP) // (max(VALUE, min(longest, MOST_VALUE)) + GAP))
    for start in range(0, len(labeled), room):
        _print_block(labeled[start : start + room], start, rows, len(figures), has_layers)
    OUT.print(
        "Diagnostics: the last value, in the layer where the runs differ most. Bold: by 10 points or more, or twofold.",
        style="dim",
        highlight=False,
    )


def _print_block(
    labeled: "Sequence[LabeledRun]", start: int, rows: "Sequence[ComparedRow]", num_figures: int, has_layers: bool
) -> None:
    from bnlab.report.network.panel import where
    from bnlab.report.wording import write_value

    labels = [each.label.replace(" ", "\n") for each in labeled]
    table = new_table("", *(["layer"] if has_layers else []), *labels, "apart", right=[*labels, "apart"])
    for column in table.columns:
        is_label = str(column.header) in labels
        column.no_wrap = not is_label
        column.max_width = MOST_VALUE if is_label else None
    for number, row in enumerate(rows):
        values = row.values[start : start + len(labeled)]
        cells = ["-" if value is None else write_value(value, row.unit) for value in values]
        layer = "" if row.key is None else where(row.key)
        parts = [row.name, *([layer] if has_layers else []), *cells, row.difference]
        table.add_row(*map(Text, parts), style="bold" if row.is_telling else "", end_section=number + 1 == num_figures)
    print_table(table)
