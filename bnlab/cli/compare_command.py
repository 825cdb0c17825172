"""`bnlab compare`."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from bnlab.cli.command_options import NoFigures, at_home
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, Waiting, new_table, print_table, say_warning, telling_what_is_unwritten
from bnlab.cli.show_command import SLICES, draw_all, draw_curves

if TYPE_CHECKING:
    from bnlab.report.network.absent import Absent
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
            metavar="RUN RUN...",
            help="Runs, by name or folder; or the names of sweeps.",
            autocompletion=complete_run,
        ),
    ],
    where: Annotated[
        list[str] | None, typer.Option("--where", "-w", help="Only runs with these settings: seed=0 · 'lr>0.1'")
    ] = None,
    diagnostic: Annotated[
        list[str] | None,
        typer.Option("--diagnostic", "-d", metavar="NAME", help="Only this diagnostic; can be repeated."),
    ] = None,
    by: Annotated[
        Literal["arm", "run"] | None,
        typer.Option(
            "--by", help="A line per arm, over its seeds, or a column per run (arms, where one has two seeds)."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where figures go (runs/comparisons/...).",
            show_default=False,
            callback=at_home,
        ),
    ] = None,
    no_figures: NoFigures = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all last values as one JSON object.")] = False,
) -> None:
    """Compare runs, arms or sweeps: their final figures and diagnostics in a table, and figures on the same axes.

    [bold]bnlab compare RUN RUN[/]: two runs, such as one with a norm and one without

    [bold]bnlab compare my_sweep[/]: its arms, over seeds; curves with bands; [bold]--by run[/]: each run in a column

    Two sweeps, by the settings that tell their arms apart: name both.

    [bold]bnlab compare my_sweep --where seed=0[/]: the runs of a sweep with one seed

    [bold]bnlab compare my_sweep -d saturation -d gradient_norm --out figures[/]: two figures, in a folder of your own
    """
    from bnlab.renamed import current_name

    slices = [name for name in diagnostic or [] if name in SLICES]
    names = list(dict.fromkeys(current_name(name) for name in diagnostic or [] if name not in SLICES))
    with Waiting("Reading the runs", as_json):
        from bnlab.cli.compare_arms import compare_arms
        from bnlab.report.network.comparison import (
            MOST_RUNS,
            choose_runs,
            compared_as_dict,
            find_compared,
            folder_of_arms,
            folder_of_comparison,
            say_what_measures,
        )
        from bnlab.report.network.labels import label_runs
        from bnlab.results.compared_arms import as_arms
        from bnlab.runfolder.index import read_run_rows

        rows = [row for folder in choose_runs(runs, where or []) for row in read_run_rows(folder.path)]
        compared = as_arms(rows)
    if not slices and by != "run" and (by == "arm" or compared.has_seeds or len(rows) > MOST_RUNS):
        place = None if no_figures else out.absolute() if out is not None else folder_of_arms(runs, rows)
        compare_arms(compared, names or None, place, as_json=as_json, is_place_named=out is not None)
        return
    labeled = label_runs(find_compared(runs, where or []))
    for each in labeled:
        if "problem" in each.run.row:
            say_warning(f"{each.run.run_id}: {each.run.row['problem']}")
    chosen = names if names or slices else None
    absent = _absent(labeled, chosen)
    drawn = chosen and [name for name in chosen if any(name in each.run.measured for each in labeled)]
    if not as_json:
        _print(labeled, absent, chosen)
        _say_other_settings(labeled)
    if chosen is None and (note := say_what_measures([each.run for each in labeled])):
        ERR.print(note, style="dim", markup=False, soft_wrap=True)
    folder = out.absolute() if out is not None else folder_of_comparison(runs, labeled)
    paths: list[Path] = []
    with telling_what_is_unwritten(is_asked_for=out is not None):
        if not no_figures:
            paths += _draw(labeled, drawn, folder)
        for name in slices:
            paths += _draw_slices(labeled, name, folder)
    if as_json:
        typer.echo(json.dumps(compared_as_dict(labeled, paths, chosen), allow_nan=False))
    elif paths:
        ERR.print(f"{_figures(len(paths) // 2)} in {folder}", style="dim", markup=False, soft_wrap=True)


def _figures(number: int) -> str:
    return "1 figure is" if number == 1 else f"{number} figures are"


def _draw(labeled: "Sequence[LabeledRun]", names: list[str] | None, folder: Path) -> list[Path]:
    """Draw some diagnostics of runs on the same axes, or all of them and the training curves; return the paths."""
    from bnlab.report.training_curves import NAME as CURVES
    from bnlab.runfolder.figure_paths import figure_path

    curves = draw_curves(labeled, lambda kind: figure_path(folder, CURVES, kind)) if names is None else []
    return curves + draw_all(labeled, lambda name, kind: figure_path(folder, name, kind), names)


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


def _absent(labeled: "Sequence[LabeledRun]", names: Sequence[str] | None) -> "list[tuple[str, list[Absent]]]":
    """Return each run's label and the diagnostics of the table that it has no value of.

    Raises:
        ConfigError: There is no diagnostic of a name that was asked for.
    """
    from bnlab.report.network.absent import absent_of

    wanted = dict.fromkeys(name for each in labeled for name in each.run.measured) if names is None else names
    found = [(each.label, absent_of(each.run, wanted)) for each in labeled]
    return [(label, absent) for label, absent in found if absent]


def _print_absent(runs: "Sequence[tuple[str, list[Absent]]]") -> None:
    """Print why runs have no value where others have one: a line per reason, then a command that records what lacks."""
    from bnlab.report.network.absent import by_reason

    who: dict[str, list[str]] = {}
    for label, absent in runs:
        for line in by_reason(absent):
            who.setdefault(line, []).append(label)
    for line, labels in who.items():
        OUT.print(f"{', '.join(labels)}: {line}", style="dim", markup=False, highlight=False)
    for label, absent in runs:
        for command in dict.fromkeys(each.command for each in absent if each.command):
            OUT.print(f"{label}, with diagnostics: {command}", style="dim", markup=False, soft_wrap=True)


def _print(
    labeled: "Sequence[LabeledRun]", absent: "Sequence[tuple[str, list[Absent]]]", names: Sequence[str] | None
) -> None:
    """Print the table, in blocks of as many runs as fit side by side, and why some of its values are not there."""
    from bnlab.cli.panel_text import width
    from bnlab.report.network.comparison import compared_diagnostics, compared_figures

    runs = [each.run for each in labeled]
    figures = [row for row in compared_figures(runs) if any(value is not None for value in row.values)]
    inside = [row for row in compared_diagnostics(runs) if names is None or row.name in names]
    rows = [*figures, *inside]
    if not rows:
        OUT.print("No run has come to an end, so that there are no final figures.", soft_wrap=True)
        return
    has_layers = bool(inside) and width() >= WIDE
    names_width = max(len(row.name) for row in rows) + (LAYER + GAP if has_layers else 0)
    longest = max(len(word) for each in labeled for word in each.label.split())
    room = max(LEAST_VALUES, (width() - names_width - DIFFERENCE - GAP) // (max(VALUE, min(longest, MOST_VALUE)) + GAP))
    for start in range(0, len(labeled), room):
        _print_block(labeled[start : start + room], start, rows, len(figures), has_layers)
    dashes = any(value is None for row in inside for value in row.values)
    OUT.print(
        ("Diagnostics: the last value, in the layer where the runs differ most. " if inside else "")
        + "*: by 10 points or more, or twofold; single runs have no interval."
        + (" -: the run has no layer of this name, or no value, for a reason that is said below." if dashes else ""),
        style="dim",
        highlight=False,
    )
    _print_absent(absent)


def _say_other_settings(labeled: "Sequence[LabeledRun]") -> None:
    """Say in which settings two runs differ that their labels do not name: what is seen may come from these."""
    from bnlab.results.difference import difference_of
    from bnlab.results.swept import swept_keys

    if len(labeled) != 2:
        return
    rows = [each.run.row for each in labeled]
    named = swept_keys(rows)
    differing = [one for one in difference_of(*rows).settings if one.name not in named]
    others = [one.name for one in differing if one.first is not None and one.second is not None]
    if others:
        first, second = (shlex.quote(each.run.run_id) for each in labeled)
        told = f"They differ in other settings too: {', '.join(others)}. All: bnlab diff {first} {second}"
        OUT.print(told, style="yellow", markup=False, highlight=False, soft_wrap=not OUT.is_terminal)


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
        parts = [
            row.name,
            *([layer] if has_layers else []),
            *cells,
            row.difference + (" *" if row.is_telling else "  "),
        ]
        table.add_row(*map(Text, parts), end_section=number + 1 == num_figures)
    print_table(table)
