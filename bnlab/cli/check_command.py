"""`bnlab check`."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bnlab.cli.consoles import OUT, ROOMY, Waiting, new_console, new_table
from bnlab.cli.own_prints import own_prints_on_stderr
from bnlab.config.folders import known_options, search_folders
from bnlab.schema import GIVEN_BY_BNLAB

if TYPE_CHECKING:
    from bnlab.conformance.law_results import Law, Report, Verdict

UNEXPLAINED = "no known cause"
"""How the cause of a law begins that nothing explains: it comes after those that tell what to mend."""

STYLE_OF = {"holds": "green", "does not hold": "bold red", "does not apply": "dim"}


def complete_norm(incomplete: str) -> list[str]:
    """Return the names of norms that begin with the word typed so far."""
    return [name for name in known_options(search_folders(None))["norm"] if name.startswith(incomplete)]


def check(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME | package.module:Class]",
            help="A norm of `bnlab list norms`, or any layer, as package.module:Class. Without it: all norms of bnlab.",
            autocompletion=complete_norm,
            show_default=False,
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[norm.OPTION=VALUE]...", help="Options of its constructor.", show_default=False),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="batch|layer|group|instance|rms",
            help="The family whose laws apply (default: the family that the layer declares, else batch).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAW",
            help="Judge this law and those that it relies on; may be given several times.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Test a normalization layer, bnlab's or your own, against the laws of its family; name likely causes of faults.

    [bold]bnlab check batch[/]: a norm of bnlab

    [bold]bnlab check torch.nn:GroupNorm norm.num_groups=2 --like group[/]: a layer of another library

    [bold]bnlab check my_layers:MyBatchNorm[/]: your own, found in the current folder too

    [bold]bnlab check my_layers:MyBatchNorm --only "running update"[/]: one law, in a fraction of the time

    Exit code 0 if every law holds, 1 if one does not, 2 if the input is wrong.
    """
    settings = read_options(options or [])
    from bnlab.norms.names import NORMS

    if name is None and (settings or like):
        raise typer.BadParameter("options and --like need the name of a layer: bnlab check group norm.num_groups=2")
    with own_prints_on_stderr(), Waiting("Checking every law"):
        from bnlab.conformance.laws import LAWS, check_named

        if name is not None:
            reports = [check_named(name, settings, like, only)]
        else:
            reports = [check_named(each, only=only) for each in NORMS]
    laws = [law for law in LAWS if law.name in reports[0].verdicts]
    _print(reports, laws, whole=name is None, as_json=as_json)
    raise typer.Exit(1 if any(report.failures for report in reports) else 0)


def _print(reports: "Sequence[Report]", laws: "Sequence[Law]", *, whole: bool, as_json: bool) -> None:
    """Print the report of one layer, or of the whole catalog."""
    if as_json:
        rows = [report.as_dict() for report in reports]
        whole_row = {"holds": all(row["holds"] for row in rows), "layers": rows}
        typer.echo(json.dumps(whole_row if whole else rows[0]))
        return
    out = OUT if OUT.is_terminal else new_console(file=sys.stdout, width=ROOMY)
    for part in _all(reports, laws, out) if whole else _one(reports[0], laws):
        out.print(part)


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return the options in words such as ``norm.eps=1e-3``, with the types of YAML.

    Raises:
        BadParameter: A word has another form.

    Example:
        >>> read_options(["norm.num_groups=2", "norm.eps=1e-3", "norm.affine=false"])
        {'num_groups': 2, 'eps': 0.001, 'affine': False}
    """
    options: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        prefix, _, option = key.partition(".")
        if not equals or prefix != "norm" or not option:
            raise typer.BadParameter(f"'{word}' is no option of a layer: write norm.<option>=<value>")
        if option in GIVEN_BY_BNLAB:
            raise typer.BadParameter(f"norm.{option} is given by bnlab, and is no option. Leave it out")
        options[option] = _value_of(text)
    return options


def _value_of(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)  # YAML reads 1e-3 as text
    except (ValueError, yaml.YAMLError):
        pass
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _one(report: "Report", laws: "Sequence[Law]") -> list[RenderableType]:
    """Return the printed parts of one layer's report."""
    family = f"tested against the laws of {report.like} normalization" if report.like else "with a formula of its own"
    table = new_table("law", "verdict", "what it says")
    for law in laws:
        verdict = report.verdicts[law.name]
        remark = law.says if verdict.status != "does not apply" else verdict.reason
        style = STYLE_OF[verdict.status]
        table.add_row(law.name, f"[{style}]{verdict.status}[/]", f"[dim]{escape(remark)}[/]")
    facts = Table.grid(padding=(0, 2))
    for fact, text in report.facts.items():
        facts.add_row(f"[dim]{escape(fact)}[/]", escape(text))
    failures = sorted(report.failures.items(), key=lambda one: (one[1].cause or "").startswith(UNEXPLAINED))
    panels = [_panel(name, verdict) for name, verdict in failures]
    title = f"\n[bold]{escape(report.layer)}[/], {family}"
    return [title, table, *panels, facts, _closing([report])]


