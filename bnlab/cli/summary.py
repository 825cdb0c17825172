"""What is printed when runs are done."""

from pathlib import Path

from bnlab.cli.consoles import OUT, new_table, print_table
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder

STYLE_OF = {
    "finished": "green",
    "diverged": "bold yellow",
    "failed": "bold red",
    "interrupted": "magenta",
    "running": "cyan",
}


def print_summary(summary: RunSummary) -> None:
    """Print one run: its figures, what happened inside the network, and where it all lies."""
    style = STYLE_OF[summary.status]
    ending = f" at step {summary.diverged_at_step}" if summary.diverged_at_step else ""
    when = " (it was there already; --again trains it anew)" if summary.cached else ""
    OUT.print(f"\n[bold]{summary.run_id}[/]  [{style}]{summary.status}{ending}[/][dim]{when}[/]", soft_wrap=True)
    figures = new_table("", "accuracy", "loss", right=["accuracy", "loss"])
    figures.add_row("[bold]test[/]", f"[bold]{share(summary.test_accuracy)}[/]", number(summary.test_loss))
    figures.add_row("validation", share(summary.validation_accuracy), number(summary.validation_loss))
    figures.add_row("training (last mini-batches)", "", number(summary.train_loss))
    print_table(figures)
    _print_layers(RunFolder(Path(summary.folder)))
    OUT.print(f"{summary.steps:,} steps in {number(summary.duration_s, 1)} s", highlight=False)
    OUT.print(summary.folder, style="dim", soft_wrap=True, markup=False)


def _print_layers(folder: RunFolder) -> None:
    """Print what the diagnostics said at the start and at the end, layer by layer."""
    first: dict[str, dict[str, float | None]] = {}
    last: dict[str, dict[str, float | None]] = {}
    for record in folder.read_records():
        if record["kind"] == "diagnostic":
            first.setdefault(record["name"], record["values"])
            last[record["name"]] = record["values"]
    if not last:
        return
    layers = list(dict.fromkeys(layer for values in last.values() for layer in values))
    headings = [f"{name.replace('_', ' ')}" for name in last]
    table = new_table("layer", *headings, right=headings)
    for layer in layers:
        cells = [_from_to(name, first[name].get(layer), last[name].get(layer)) for name in last]
        table.add_row(layer, *cells)
    print_table(table)


def _from_to(name: str, start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    write = share if name in {"saturation", "dead_fraction"} else number
    return f"{write(start)} -> {write(end)}"


def share(value: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if value is None else f"{value:.1%}"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number; very small and very large ones by their power of ten."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"
