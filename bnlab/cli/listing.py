"""`bnlab list`: what there is to choose from, and what came out."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from bnlab.cli.consoles import OUT, new_table, print_rows, print_table, say_warning
from bnlab.cli.listing_runs import AsCsv, AsJson, runs
from bnlab.config.folders import conf_folder, config_groups, read_option, search_folders
from bnlab.diagnostics.cards import Card, read_card, read_cards
from bnlab.plugins import NORM_PLUGINS

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List what there is: [bold]norms[/], [bold]models[/], [bold]data[/], [bold]diagnostics[/], [bold]runs[/].",
)

ConfigDir = Annotated[Path | None, typer.Option("--config-dir", metavar="DIR", help="Own options, beside bnlab's.")]

app.command()(runs)


@app.command()
def norms(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the normalizations: [bold]bnlab train norm=layer[/] takes one, with options [bold]norm.eps=1e-3[/]."""
    _print_group("norm", config_dir, as_json, as_csv)


@app.command()
def models(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the networks: [bold]bnlab train model=cnn model.width=16[/]."""
    _print_group("model", config_dir, as_json, as_csv)


@app.command()
def data(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the data sets: [bold]bnlab train data=digits[/] needs no network, data=cifar10 downloads once."""
    from bnlab.data.sources import where_found

    rows = _rows_of_group("data", config_dir)
    for row in rows:
        row["found"] = where_found(str(row["name"]))
        del row["options"]
    if print_rows(rows, as_json, as_csv):
        return
    table = new_table("data", "what it is", "where")
    for row in rows:
        table.add_row(
            f"[bold]{row['name']}[/]",
            row["description"],
            row["found"] or f"[dim]{'your own file' if row['name'] == 'npz' else 'on first use'}[/]",
        )
    print_table(table)


@app.command()
def diagnostics(
    names: Annotated[list[str] | None, typer.Argument(help="These, each on a card of its own.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the instruments: what they measure, what they cost, how to read them, what fools the reader.

    [bold]bnlab list diagnostics saturation[/]: its card

    [bold]bnlab list diagnostics my_package.my_module:Mine[/]: that of your own
    """
    cards = read_cards() if not names else [read_card(name) for name in names]
    rows = [_row_of_card(card) for card in cards]
    if print_rows(rows, as_json, as_csv):
        return
    if names:
        for card in cards:
            _print_card(card)
        return
    table = new_table("diagnostic", "what it measures", "unit", "cost", "needs")
    for card in cards:
        needs = " ".join(card.needs) + ("" if card.vectorizable else " one by one")
        table.add_row(f"[bold]{card.name}[/]", card.summary, f"[dim]{card.unit}[/]", card.cost, f"[dim]{needs}[/]")
    print_table(table)
    OUT.print("[dim]bnlab list diagnostics NAME says how to read one, and what fools the reader.[/]")


def _row_of_card(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": card.summary,
        "unit": card.unit,
        "cost": card.cost,
        "needs": " ".join(card.needs),
        "vectorized": card.vectorizable,
        "reading": card.sections.get("Reading", "").replace("\n", " "),
        "blind_spots": card.sections.get("Blind spots", "").replace("\n", " "),
        "source": card.sections.get("Source", "").replace("\n", " "),
        "place": card.place,
    }


def _print_card(card: Card) -> None:
    OUT.print(f"\n[bold]{card.name}[/]  [dim]{card.place}[/]")
    OUT.print(card.summary, markup=False)
    facts = {"Cost class": card.cost, "Needs": ", ".join(card.needs) or "nothing else"}
    facts["Runs trained together"] = "measured at once" if card.vectorizable else "measured one by one"
    table = new_table("", "")
    table.show_header = False
    for title, text in {**card.sections, **facts}.items():
        table.add_row(f"[bold]{title}[/]", Text(text.replace("\n", " ")))
    OUT.print(table)


def _rows_of_group(group: str, config_dir: Path | None) -> list[dict[str, Any]]:
    folders = search_folders(config_dir)
    rows = []
    for option in config_groups(folders)[group]:
        description, keys = read_option(folders, group, option)
        options = {key: value for key, value in keys.items() if key != "name"}
        rows.append({"name": option, "description": description, "options": options})
    return rows


def _rows_of_installed_norms(config_dir: Path | None) -> list[dict[str, Any]]:
    """Return the norms that installed packages add, and warn of those that cannot be reached by their names.

    What they are is in their docstrings: to read these, the packages would have to be imported, and torch with them.
    """
    for complaint in NORM_PLUGINS.complaints(config_groups([conf_folder()])["norm"]):
        say_warning(complaint)
    names = NORM_PLUGINS.usable_names(config_groups(search_folders(config_dir))["norm"])
    return [
        {"name": norm.name, "description": f"{norm.place} of {norm.distribution}.", "options": {}}
        for norm in NORM_PLUGINS.installed()
        if norm.name in names
    ]


def _print_group(group: str, config_dir: Path | None, as_json: bool, as_csv: bool) -> None:
    rows = _rows_of_group(group, config_dir)
    if group == "norm":
        rows += _rows_of_installed_norms(config_dir)
    if as_csv:
        rows = [{**row, "options": _written(group, row["options"])} for row in rows]
    if print_rows(rows, as_json, as_csv):
        return
    table = new_table(group, "what it is", "options and their defaults")
    for row in rows:
        table.add_row(f"[bold]{row['name']}[/]", row["description"], f"[dim]{_written(group, row['options'])}[/]")
    print_table(table)


def _written(group: str, options: dict[str, Any]) -> str:
    """Return options as one would type them."""
    words = {None: "null", True: "true", False: "false"}
    return " ".join(
        f"{group}.{key}={words[value] if value is None or isinstance(value, bool) else value}"
        for key, value in options.items()
    )
