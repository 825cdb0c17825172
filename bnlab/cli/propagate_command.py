"""`bnlab propagate`."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bnlab.cli.command_options import ConfigDir, overrides_argument
from bnlab.cli.consoles import OUT, Waiting, new_table, print_table
from bnlab.cli.own_prints import own_prints_on_stderr

if TYPE_CHECKING:
    from bnlab.experiment.propagating import Propagation

_GROWTHS = ("output", "expected_output", "gradient", "expected_gradient")


def propagate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A network, as after model=.", show_default=False)],
    overrides: Annotated[
        list[str] | None, overrides_argument("Words of the config, in Hydra's grammar: norm=layer model.depth=20")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Show how the size of activations and gradients changes from layer to layer at the initial weights.

    [bold]bnlab propagate mlp norm=none model.depth=20[/]: nothing is trained

    For perceptrons without a norm, or with batch, layer or rms, the known recursion stands beside what is measured.
    """
    with Waiting():
        from bnlab.config.compose import compose_run
        from bnlab.experiment.propagating import propagate as measure

    config = compose_run([f"model={model}", *(overrides or [])], config_dir)
    with own_prints_on_stderr():
        found = measure(config)
    if as_json:
        facts = {"model": model, "norm": config.norm.name, "data": config.data.name, "seed": config.seed}
        layers = [{key: _finite(value) for key, value in asdict(layer).items()} for layer in found.layers]
        growth = {what: _finite(found.growth(what)) for what in _GROWTHS}
        typer.echo(json.dumps({**facts, "source": found.source, "growth": growth, "layers": layers}, allow_nan=False))
        return
    OUT.print(f"\n[bold]{escape(model)}[/]  norm={escape(config.norm.name)}, data={escape(config.data.name)}")
    _print(found)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(found: "Propagation") -> None:
    has_recursion = found.source is not None
    columns = [
        "outputs",
        *(["expected"] if has_recursion else []),
        "gradient",
        *(["expected "] if has_recursion else []),
    ]
    table = new_table("layer", *columns, right=columns)
    for layer in found.layers:
        values = [layer.output, layer.expected_output, layer.gradient, layer.expected_gradient]
        table.add_row(escape(layer.role), *(f"{value:.3g}" for value in values if value is not None))
    factors = [found.growth(what) for what in _GROWTHS]
    if factors[0] is not None:
        table.add_section()
        cells = [f"x {factor:.3g}" for factor in factors if factor is not None]
        table.add_row("per layer", *cells)
    print_table(table)
    OUT.print(
        "Mean squares of each linear map's outputs, and of the gradients of one image's loss by them. Per layer: "
        "outputs forward, gradients backward.",
        style="dim",
    )
    if has_recursion:
        OUT.print(f"Expected: the recursion for wide layers, {found.source}.", style="dim")
    else:
        OUT.print("No recursion is known for this network and norm.", style="dim")
