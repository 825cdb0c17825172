"""`bnlab explain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.check_command import complete_norm, read_options
from bnlab.cli.command_options import at_home
from bnlab.cli.consoles import ERR, OUT, Waiting
from bnlab.cli.own_prints import own_prints_on_stderr

if TYPE_CHECKING:
    from bnlab.lessons.explanation import Explanation


def explain(
    norm: Annotated[
        str,
        typer.Argument(
            metavar="NAME | package.module:Class",
            help="A norm of `bnlab list norms`, or any layer, as package.module:Class.",
            autocompletion=complete_norm,
            show_default=False,
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[norm.OPTION=VALUE]...", help="Options of its constructor.", show_default=False),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="N,C,...",
            help="Shape of the input. Default: a small shape that the norm accepts.",
            show_default=False,
        ),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the lesson as a figure too: .svg, .png or .pdf.",
            show_default=False,
            callback=at_home,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
) -> None:
    """Explain a norm with numbers: axes, forward, backward, running statistics, training against eval mode.

    [bold]bnlab explain batch[/]: every number of a small batch

    [bold]bnlab explain group norm.num_groups=2 --shape 4,8,4,4[/]: images, in groups of channels

    [bold]bnlab explain layer --svg layer.svg[/]: a figure for slides
    """
    settings = read_options(options or [])
    with own_prints_on_stderr(), Waiting():
        from bnlab.lessons.explanation import explain as explain_norm
        from bnlab.lessons.explanation import parse_shape

        lesson = explain_norm(norm, None if shape is None else parse_shape(shape), settings)
    if svg is not None:
        from bnlab.lessons.lesson_figure import write_figure

        write_figure(lesson, svg)
        ERR.print(f"The figure is in {svg}", style="dim", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(lesson.as_dict(), allow_nan=False))
    else:
        _print_page(lesson)


def _print_page(lesson: "Explanation") -> None:
    from bnlab.lessons.numerals import legible
    from bnlab.lessons.page import WIDTH, draw_page

    with OUT.capture() as page:
        OUT.print(draw_page(lesson), width=min(OUT.width, WIDTH))
    typer.echo(legible(page.get(), OUT.encoding), nl=False, color=OUT.is_terminal)
