"""`bnlab list commands`: every command with its arguments, options and exit codes, for people and for programs.

Read from the signatures of the commands, as typer itself reads them; nothing of it is written twice.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.models import ArgumentInfo, OptionInfo

from bnlab.cli.consoles import new_table, print_table

EXIT_CODES = {0: "done", 1: "a run failed", 2: "wrong input", 130: "interrupted by Ctrl-C"}
"""What the exit code of any command says, where `OWN_EXIT_CODES` does not say more."""

CUT_OFF = {143: "interrupted by SIGTERM; the same command goes on from a checkpoint"}
"""Of commands that train."""

OWN_EXIT_CODES: Mapping[str, Mapping[int, str]] = {
    "train": {1: "the run failed or diverged; with -m: a run failed", **CUT_OFF},
    "demo": CUT_OFF,
    "race": {1: "a run failed; a run that diverged is a result", **CUT_OFF},
    "sweep": {1: "a run failed; a run that diverged is a result", **CUT_OFF},
    "lr-sensitivity": {1: "a run failed; a run that diverged is a result", **CUT_OFF},
    "study": {1: "a run failed", **CUT_OFF},
    "check": {1: "a law does not hold"},
    "rerun": {1: "the figures differ from those that were recorded"},
    "doctor": {1: "something needs to be mended"},
}
"""What differs from `EXIT_CODES`, by command."""

_NAMES = {Path: "path", str: "text", int: "integer", float: "number", bool: "flag"}


def commands_of(app: typer.Typer) -> Callable[[bool], None]:
    """Return the command that lists all commands of an app.

    Args:
        app: The whole app; what is registered in it later is listed too.
    """

    def commands(
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for a program.")] = False,
    ) -> None:
        """List all commands: [bold]bnlab list commands --json[/] tells a program their arguments, options, exit codes.

        [bold]bnlab list commands[/]: a line per command
        """
        _print([_plain(each) for each in read_commands(app)], as_json=as_json)

    return commands


def _print(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        common = {"global_options": ["--help", "--version", "--debug"], "exit_codes": _codes("")}
        streams = {"stdout": "results", "stderr": "progress, warnings and errors"}
        typer.echo(json.dumps({"program": "bnlab", **common, "streams": streams, "commands": list(found)}, indent=1))
        return
    table = new_table("command", "what it does")
    for each in found:
        table.add_row(Text(f"bnlab {each['name']}", "bold"), Text(each["summary"]))
    print_table(table)


def _plain(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command whose texts have no markup, with its first sentence and its exit codes."""
    text = Text.from_markup(command["help"]).plain
    parts = {kind: [_plain_part(one) for one in command[kind]] for kind in ("arguments", "options")}
    summary = " ".join(text.partition("\n\n")[0].split())
    return {"name": command["name"], "summary": summary, "help": text, **parts, "exit_codes": _codes(command["name"])}


def _plain_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {**part, "help": None if part["help"] is None else Text.from_markup(part["help"]).plain}


def read_commands(app: typer.Typer, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Yield each command of an app, and of its groups: its name, its help with rich's markup, arguments and options.

    Args:
        app: The app, or a group of it.
        prefix: The words before the name of a command, with a space behind them.
    """
    for info in app.registered_commands:
        assert info.callback is not None
        name = f"{prefix}{info.name or info.callback.__name__.replace('_', '-')}"
        yield {"name": name, "help": inspect.getdoc(info.callback) or "", **read_parameters(info.callback)}
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from read_commands(group.typer_instance, f"{prefix}{group.name} ")


def read_parameters(callback: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the arguments and the options that are given to the function of a command, as plain values."""
    found = list(_parameters(callback))
    arguments = [each for each in found if not each["names"][0].startswith("-")]
    return {"arguments": arguments, "options": [each for each in found if each not in arguments]}


def _parameters(callback: Any) -> Iterator[dict[str, Any]]:
    signature = inspect.signature(callback)
    for name, hint in typing.get_type_hints(callback, include_extras=True).items():
        if name == "return":
            continue
        kind, *notes = typing.get_args(hint)
        (info,) = [each for each in notes if isinstance(each, ArgumentInfo | OptionInfo)]
        if info.hidden:
            continue
        default = signature.parameters[name].default
        is_required = default is inspect.Parameter.empty
        facts = _facts(kind)
        yield {
            "names": _names_of(name, info),
            "metavar": info.metavar,
            "help": info.help,
            **facts,
            "required": is_required,
            "default": None if is_required else default,
            "least": info.min,
            "most": info.max,
        }


def _names_of(name: str, info: ArgumentInfo | OptionInfo) -> list[str]:
    """Return the words that name a parameter; of an option within Annotated, typer keeps the first as its default."""
    if isinstance(info, ArgumentInfo):
        return [name]
    first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
    return [*first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]


def _facts(kind: Any) -> dict[str, Any]:
    """Return a parameter's type: its name, its choices, and whether it can be given several times."""
    parts = typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else (kind,)
    (plain,) = [part for part in parts if part is not type(None)]
    is_many = typing.get_origin(plain) is list
    if is_many:
        (plain,) = typing.get_args(plain)
    choices = list(typing.get_args(plain)) if typing.get_origin(plain) is typing.Literal else None
    return {"type": "text" if choices else _NAMES.get(plain, "text"), "choices": choices, "multiple": is_many}


def _codes(name: str) -> dict[str, str]:
    """Return what each exit code of a command says."""
    own = OWN_EXIT_CODES.get(name, {})
    return {str(code): text for code, text in sorted((EXIT_CODES | own).items())}  # type: ignore[operator]
