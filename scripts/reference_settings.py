"""docs/config.md: every key of the config, with its default, the values that it takes and its comment in conf/.

python scripts/write_reference.py    # writes the page; this module has no other use
"""

import math
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from bnlab.config.folders import conf_folder, read_option
from bnlab.runfolder.index import flatten
from bnlab.schema import AnyOptimConfig, DataConfig, DiagnosticsConfig, RunConfig
from bnlab.schema_models import AnyModelConfig

HEAD = """\
# Settings

Every setting is a word on the command line: `optim.lr=0.3`. `bnlab train --cfg job` shows those of a run. This page is
written by `scripts/write_reference.py`: keys, defaults and meanings are those of `conf/`, values those of
`bnlab/schema.py`. `null` is no value; `???` must be given.
"""

SECTIONS = {"model": AnyModelConfig, "optim": AnyOptimConfig}
"""Groups of which each option has settings of its own."""

SAID = {"device": "`auto`, `cpu`, `cuda`, `cuda:1`, `mps`", "train.precision": "`float32`, `bfloat16`, `auto`"}
"""Values that the schema's types do not show: a pattern, and a word that is decided before the schema sees it."""

MOST_WORDS = 8
"""Choices that a cell has room for."""

LARGE = 10**9
"""Upper bounds from here on only keep slips out, and are not shown."""


@dataclass(frozen=True)
class Key:
    """A line of a file in conf/: a dotted key, its default as it is written, and its comment."""

    name: str
    default: str
    comment: str


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, *_run(), *_data(), *_models(), *_norms(), *_optimizers(), *_diagnostics(), *_searches(), *_recipes()]
    return "\n".join(parts)


def _run() -> Iterator[str]:
    keys = list(keys_of((conf_folder() / "train.yaml").read_text(encoding="utf-8"), skipped=("defaults",)))
    yield "## The run\n"
    for section, title in (
        ("", ""),
        ("train", "### Training: `train`"),
        ("schedule", "### The learning rate over time: `schedule`, as a share of `optim.lr`"),
        ("sweep", "### Sweeps: `sweep`"),
    ):
        yield from [f"{title}\n"] if title else []
        yield table([key for key in keys if key.name.rpartition(".")[0] == section], RunConfig)


def _data() -> Iterator[str]:
    yield "## Data: `data`\n"
    yield "What each file may hold: [data.md](data.md).\n"
    yield _options("data")
    merged: dict[str, dict[str, Key]] = {}
    options = _names("data")
    for option in options:
        for key in keys_of(_text("data", option), "data", ("name",)):
            merged.setdefault(key.name, {})[option] = key
    keys = []
    for name, found in merged.items():
        defaults = {key.default for key in found.values()}
        comments = {key.comment for key in found.values()} - {""}
        said = next(iter(comments), "") if len(comments) < 2 and len(found) == len(options) else ""
        for comment in sorted(comments) if not said else []:
            where = [f"`{option}`" for option, key in found.items() if key.comment == comment]
            said += f"{'; ' if said else ''}{', '.join(where)}: {comment}"
        keys.append(Key(name, defaults.pop() if len(defaults) == 1 else "by data set", said))
    yield table(keys, DataConfig, "data")


def _models() -> Iterator[str]:
    yield "## Networks: `model`\n\nWhat each is: [models.md](models.md).\n"
    yield from _by_option("model")


def _norms() -> Iterator[str]:
    yield "## Norms: `norm`\n\n[norms.md](norms.md) has a card of each, with its options and their defaults.\n"


def _optimizers() -> Iterator[str]:
    yield "## Optimizers: `optim`\n"
    yield from _by_option("optim")


def _diagnostics() -> Iterator[str]:
    yield "## Diagnostics: `diagnostics`\n\nWhat each measures: [diagnostics.md](diagnostics.md).\n"
    yield _options("diagnostics")
    cheap = keys_of(_text("diagnostics", "cheap"), "diagnostics", ("name",))
    yield "The defaults are those of `diagnostics=cheap`.\n"
    yield table(list(cheap), DiagnosticsConfig, "diagnostics")


def _searches() -> Iterator[str]:
    yield "## Searches and clusters\n\nHow they are used: [sweeps.md](sweeps.md).\n"
    for path, word in (
        ("sweeper/optuna", "sweeper"),
        ("launcher/slurm", "launcher"),
        ("launcher/ray_cluster", "launcher"),
    ):
        text = (conf_folder() / "hydra" / f"{path}.yaml").read_text(encoding="utf-8")
        yield f"### `hydra/{path.replace('/', '=')}`\n"
        yield table(list(keys_of(text, f"hydra.{word}", skipped=("defaults",))), None)


def _recipes() -> Iterator[str]:
    yield "## Many settings at once: `recipe`, `budget`, `tuning`\n"
    yield "What is typed beside them overrules them. `budget` and `tuning` are taken by themselves where they fit.\n"
    for group in ("recipe", "budget", "tuning"):
        yield _options(group, with_values=True)


def _by_option(group: str) -> Iterator[str]:
    sections = {name: one for one in typing.get_args(SECTIONS[group]) for name in _literals(one.model_fields["name"])}
    for option in _names(group):
        description, _ = read_option([conf_folder()], group, option)
        yield f"### `{group}={option}`\n\n{_cell(description)}\n"
        keys = list(keys_of(_text(group, option), group, ("name",)))
        if keys:
            yield table(keys, sections.get(option), group)


