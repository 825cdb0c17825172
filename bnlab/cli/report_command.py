"""`bnlab report`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bnlab.cli.command_options import Quiet, Runs, output_option
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, Waiting


def report(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="runs/studies, the result of one study, or a sweep by name or folder.",
            autocompletion=complete_run,
        ),
    ],
    arms: Annotated[
        str | None,
        typer.Option(
            "--arms", metavar="FIRST,SECOND", help="Of a sweep, the two arms that the verdict is on, where it has more."
        ),
    ] = None,
    lang: Annotated[Literal["en", "zh"], typer.Option("--lang", help="English or Chinese.")] = "en",
    as_csv: Annotated[bool, typer.Option("--csv", help="Write the numbers as CSV too.")] = False,
    output: Annotated[
        Path | None, output_option("PLACE", "A folder, or a file that ends in .html (beside PATH).")
    ] = None,
    quiet: Quiet = False,
    runs: Runs = None,
) -> None:
    """Write a page that can be shown: one file of HTML that needs no network, and the same as Markdown.

    [bold]bnlab report runs/studies[/]: the claims table over the article's statements, then each study

    [bold]bnlab report runs/studies --lang zh --csv[/]: in Chinese, and all numbers as CSV

    [bold]bnlab report my_sweep --output pages[/]: any sweep: its arms, curves, and a verdict on two of them

    [bold]bnlab report my_sweep --arms batch,none[/]: a verdict on these two

    The page of one study's result has its name: runs/studies/NAME-quick.html. A page that is there in the other
    language is kept: as report.en.html, say.
    """
    chosen = [] if arms is None else [word.strip() for word in arms.split(",")]
    with Waiting("Drawing", quiet):
        from bnlab.pages.report_files import make_report, write_report

        written = write_report(make_report(path, runs, lang, chosen), output, as_csv)
    if quiet:
        return
    for each in written.paths:
        OUT.print(str(each), soft_wrap=True, markup=False)
    for each in written.kept:
        ERR.print(
            f"kept, in {'Chinese' if lang == 'en' else 'English'}: {each}", style="dim", soft_wrap=True, markup=False
        )
