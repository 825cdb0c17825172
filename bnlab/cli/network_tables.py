"""Tables of networks: their layers, and their sizes side by side."""

import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from bnlab.cli.consoles import OUT, counted, new_table, print_rows, print_table, say_warning
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.config.folders import known_options, search_folders
from bnlab.errors import BnlabError

if TYPE_CHECKING:
    from bnlab.experiment.network_shape import NetworkShape


_OF_A_STEP = re.compile(r"\.step\d+$")
"""The end of the role of a norm that serves one time step."""


def is_model(name: str, config_dir: Path | None = None) -> bool:
    """Return whether a word can follow ``model=``.

    Args:
        name: The word.
        config_dir: A folder of own options.
    """
    from bnlab.config.composition import is_own

    folders = search_folders(config_dir)
    return name in known_options(folders)["model"] or is_own("model", name, folders)


def print_layers_of(model: str, words: list[str], data_set: str | None, as_json: bool) -> None:
    """Print the layers of a network; the norms of all time steps of one place are one row.

    Args:
        model: A value of ``model=``.
        words: Further words of the config, such as ``norm=layer``.
        data_set: The data set that it is built for; None: the default one.
        as_json: Whether to print one JSON object.
    """
    shape, data, norm = _shape_of([f"model={model}", *words, *([f"data={data_set}"] if data_set else [])], None)
    if as_json:
        typer.echo(json.dumps({"model": model, "data": data, "norm": norm, **asdict(shape)}))
        return
    OUT.print(f"\n[bold]{escape(model)}[/]  with norm={escape(norm)}, for data={escape(data)}")
    table = new_table("layer", "kind", "output", "parameters", "FLOP", right=["parameters", "FLOP"])
    steps = Counter(_OF_A_STEP.sub("", layer.role) for layer in shape.layers if _OF_A_STEP.search(layer.role))
    for layer in shape.layers:
        step, last = _OF_A_STEP.search(layer.role), steps[_OF_A_STEP.sub("", layer.role)]
        if step and step[0] != ".step1":
            continue
        role = f"{layer.role} to step{last}" if step else layer.role
        sizes = [str(layer.num_parameters or ""), short(layer.flop) if layer.flop else ""]
        table.add_row(escape(role), layer.kind, " x ".join(map(str, layer.output)), *sizes)
    table.add_section()
    table.add_row("[bold]all[/]", counted(shape.num_norms, "norm"), "", str(shape.num_parameters), short(shape.flop))
    print_table(table)
    OUT.print("FLOP: of matrix products for one image, forward.", style="dim")


def print_shapes(config_dir: Path | None, data: str | None, as_json: bool, as_csv: bool) -> None:
    """Print parameters, floating-point operations and number of norms of each network.

    Args:
        config_dir: A folder of own options.
        data: The data set that they are built for; None: the default one.
        as_json: Whether to print a JSON list.
        as_csv: Whether to print CSV.
    """
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for name in known_options(search_folders(config_dir))["model"]:
        try:
            shape, used, _ = _shape_of([f"model={name}", *([f"data={data}"] if data else [])], config_dir)
        except BnlabError as error:
            say_warning(str(error))
            continue
        names.append(used)
        rows.append(
            {
                "name": name,
                "data": used,
                "parameters": shape.num_parameters,
                "flop": shape.flop,
                "norms": shape.num_norms,
                "linear_maps": sum(layer.flop > 0 for layer in shape.layers),
            }
        )
    if print_rows(rows, as_json, as_csv, ["name", "data", "parameters", "flop", "norms", "linear_maps"]):
        return
    numbers = ["parameters", "FLOP", "norms", "linear maps"]
    table = new_table("model", *numbers, right=numbers)
    for row in rows:
        sizes = [short(row["parameters"]), short(row["flop"]), str(row["norms"]), str(row["linear_maps"])]
        table.add_row(f"[bold]{escape(row['name'])}[/]", *sizes)
    print_table(table)
    if names:
        OUT.print(f"For data={names[0]}; FLOP: of matrix products for one image, forward.", style="dim")


def short(count: float) -> str:
    """Return a count with three digits and a unit.

    Example:
        >>> short(271_117), short(81_600_000), short(12)
        ('271 k', '81.6 M', '12')
    """
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:#.3g}".rstrip(".") + unit
    return str(int(count))


def _shape_of(words: list[str], config_dir: Path | None) -> "tuple[NetworkShape, str, str]":
    """Return a network's shape, and the names of the data set and of the norm."""
    from bnlab.config.compose import compose_run
    from bnlab.experiment.network_shape import build_and_measure

    config = compose_run(words, config_dir)
    with own_prints_on_stderr():
        return build_and_measure(config), config.data.name, config.norm.name
