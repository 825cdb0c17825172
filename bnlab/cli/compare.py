"""`bnlab compare`: several runs side by side, on the same axes."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bnlab.cli.consoles import ERR, new_table, print_table, say_warning
from bnlab.cli.show import SLICES
from bnlab.cli.summary import STYLE_OF, number, share
from bnlab.errors import ConfigError, did_you_mean
from bnlab.report.inside import Inside, find_needles, label_runs, read_inside, written
from bnlab.runfolder.index import find_folder, find_run_folders, runs_root

MOST_RUNS = 8
"""Panels that fit side by side, and columns that fit into a window."""

MOST_DECIMALS = 6

Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where figures go (default: compared/ below the runs).")
]
Only = Annotated[
    list[str] | None, typer.Option("--diagnostic", "-d", help="These only; slices: the loss around the final weights.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Draw, and print nothing but errors.")]


def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs, by folder or name, or a sweep.", show_default=False)],
    diagnostic: Only = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare what happened inside several runs: a table here, figures (SVG and PNG) with the same axes.

    [bold]bnlab compare RUN RUN[/]: everything that was measured in both

    [bold]bnlab compare my_sweep -d saturation -d gradient_norm[/]: two diagnostics, for the runs of a sweep
    """
    insides = _read(runs)
    labels = label_runs(insides)
    common = [name for name in insides[0].measures if all(name in inside.measures for inside in insides)]
    for name in diagnostic or []:
        if name not in [*common, *SLICES]:
            raise ConfigError(f"{name} was not measured in all of these runs. {did_you_mean(name, [*common, *SLICES])}")
    chosen = [name for name in common if diagnostic is None or name in diagnostic]
    folder = out or _default_folder(insides)
    folder.mkdir(parents=True, exist_ok=True)
    paths = _draw(insides, labels, chosen, folder)
    paths += [
        path for name in SLICES if name in (diagnostic or []) for path in _draw_slices(insides, labels, name, folder)
    ]
    if as_json:
        for inside, label in zip(insides, labels, strict=True):
            typer.echo(json.dumps(_as_dict(inside, label, chosen), allow_nan=False))
    elif not quiet:
        _print_figures(insides, labels)
        _print_diagnostics(insides, labels, chosen)
        ERR.print(f"The {len(paths)} figures are in {folder}", style="dim", markup=False, soft_wrap=True)


def _read(names: Sequence[str]) -> list[Inside]:
    """Read the runs at or below some folders, each once; those in which nothing was measured are left out.

    Raises:
        ConfigError: Fewer than two are left, or more than can be shown.
    """
    folders = {run.path: run for name in names for run in find_run_folders(find_folder(name))}
    insides, problems = [], []
    for folder in folders.values():
        try:
            insides.append(read_inside(folder))
        except ConfigError as error:
            problems.append(str(error))
    for problem in problems[:3]:
        say_warning(problem)
    if len(insides) < 2:
        raise ConfigError(f"compare needs 2 runs or more with diagnostics, got {len(insides)}. Name more of them.")
    if len(insides) > MOST_RUNS:
        raise ConfigError(
            f"compare shows at most {MOST_RUNS} runs side by side, got {len(insides)}. Name some of them: bnlab list "
            "runs. A sweep's means over seeds: bnlab dashboard"
        )
    return insides


def _default_folder(insides: Sequence[Inside]) -> Path:
    names = " ".join(sorted(inside.run_id for inside in insides))
    return runs_root() / "compared" / hashlib.sha256(names.encode()).hexdigest()[:8]


def _draw(insides: Sequence[Inside], labels: Sequence[str], names: Sequence[str], folder: Path) -> list[Path]:
    from bnlab.report.inside_figures import draw
    from bnlab.report.paper import write_figure

    paths = []
    for name in names:
        figure = draw([inside.measures[name] for inside in insides], labels)
        paths += write_figure(figure, functools.partial(_path, folder, name))
    return paths


def _draw_slices(insides: Sequence[Inside], labels: Sequence[str], name: str, folder: Path) -> list[Path]:
    from bnlab.experiment.slicing import slice_run
    from bnlab.report.paper import write_figure
    from bnlab.report.slice_figures import Slice, draw_lines, draw_maps

    drawn = []
    for inside, label in zip(insides, labels, strict=True):
        found = slice_run(inside.folder.path, is_plane=name == "slices_2d")
        drawn.append(Slice(label, found.steps, found.other_steps, found.train_loss, found.eval_loss))
    figure = draw_maps(drawn) if name == "slices_2d" else draw_lines(drawn)
    return write_figure(figure, functools.partial(_path, folder, name))


def _path(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name}.{kind}"


def _print_figures(insides: Sequence[Inside], labels: Sequence[str]) -> None:
    table = new_table("", *labels, right=labels)
    statuses = [str(inside.figures.get("status", "unfinished")) for inside in insides]
    table.add_row("status", *(f"[{STYLE_OF.get(status, 'magenta')}]{status}[/]" for status in statuses))
    for name in ("test_accuracy", "validation_accuracy"):
        table.add_row(name.replace("_", " "), *(share(inside.figures.get(name)) for inside in insides))
    for name in ("test_loss", "validation_loss", "train_loss"):
        table.add_row(name.replace("_", " "), *(number(inside.figures.get(name)) for inside in insides))
    print_table(table)


def _print_diagnostics(insides: Sequence[Inside], labels: Sequence[str], names: Sequence[str]) -> None:
    """Print the last value of each diagnostic: over layers, from the lowest to the highest."""
    table = new_table("at the end, over layers", *labels, right=labels)
    flagged = [{needle.diagnostic for needle in find_needles(inside)} for inside in insides]
    for name in names:
        cells = []
        for inside, out_of_range in zip(insides, flagged, strict=True):
            text = _range_of(inside, name)
            cells.append(f"[bold yellow]{text}[/]" if name in out_of_range else text)
        table.add_row(name, *cells)
    print_table(table)


def _range_of(inside: Inside, name: str) -> str:
    """Return the lowest and the highest last value of a diagnostic's first facet."""
    measure = inside.measures[name]
    last = np.array([measure.of(role, measure.facets[0])[-1] for role in measure.roles])
    last = last[np.isfinite(last)]
    if not last.size:
        return "-"
    low, high = (written(float(end), measure.card.unit) for end in (last.min(), last.max()))
    return low if low == high else f"{low} .. {high}"


def _as_dict(inside: Inside, label: str, names: Sequence[str]) -> dict[str, Any]:
    """Return one run, for a program; what is not a number is null."""
    last = {}
    for name in names:
        measure = inside.measures[name]
        values = zip(measure.keys, measure.values[:, -1], strict=True)
        last[name] = {key: float(value) if np.isfinite(value) else None for key, value in values}
    return {"run_id": inside.run_id, **inside.figures, "label": label, "diagnostics": last}
