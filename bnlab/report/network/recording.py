"""The command that trains a run once more with other diagnostics, from the config that its manifest holds."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab.config.compose import compose_tree
from bnlab.config.folders import conf_folder, default_options, read_option
from bnlab.errors import BnlabError
from bnlab.later_settings import without_later_settings
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import GROUPS, flatten

CHOSEN = tuple(group for group in GROUPS if group != "schedule")
"""Sections of a config that are chosen by the name of a file."""

NOT_TOLD = {"name", "device", "threads", "loggers", "sweep.engine", "diagnostics.names", "diagnostics.tensorboard"}
"""Settings that the command leaves out: the diagnostics are new, and the others change no number."""

PLAIN = re.compile(r"[A-Za-z_./][\w./:-]*")
"""Texts that Hydra's grammar takes without quotes."""

WORDS_OF_YAML = {"true", "false", "null", "none", "nan", "inf", "yes", "no", "on", "off"}
"""Texts that would be read as something else without quotes."""


def command_that_records(folder: Path, names: Sequence[str]) -> str:
    """Return the command that trains a run of the same settings and records some diagnostics.

    Args:
        folder: The folder of the run.
        names: Names of diagnostics, or ``package.module:Class``.

    Returns:
        The line to type; empty if the run's settings cannot be expressed today: its manifest is damaged or old, or
        options of its own are gone.
    """
    try:
        return shlex.join(["bnlab", "train", *_words(RunFolder(folder).read_manifest()["config"]), _diagnostics(names)])
    except (BnlabError, LookupError, TypeError, AttributeError, OSError):
        return ""


def _diagnostics(names: Sequence[str]) -> str:
    """Return the word that measures some diagnostics: all of the catalog, unless one of them is not in it."""
    _, full = read_option([conf_folder()], "diagnostics", "full")
    return "diagnostics=full" if set(names) <= set(full["names"]) else f"diagnostics.names={_written(list(names))}"


def _words(config: Mapping[str, Any]) -> list[str]:
    """Return the words that lead from the defaults to a config, but for the diagnostics that are measured.

    How they are measured is told where it is not what the config's own option of diagnostics says.
    """
    usual = default_options()
    chosen = [f"{group}={config[group]['name']}" for group in CHOSEN if config[group]["name"] != usual[group]]
    if (path := config["data"].get("path")) is not None:  # some options of data do not compose without it
        chosen.append(f"data.path={_written(path)}")
    before, wanted = flatten(compose_tree(chosen)), flatten(dict(config))
    plain = flatten(without_later_settings(config))
    changed = {
        key: value
        for key, value in wanted.items()
        if key not in NOT_TOLD
        and key not in {f"{group}.name" for group in CHOSEN}
        and (before[key] != value if key in before else key in plain)
    }
    told = [word for word in chosen if not word.startswith("diagnostics=")]
    return [*told, *(f"{key}={_written(value)}" for key, value in changed.items())]


def _written(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float) or (PLAIN.fullmatch(str(value)) and str(value).lower() not in WORDS_OF_YAML):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
