"""What each command takes, as `bnlab list commands` reads it, for docs/commands.md.

python scripts/write_reference.py    # writes the page; this module has no other use
"""

import re
from collections.abc import Mapping
from typing import Any

import typer
from rich.text import Text

from bnlab.cli.list_commands import read_commands, read_parameters

_EXAMPLE = re.compile(r"\[bold\](?P<line>bnlab (?:(?!\[/\]).)*)\[/\](?:: *(?P<what>.*))?")
"""A paragraph of a help text that shows a command and says what it does."""


def facts_of(app: typer.Typer) -> list[dict[str, Any]]:
    """Return what `bnlab` itself and all its commands take, each as plain values.

    Args:
        app: The whole app.

    Returns:
        Rows with ``command`` (the words), ``what`` (one sentence), ``arguments`` and ``options`` (see `_argument` and
        `_option`), ``examples`` (``line`` and ``what``) and ``about`` (further sentences, commands in backticks). The
        first one is `bnlab` itself, with the options before any command.
    """
    assert app.registered_callback is not None
    root = {"name": "", "help": app.info.help, **read_parameters(app.registered_callback.callback)}
    return list(map(_row, [root, *read_commands(app)]))


def _row(command: Mapping[str, Any]) -> dict[str, Any]:
    what, *paragraphs = [" ".join(part.split()) for part in command["help"].split("\n\n")]
    examples = [found for part in paragraphs if (found := _EXAMPLE.fullmatch(part))]
    return {
        "command": f"bnlab {command['name']}".strip(),
        "what": plain(what),
        "arguments": [_argument(one) for one in command["arguments"]],
        "options": [_option(one) for one in command["options"]],
        "examples": [{"line": plain(one["line"]), "what": plain(one["what"] or "")} for one in examples],
        "about": "\n\n".join(plain(part) for part in paragraphs if not _EXAMPLE.fullmatch(part)),
    }


def plain(text: str) -> str:
    """Return a help text without rich's markup; what is bold there stands in backticks.

    Args:
        text: The text as the source has it.

    Example:
        >>> plain("[bold]bnlab train[/] is [dim]one[/] run")
        '`bnlab train` is one run'
    """
    return Text.from_markup(re.sub(r"\[bold\](.*?)\[/\]", r"`\1`", text), emoji=False).plain


def _argument(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an argument: its name, whether it must be given, whether there may be several, and what it is."""
    (name,) = one["names"]
    return {
        "name": (one["metavar"] or name.upper()).removesuffix("..."),
        "required": one["required"],
        "several": one["multiple"],
        "what": plain(one["help"] or ""),
    }


def _option(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an option: its names, the value that it takes (None: none), its choices, its default, and what it does."""
    is_flag = one["type"] == "flag"
    return {
        "names": one["names"],
        "value": None if is_flag else one["metavar"] or one["names"][0].removeprefix("--").replace("-", "_").upper(),
        "choices": one["choices"] or [],
        "default": None if is_flag else one["default"],
        "what": plain(one["help"] or ""),
    }
