"""`bnlab list`: the options of each config group, and the runs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from bnlab.cli.command_options import ConfigDir
from bnlab.cli.consoles import is_narrow, new_table, print_rows, print_table, say_warning
from bnlab.cli.list_diagnostics import diagnostics
from bnlab.cli.list_runs import AsCsv, AsJson, runs
from bnlab.cli.list_sweeps import as_word, schedules, sweeps
from bnlab.config.folders import conf_folder, config_groups, read_option, search_folders
from bnlab.errors import ConfigError
from bnlab.plugins import MODEL_PLUGINS, NORM_PLUGINS
from bnlab.runfolder.index import flatten

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List what there is: [bold]norms[/], [bold]models[/], [bold]data[/], [bold]optimizers[/], "
    "[bold]schedules[/], [bold]recipes[/], [bold]diagnostics[/], [bold]studies[/], [bold]sweeps[/], [bold]runs[/], "
    "[bold]commands[/].",
)


app.command()(runs)
app.command()(diagnostics)
app.command()(sweeps)
app.command()(schedules)

MOST_OF_NAME = 24
"""Columns for the names of studies."""


_YOURS = {"npz": "your own file", "folder": "your own folder", "own": "your own function"}
"""Data sets that lie where the user says."""


@app.command()
def norms(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the normalizations: [bold]bnlab train norm=layer[/] takes one, with options [bold]norm.eps=1e-3[/]."""
    _print_group("norm", config_dir, as_json, as_csv)


@app.command()
def models(
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config_dir: ConfigDir = None,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Parameters, floating-point operations and norms, for their defaults.")
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="With --shapes: the data set that they are built for.")
    ] = None,
) -> None:
    """List the networks: [bold]bnlab train model=cnn model.width=16[/]; [bold]bnlab show cnn[/] shows the layers."""
    if shapes:
        from bnlab.cli.network_tables import print_shapes

        print_shapes(config_dir, data, as_json, as_csv)
        return
    _print_group("model", config_dir, as_json, as_csv)


@app.command()
def data(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the data sets: [bold]bnlab train data=digits[/] needs no network, data=cifar10 downloads once."""
    from bnlab.data.locations import where_found

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
            row["found"] or f"[dim]{_YOURS.get(str(row['name']), 'on first use')}[/]",
        )
    print_table(table)


@app.command()
def optimizers(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the optimizers: [bold]bnlab train optim=adamw optim.lr=0.001[/]."""
    _print_group("optim", config_dir, as_json, as_csv)


@app.command()
def recipes(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the recipes, each many settings at once; what is typed beside one overrules it."""
    rows = _rows_of_group("recipe", config_dir)
    for row in rows:
        chosen = row["options"].pop("defaults", [])
        words = [f"{key.removeprefix('override /')}={option}" for entry in chosen for key, option in entry.items()]
        values = [f"{key}={as_word(value)}" for key, value in flatten(row.pop("options")).items()]
        row["settings"] = " ".join([*words, *values])
    if print_rows(rows, as_json, as_csv):
        return
    table = new_table("recipe", "what it is", "settings")
    for row in rows:
        table.add_row(f"[bold]{row['name']}[/]", row["description"], f"[dim]{row['settings']}[/]")
    print_table(table)


@app.command()
def studies(as_json: AsJson = False, as_csv: AsCsv = False, config_dir: ConfigDir = None) -> None:
    """List the claims that can be asked about: [bold]bnlab study lr-sensitivity[/] gives a verdict."""
    from bnlab.pages.study_results import shortened, statements_in
    from bnlab.studies.study_search import known_studies, read_study

    rows = []
    for name, path in known_studies(config_dir).items():
        try:
            file = read_study(path).file
        except ConfigError as error:  # a damaged file of the user's: all others are listed
            say_warning(str(error))
            continue
        quick = file.scales.get("quick")
        rows.append(
            {
                "name": name,
                "claim": file.claim.en,
                "claim_zh": file.claim.zh,
                "statements": ", ".join(file.statements),
                "pack": file.pack,
                "minutes": None if quick is None else quick.minutes,
                "scales": " ".join(file.scales),
            }
        )
    if print_rows(rows, as_json, as_csv):
        return
    narrow = is_narrow()
    table = (
        new_table("study", "claim") if narrow else new_table("study", "claim", "about", "minutes", right=["minutes"])
    )
    table.columns[0].max_width = MOST_OF_NAME
    for row in rows:
        minutes = "" if row["minutes"] is None else f"{row['minutes']:g}"
        about = shortened(statements_in(str(row["statements"]))) or str(row["statements"] or row["pack"])
        cells = Text(str(row["name"]), "bold"), Text(str(row["claim"]))
        if narrow:  # a claim has two lines or more there
            facts = ", ".join([about, *([f"{minutes} min"] if minutes else [])])
            table.add_row(Text.assemble(cells[0], (f"\n{facts}", "dim")), cells[1])
        else:
            table.add_row(*cells, about, minutes)
    print_table(table)


def _rows_of_group(group: str, config_dir: Path | None) -> list[dict[str, Any]]:
    folders = search_folders(config_dir)
    rows = []
    for option in config_groups(folders)[group]:
        try:
            description, keys = read_option(folders, group, option)
        except ConfigError as error:  # a damaged file of the user's: all others are listed
            say_warning(str(error))
            continue
        options = {key: value for key, value in keys.items() if key != "name"}
        rows.append({"name": option, "description": description, "options": options})
    return rows


_PLUGINS = {"norm": NORM_PLUGINS, "model": MODEL_PLUGINS}


def _rows_of_installed(group: str, config_dir: Path | None) -> list[dict[str, Any]]:
    """Return what installed packages add to a group, and warn of what cannot be reached by its name.

    Their descriptions are in their docstrings; to read these, the packages and torch would have to be imported.
    """
    plugins = _PLUGINS.get(group)
    if plugins is None:
        return []
    for complaint in plugins.complaints(config_groups([conf_folder()])[group]):
        say_warning(complaint)
    names = plugins.usable_names(config_groups(search_folders(config_dir))[group])
    return [
        {"name": one.name, "description": f"{one.place} of {one.distribution}.", "options": {}}
        for one in plugins.installed()
        if one.name in names
    ]


def _print_group(group: str, config_dir: Path | None, as_json: bool, as_csv: bool) -> None:
    rows = _rows_of_group(group, config_dir)
    rows += _rows_of_installed(group, config_dir)
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
    return " ".join(f"{group}.{key}={as_word(value)}" for key, value in options.items())
