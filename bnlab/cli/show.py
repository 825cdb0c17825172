"""`bnlab show`: what happened inside the network of one run."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from bnlab.cli.consoles import ERR, OUT, new_table, print_table
from bnlab.errors import ConfigError, did_you_mean
from bnlab.report.inside import Inside, Measure, Needle, find_needles, read_inside, sparkline, whole_run, written
from bnlab.report.statistics_gap import explain_gap
from bnlab.runfolder.index import find_folder

SLICES = ("slices", "slices_2d")
"""What is not recorded, but made of the final weights when asked for."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Draw, and print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object: values, needles out of range, figures.")]


def show(
    run: Annotated[str, typer.Argument(help="A run: its folder, or its name.", show_default=False)],
    diagnostic: Annotated[
        str | None,
        typer.Argument(help="One of those measured; slices or slices_2d: the loss around the final weights."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened inside the network of a run: a panel here, figures (SVG and PNG) in its folder.

    [bold]bnlab show RUN[/]: everything that was measured, and what is out of range, in words

    [bold]bnlab show RUN saturation[/]: one diagnostic, layer by layer, and how to read it

    [bold]bnlab show RUN slices[/]: the loss around the final weights

    Measure more by [bold]bnlab train diagnostics=full[/]; [bold]bnlab list diagnostics[/] says what there is.
    """
    folder = whole_run(find_folder(run))
    if diagnostic in SLICES:
        _show_slices(folder.path, diagnostic, quiet=quiet, as_json=as_json)
        return
    inside = read_inside(folder)
    if diagnostic is not None and diagnostic not in inside.measures:
        cure = did_you_mean(diagnostic, [*inside.measures, *SLICES])
        raise ConfigError(f"{diagnostic} was not measured in {inside.run_id}. {cure}")
    chosen = list(inside.measures.values()) if diagnostic is None else [inside.measures[diagnostic]]
    paths = _draw(inside, chosen)
    if as_json:
        typer.echo(json.dumps(_as_dict(inside, chosen, paths), allow_nan=False))
        return
    if quiet:
        return
    if diagnostic is None:
        print_panel(inside)
    else:
        _print_one(inside, chosen[0])
    _say_where(paths)


def _draw(inside: Inside, chosen: Sequence[Measure]) -> list[Path]:
    from bnlab.report.inside_figures import draw
    from bnlab.report.paper import write_figure

    paths = []
    for measure in chosen:
        figure = draw([measure], [inside.run_id])
        paths += write_figure(figure, functools.partial(inside.folder.figure_path, measure.card.name))
    return paths


def _say_where(paths: Sequence[Path]) -> None:
    where = paths[-1] if len(paths) <= 2 else paths[-1].parent
    ERR.print(
        f"{'The figure is' if len(paths) <= 2 else 'The figures are'} in {where}",
        style="dim",
        markup=False,
        soft_wrap=True,
    )


def print_panel(inside: Inside) -> None:
    """Print one line per diagnostic, the needles that are out of range, and what the statistics say.

    Args:
        inside: What was measured in a run.
    """
    needles = {needle.diagnostic: needle for needle in find_needles(inside)}
    OUT.print(f"\n[bold]{inside.run_id}[/]", soft_wrap=True)
    table = new_table("diagnostic", "where", "over steps", "first", "last", right=["first", "last"])
    for name, measure in inside.measures.items():
        place = measure.keys.index(needles[name].key) if name in needles else _moved_most(measure)
        row, unit = measure.values[place], measure.card.unit
        style = "bold yellow" if name in needles else ""
        table.add_row(
            Text(name, style=style),
            measure.keys[place],
            Text(sparkline(row), style="cyan"),
            written(float(row[0]), unit),
            Text(written(float(row[-1]), unit), style=style),
        )
    print_table(table)
    print_verdicts(inside, list(needles.values()))


def print_verdicts(inside: Inside, needles: Sequence[Needle]) -> None:
    """Print in words what is out of range, and what the norms' statistics say.

    Args:
        inside: What was measured in a run.
        needles: Out of range.
    """
    for needle in needles:
        unit = inside.measures[needle.diagnostic].card.unit
        value = written(needle.value, unit)
        OUT.print(
            Text.assemble((f"{needle.diagnostic} ", "bold yellow"), f"{needle.key}: {value} {needle.words}."),
            soft_wrap=True,
        )
    gap = explain_gap(inside)
    if gap is not None:
        style = "green" if gap.cause == "no gap" else "bold yellow"
        OUT.print(Text.assemble((f"{gap.cause}: ", style), gap.sentence), soft_wrap=True)
    if not needles and (gap is None or gap.cause == "no gap"):
        OUT.print("Every needle that has a range is within it.", style="green")


def _moved_most(measure: Measure) -> int:
    """Return the key whose value has moved most, beside the largest that it had."""
    values = np.where(np.isfinite(measure.values), measure.values, np.nan)
    with np.errstate(all="ignore"):
        size = np.nanmax(np.abs(np.nan_to_num(values)), axis=1)
        moved = np.abs(np.nan_to_num(values[:, -1] - values[:, 0])) / np.where(size > 0, size, 1)
    return int(np.argmax(moved))


def _print_one(inside: Inside, measure: Measure) -> None:
    card = measure.card
    OUT.print(f"\n[bold]{inside.run_id}[/]", soft_wrap=True)
    OUT.print(Text.assemble((card.name, "bold"), f"  {card.summary}"))
    if "Reading" in card.sections:
        OUT.print(Text(card.sections["Reading"].replace("\n", " "), style="dim"))
    table = new_table(
        "layer", "over steps", "first", "lowest", "highest", "last", right=["first", "lowest", "highest", "last"]
    )
    for key, row in zip(measure.keys, measure.values, strict=True):
        finite = row[np.isfinite(row)]
        ends = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
        figures = (row[0], *ends, row[-1])
        table.add_row(
            key, Text(sparkline(row, 24), style="cyan"), *(written(float(value), card.unit) for value in figures)
        )
    print_table(table)
    OUT.print(f"unit: {card.unit}", style="dim", markup=False)
    needles = [needle for needle in find_needles(inside) if needle.diagnostic == card.name]
    for needle in needles:
        OUT.print(f"{needle.key}: {written(needle.value, card.unit)} {needle.words}.", style="bold yellow")


def _show_slices(folder: Path, which: str, *, quiet: bool, as_json: bool) -> None:
    from bnlab.experiment.slicing import slice_run
    from bnlab.report.paper import write_figure
    from bnlab.report.slice_figures import Slice, draw_lines, draw_maps
    from bnlab.runfolder.folder import RunFolder

    is_plane = which == "slices_2d"
    found = slice_run(folder, is_plane=is_plane)
    drawn = [Slice(folder.name, found.steps, found.other_steps, found.train_loss, found.eval_loss)]
    figure = draw_maps(drawn) if is_plane else draw_lines(drawn)
    paths = write_figure(figure, lambda kind: RunFolder(folder).figure_path(which, kind))
    if as_json:
        losses = {"train_loss": found.train_loss.tolist(), "eval_loss": found.eval_loss.tolist()}
        steps = {"steps": found.steps, "other_steps": found.other_steps}
        typer.echo(json.dumps({"run_id": folder.name, **steps, **losses, "figures": [str(p) for p in paths]}))
    elif not quiet:
        middle = found.train_loss[len(found.steps) // 2, len(found.other_steps) // 2]
        OUT.print(
            f"Training loss {middle:.4f} at the weights, up to {found.train_loss.max():.4f} within one length of each "
            "filter (batch statistics).",
            soft_wrap=True,
        )
        _say_where(paths)


def _as_dict(inside: Inside, chosen: Sequence[Measure], paths: Sequence[Path]) -> dict[str, Any]:
    """Return what is shown, for a program; what is not a number is null."""
    gap = explain_gap(inside)
    return {
        "run_id": inside.run_id,
        "diagnostics": {
            m.card.name: {
                "unit": m.card.unit,
                "steps": m.steps,
                "values": {
                    key: [float(v) if np.isfinite(v) else None for v in row]
                    for key, row in zip(m.keys, m.values, strict=True)
                },
            }
            for m in chosen
        },
        "out_of_range": [
            {
                "diagnostic": n.diagnostic,
                "key": n.key,
                "value": n.value if np.isfinite(n.value) else None,
                "words": n.words,
            }
            for n in find_needles(inside)
            if n.diagnostic in {m.card.name for m in chosen}
        ],
        "statistics_gap": None if gap is None else {"cause": gap.cause, "sentence": gap.sentence},
        "figures": [str(path) for path in paths],
    }