def _all(reports: "Sequence[Report]", laws: "Sequence[Law]", out: Console) -> list[RenderableType]:
    """Return the printed parts for the whole catalog: a row per norm, with a mark per law, by topic."""
    marks = ("✓", "✗", "·") if out.encoding.lower().startswith("utf") else ("+", "x", ".")
    mark_of = dict(zip(STYLE_OF, marks, strict=True))
    topics = list(dict.fromkeys(law.topic for law in laws))
    table = new_table("norm", *topics)
    for report in reports:
        cells = [
            Text.assemble(
                *(
                    (mark_of[(status := report.verdicts[law.name].status)], STYLE_OF[status])
                    for law in laws
                    if law.topic == topic
                )
            )
            for topic in topics
        ]
        table.add_row(Text(report.layer, style="bold red" if report.failures else "bold"), *cells)
    legend = Table.grid(padding=(0, 2))
    for topic in topics:
        legend.add_row(f"[dim]{topic}[/]", f"[dim]{', '.join(law.name for law in laws if law.topic == topic)}[/]")
    key = "   ".join(f"[{style}]{mark_of[status]}[/] [dim]{status}[/]" for status, style in STYLE_OF.items())
    panels = [
        _panel(f"{report.layer}: {name}", verdict) for report in reports for name, verdict in report.failures.items()
    ]
    return [table, legend, f"\n{key}", *panels, _closing(reports)]


def _panel(title: str, verdict: "Verdict") -> Panel:
    lines: list[RenderableType] = [Text(f"likely cause: {verdict.cause}")]
    if verdict.reason:
        lines.append(Text(verdict.reason))
    example = verdict.example
    if example is not None:
        shape = f" on an input of shape {example.shape}" if example.shape else ""
        lines.append(Text(f"smallest example{shape}: {example.setting}", style="dim"))
        values = {"input": example.given, "came": example.came, "should be": example.expected}
        grid = Table.grid(padding=(0, 2))
        for label, value in values.items():
            if value is not None:
                grid.add_row(Text(label, style="dim"), Text(_written(value)))
        if grid.row_count:
            lines.append(grid)
    return Panel(Group(*lines), title=f"[bold red]{escape(title)}[/]", title_align="left", border_style="red")


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_written(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_written(entry) for entry in value)}]"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _closing(reports: "Sequence[Report]") -> str:
    verdicts = [verdict for report in reports for verdict in report.verdicts.values()]
    count = {status: sum(verdict.status == status for verdict in verdicts) for status in STYLE_OF}
    who = f" of {len(reports)} norms" if len(reports) > 1 else ""
    if not count["does not hold"]:
        return f"\n[green]Every law holds[/]{who}: {count['holds']} judged, {count['does not apply']} do not apply."
    broken = f"{count['does not hold']} of {count['holds'] + count['does not hold']} laws"
    return f"\n[bold red]{broken} {'does' if count['does not hold'] == 1 else 'do'} not hold[/]{who}."