def _literals(field: Any) -> tuple[str, ...]:
    return typing.get_args(field.annotation)


def _names(group: str) -> list[str]:
    return [path.stem for path in sorted((conf_folder() / group).glob("*.yaml")) if path.stem != "own"]


def _text(group: str, option: str) -> str:
    return (conf_folder() / group / f"{option}.yaml").read_text(encoding="utf-8")


def _options(group: str, with_values: bool = False) -> str:
    lines = []
    for option in _names(group):
        description, keys = read_option([conf_folder()], group, option)
        keys.pop("defaults", None)
        description = re.sub(r":?  +bnlab .*", ".", description).replace("..", ".")
        values = " ".join(f"{key}={_word(value)}" for key, value in flatten(keys).items()) if with_values else ""
        lines.append(f"- `{group}={option}`: {description}" + (f" `{values}`" if values else ""))
    return "\n".join(lines) + "\n"


def _word(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def keys_of(text: str, prefix: str = "", skipped: tuple[str, ...] = ()) -> Iterator[Key]:
    """Yield the keys of a file in conf/, in its order, with their comments.

    Args:
        text: The text of the file: keys and values, sections by indentation, comments behind a value or below it.
        prefix: The name of the group, before each key.
        skipped: Top-level keys that are left out with all that is below them.
    """
    above: list[tuple[int, str]] = []
    words: list[str] = []
    found: list[Key] = []
    for line in text.splitlines():
        if matched := re.fullmatch(r"( *)([a-z_][\w]*):(?: +(?![#])(.*?))?(?: +# ?(.*))?", line, re.IGNORECASE):
            indent, name, default, comment = matched.groups(default="")
            above = [(column, one) for column, one in above if column < len(indent)]
            above.append((len(indent), name))
            words = [one for _, one in above]
            if words[0] not in skipped:
                found.append(Key(".".join([*([prefix] if prefix else []), *words]), default, comment))
        elif (below := re.fullmatch(r" {8,}# ?(.*)", line)) and found:  # the comment of the key above goes on
            found[-1] = Key(found[-1].name, found[-1].default, f"{found[-1].comment} {below[1]}")
        elif (entry := re.fullmatch(r" +- (.*)", line)) and found and words[0] not in skipped:
            found[-1] = Key(found[-1].name, f"[{entry[1]}]", found[-1].comment)
    parents = {key.name.rpartition(".")[0] for key in found}
    yield from (key for key in found if key.comment or key.name not in parents)


def table(keys: list[Key], section: Any, group: str = "") -> str:
    """Return keys as a table of Markdown.

    Args:
        keys: The keys, in order.
        section: The pydantic model that checks them; None: nothing but their comments is known.
        group: The part of the keys' names that stands before the section's own.
    """
    has_values = section is not None
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    if not has_values:
        lines = ["| key | default | meaning |", "|---|---|---|"]
    for key in keys:
        own = key.name.removeprefix(f"{group}.") if group else key.name
        values = SAID.get(key.name) or _values(section, own.split(".")) if has_values else ""
        default = f"`{key.default}`" if key.default not in {"", "by data set"} else key.default
        repeats = re.sub(r"[`|, ]+", " ", values).strip() == re.sub(r"[|, ]+", " ", key.comment).strip()
        cells = [f"`{key.name}`", default, *([values] if has_values else []), "" if repeats else key.comment]
        lines.append(f"| {' | '.join(map(_cell, cells))} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _values(section: type[BaseModel], path: list[str]) -> str:
    field = section.model_fields.get(path[0])
    if field is None:
        return ""
    if len(path) > 1:
        return _values(typing.cast("type[BaseModel]", field.annotation), path[1:])
    return _kind(field.annotation, tuple(field.metadata))


def _kind(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return in words which values a type takes."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        extra = [part for one in inner[1:] for part in getattr(one, "metadata", [one])]
        return _kind(inner[0], (*metadata, *extra))
    if origin in (typing.Union, types.UnionType):
        others = [_kind(one, metadata) for one in inner if one is not types.NoneType]
        return " or ".join([*others, *(["`null`"] if types.NoneType in inner else [])])
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in inner) if len(inner) <= MOST_WORDS else "names"
    if origin is list:
        return f"a list of {'names' if inner[0] is str else _kind(inner[0]).replace('a number', 'numbers')}".replace(
            "a whole number", "whole numbers"
        )
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "the keys below"
    if annotation is bool:
        return "`true`, `false`"
    if annotation in (int, float):
        return _range("a whole number" if annotation is int else "a number", metadata)
    return "text"


def _range(what: str, metadata: tuple[Any, ...]) -> str:
    bounds: dict[str, float] = {}
    for one in metadata:
        bounds |= {end: getattr(one, end) for end in ("gt", "ge", "lt", "le") if getattr(one, end, None) is not None}
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if high is not None and (math.isinf(high) or high >= LARGE):
        high = None
    said = []
    if low is not None:
        said.append(f"above {low:,}" if "gt" in bounds else f"from {low:,}")
    if high is not None:
        said.append(f"below {high:,}" if "lt" in bounds else f"to {high:,}" if "ge" in bounds else f"at most {high:,}")
    is_closed = "ge" in bounds and "le" in bounds
    return f"{what} {(' ' if is_closed else ' and ').join(said)}".rstrip()
