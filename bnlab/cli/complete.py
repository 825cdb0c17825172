"""Shell completion of overrides (groups, options, keys and their values) and of the names of runs."""

import os
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from bnlab import schema
from bnlab.config.folders import config_keys, known_options, search_folders
from bnlab.runfolder.finding import known_names
from bnlab.schema_models import AnyModelConfig

_SECTIONS: dict[str, list[type[BaseModel]]] = {
    "": [schema.RunConfig],
    "model": list(typing.get_args(AnyModelConfig)),
    "data": [schema.DataConfig],
    "optim": [schema.SGDConfig, schema.AdamConfig, schema.MuonConfig],
    "train": [schema.TrainConfig],
    "schedule": [schema.ScheduleConfig],
    "sweep": [schema.SweepConfig],
}


def complete_override(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the completions of the word under the cursor.

    bash passes ``norm=ba`` as three words, zsh and fish as one.

    Args:
        ctx: The command line before the cursor.
        incomplete: The word before the cursor; empty also if bash passes ``=`` as a word.
    """
    before = [str(word) for word in ctx.params.get("overrides") or []]
    if _word_under_bashs_cursor() == "=":
        before.append("=")
    key, equals, begun = incomplete.partition("=")
    in_pieces = not equals and before[-1:] == ["="] and len(before) > 1
    if in_pieces:
        key, begun = before[-2], incomplete
    given = Path(ctx.params.get("config_dir") or "conf")
    folders = search_folders(given if given.is_dir() else None)
    groups = {name: options for name, options in known_options(folders).items() if name not in {"budget", "tuning"}}
    if not equals and not in_pieces:
        words = [f"{group}=" for group in groups] + [f"{name}=" for name in config_keys(folders)]
        return [word for word in words if word.startswith(incomplete)]
    *chosen, last = begun.split(",")  # -m takes several
    lead = "".join(f"{value}," for value in chosen) if in_pieces else f"{key}={''.join(f'{v},' for v in chosen)}"
    values = groups.get(key) or _values_of(key)
    return [lead + value for value in values if value.startswith(last)]


def complete_run(incomplete: str) -> list[str]:
    """Return the names of sweeps and runs that begin with a word.

    Args:
        incomplete: The word before the cursor, which may be empty.
    """
    return [name for name in known_names() if name.startswith(incomplete)]


def _word_under_bashs_cursor() -> str:
    words = os.environ.get("COMP_WORDS", "").split("\n")
    place = os.environ.get("COMP_CWORD", "")
    return words[int(place)] if place.isdigit() and int(place) < len(words) else ""


def _values_of(key: str) -> list[str]:
    """Return the words that a key accepts, according to its type in the schema."""
    section, _, name = key.rpartition(".")
    values: list[str] = []
    for model in _SECTIONS.get(section, []):
        if name in model.model_fields:
            values.extend(_literals(model.model_fields[name].annotation))
    return list(dict.fromkeys(values))


def _literals(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    return [word for part in typing.get_args(annotation) for word in _literals(part)]
