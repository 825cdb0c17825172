"""Prints the results of a run."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.text import Text

from bnlab.cli.consoles import OUT, counted, new_table, print_table
from bnlab.errors import ConfigError, RunError
from bnlab.records import RunSummary
from bnlab.report.wording import BOUNDED
from bnlab.runfolder.finding import find_folder
from bnlab.runfolder.folder import RunFolder

USUAL = ("saturation", "dead_fraction", "gradient_norm")
"""The diagnostics, of more than forty, in the table after a run."""

MOST_VERDICTS = 5
"""Verdicts printed after a run; `bnlab show` prints all."""

MOST_LAYERS = 16
"""Layers in the table after a run, the first and the last ones; `bnlab show` has all of them."""

STYLE_OF = {
    "finished": "green",
    "diverged": "bold yellow",
    "failed": "bold red",
    "interrupted": "magenta",
    "running": "cyan",
}


def print_summary(summary: RunSummary) -> None:
    """Print one run: its figures, diagnostics of its layers, and its folder."""
    style = STYLE_OF[summary.status]
    ending = f" at step {summary.diverged_at_step}" if summary.diverged_at_step else ""
    when = " (the result was there already; --again trains the run again)" if summary.cached else ""
    OUT.print(
        f"\n[bold]{escape(summary.run_id)}[/]  [{style}]{summary.status}{ending}[/][dim]{when}[/]", soft_wrap=True
    )
    figures = new_table("", "accuracy", "loss", right=["accuracy", "loss"])
    figures.add_row("[bold]test[/]", f"[bold]{share(summary.test_accuracy)}[/]", number(summary.test_loss))
    figures.add_row("validation", share(summary.validation_accuracy), number(summary.validation_loss))
    figures.add_row("training (last mini-batches)", "", number(summary.train_loss))
    print_table(figures)
    _print_layers(RunFolder(Path(summary.folder)))
    OUT.print(f"{summary.steps:,} steps in {number(summary.duration_s, 1)} s", highlight=False)
    OUT.print(summary.folder, style="dim", soft_wrap=True, markup=False)


def _print_layers(folder: RunFolder) -> None:
    """Print a few diagnostics at the start and at the end, layer by layer, and the values out of range."""
    first: dict[str, dict[str, float | None]] = {}
    last: dict[str, dict[str, float | None]] = {}
    for record in folder.read_records():
        if record["kind"] == "diagnostic" and record["values"]:
            first.setdefault(record["name"], record["values"])
            last[record["name"]] = record["values"]
    if not last:
        return
    shown = _few_of(last, _activation(folder))
    layers = in_one_order([list(last[name]) for name in shown])
    headings = [f"{name.replace('_', ' ')}" for name in shown]
    table = new_table("layer", *headings, right=headings)
    few = layers if len(layers) <= MOST_LAYERS else [*layers[: MOST_LAYERS // 2], *layers[-(MOST_LAYERS // 2) :]]
    for number, layer in enumerate(few):
        if number == MOST_LAYERS // 2 and len(few) < len(layers):
            table.add_row(Text(f"... {len(layers) - len(few)} more ...", "dim"), *[""] * len(shown))
        cells = [_from_to(name, first[name].get(layer), last[name].get(layer)) for name in shown]
        table.add_row(Text(layer), *cells)
    if layers:
        print_table(table)
    _print_verdicts(folder)
    more = (
        f"{counted(len(last) - len(shown), 'other diagnostic')}, and figures" if len(last) > len(shown) else "Figures"
    )
    OUT.print(f"{more}: bnlab show {_name_to_type(folder.path)}", style="dim", soft_wrap=True, markup=False)


def in_one_order(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the layers of several diagnostics, which leave out different ones, in the order of the network.

    A layer that the lists before do not have comes right behind its neighbor there; the output comes last.

    Args:
        lists: Roles of layers, each in the order of the network.

    Example:
        >>> in_one_order([["conv1", "sum"], ["conv1", "conv2", "output"]])
        ['conv1', 'conv2', 'sum', 'output']
    """
    layers: list[str] = []
    for roles in lists:
        place = 0
        for role in roles:
            if role not in layers:
                layers.insert(place, role)
            place = layers.index(role) + 1
    return sorted(layers, key=lambda role: role == "output")


def _name_to_type(folder: Path) -> str:
    """Return the word that stands for a run in a command: its name, or its folder if no run or another has the name."""
    try:
        is_found = find_folder(folder.name) == folder.absolute()
    except ConfigError:
        is_found = False
    return folder.name if is_found else shlex.quote(str(folder))


def _activation(folder: RunFolder) -> str:
    """Return the name of the network's activation; empty where the manifest does not say it."""
    try:
        model = (folder.read_manifest().get("config") or {}).get("model") or {}
    except (RunError, OSError):
        return ""
    return str(model.get("activation") or "")


def _few_of(last: Mapping[str, Mapping[str, float | None]], activation: str) -> list[str]:
    """Return the diagnostics for the table after a run: the usual ones, or the first with one value per layer."""
    usual = [name for name in USUAL if name in last and (name != "saturation" or activation in BOUNDED)]
    plain = [name for name, values in last.items() if not any("/" in key or key == "network" for key in values)]
    return usual or plain[: len(USUAL)]


def _print_verdicts(folder: RunFolder) -> None:
    from bnlab.report.network.out_of_range import find_out_of_range
    from bnlab.report.network.read import read_measured_run

    verdicts = find_out_of_range(read_measured_run(folder))
    for verdict in verdicts[:MOST_VERDICTS]:
        OUT.print(Text.assemble((f"! {verdict.name}: ", "bold yellow"), f"{verdict.sentence}."))
    if verdicts[MOST_VERDICTS:]:
        OUT.print(f"... and {len(verdicts) - MOST_VERDICTS} more out of range", style="dim")


def _from_to(name: str, start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    write = share if name in {"saturation", "dead_fraction"} else number
    return f"{write(start)} -> {write(end)}"


def share(value: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if value is None else f"{value:.1%}"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as text; very small and very large ones with a power of ten."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"
