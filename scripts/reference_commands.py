"""What each command takes, read from typer's own objects, for docs/commands.md.

python scripts/write_reference.py    # writes the page; this module has no other use
"""

import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from rich.text import Text

_EXAMPLE = re.compile(r"\[bold\](?P<line>bnlab (?:(?!\[/\]).)*)\[/\](?:: *(?P<what>.*))?")
"""A paragraph of a help text that shows a command and says what it does."""

BUILT_IN = {"install_completion", "show_completion", "help"}
"""Options that typer adds by itself; their texts are typer's, and differ from version to version."""


def facts_of(command: Any, name: str = "bnlab") -> list[dict[str, Any]]:
    """Return what a command and all commands below it take, each as plain values.

    Args:
        command: A command as typer builds it; that of the root is `bnlab` itself, with the options before any command.
        name: The words that call it.

    Returns:
        Rows with ``command`` (the words), ``what`` (one sentence), ``arguments`` and ``options`` (see `_argument` and
        `_option`), ``examples`` (``line`` and ``what``) and ``about`` (further sentences, commands in backticks).
        Groups without anything of their own, such as ``list``, have no row.
    """
    return list(_rows(command, name))


def _rows(command: Any, name: str) -> Iterator[dict[str, Any]]:
    below = getattr(command, "commands", {})
    shown = [one for one in command.params if one.name not in BUILT_IN and not getattr(one, "hidden", False)]
    if shown or not below:
        what, *paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
        examples = [found for part in paragraphs if (found := _EXAMPLE.fullmatch(part))]
        yield {
            "command": name,
            "what": plain(what),
            "arguments": [_argument(one) for one in shown if one.param_type_name == "argument"],
            "options": [_option(one, command) for one in shown if one.param_type_name == "option"],
            "examples": [{"line": plain(one["line"]), "what": plain(one["what"] or "")} for one in examples],
            "about": "\n\n".join(plain(part) for part in paragraphs if not _EXAMPLE.fullmatch(part)),
        }
    for word, one in below.items():
        yield from _rows(one, f"{name} {word}")


def plain(text: str) -> str:
    """Return a help text without rich's markup; what is bold there stands in backticks.

    Args:
        text: The text as the source has it.

    Example:
        >>> plain("[bold]bnlab train[/] is [dim]one[/] run")
        '`bnlab train` is one run'
    """
    return Text.from_markup(re.sub(r"\[bold\](.*?)\[/\]", r"`\1`", text), emoji=False).plain


def _argument(one: Any) -> dict[str, Any]:
    """Return an argument: its name, whether it must be given, whether there may be several, and what it is."""
    return {
        "name": (one.metavar or one.name.upper()).removesuffix("..."),
        "required": bool(one.required),
        "several": one.nargs == -1,
        "what": plain(one.help or ""),
    }


def _option(one: Any, command: Any) -> dict[str, Any]:
    """Return an option: its names, the value that it takes (None: none), its choices, its default, and what it does."""
    is_flag = bool(one.is_flag)
    return {
        "names": [*one.opts],
        "value": None if is_flag else one.metavar or one.name.upper(),
        "choices": _choices(one, command),
        "default": None if is_flag or callable(one.default) else one.default,
        "what": plain(one.help or ""),
    }


def _choices(one: Any, command: Any) -> list[str]:
    """Return the words that an option takes; empty: any word."""
    parameter = inspect.signature(command.callback).parameters.get(one.name)
    kinds = [parameter.annotation] if parameter else []
    found: list[str] = []
    while kinds:  # Annotated[Literal["a", "b"] | None, ...]
        kind = kinds.pop()
        if typing.get_origin(kind) is typing.Literal:
            found += typing.get_args(kind)
        else:
            kinds += [inner for inner in typing.get_args(kind) if typing.get_args(inner)]
    return found
