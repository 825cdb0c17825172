"""What is said of a command line with an option or without an argument that it should not have, and what to type."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab.config.folders import config_keys, known_options, search_folders
from bnlab.errors import ConfigError

PAIR = "bnlab sweep name=pilot norm=batch,none seed=0,1,2 && "
"""Makes the sweep that an example goes on with; at once where it is there."""

EXAMPLES = {
    "study": "bnlab study definitions",
    "judge": f"{PAIR}bnlab judge pilot",
    "power": f"{PAIR}bnlab power pilot",
    "tunability": (
        "bnlab sweep name=my_grid norm=batch,none optim.lr=0.01,0.1 optim.weight_decay=0,0.001 seed=0,1,2 "
        "&& bnlab tunability my_grid"
    ),
    "report": f"{PAIR}bnlab report pilot",
    "rerun": "bnlab train && bnlab rerun last",
    "show": "bnlab train && bnlab show last",
    "compare": f"{PAIR}bnlab compare pilot",
    "diff": "bnlab train seed=1 && bnlab train seed=2 && bnlab diff -2 -1",
    "export": f"{PAIR}bnlab export pilot --to csv",
    "explain": "bnlab explain batch",
    "propagate": "bnlab propagate mlp norm=none model.depth=20",
    "rm": "bnlab train && bnlab runs rm last",
    "tag": "bnlab train && bnlab runs tag thesis last",
    "note": "bnlab train && bnlab runs note last 'lr too high?'",
    "mv": "bnlab train && bnlab runs mv last keep",
}
"""Name of a command that needs an argument -> a line that works, also where there are no runs yet."""

ALSO_CALLED = {
    "learning_rate": "optim.lr",
    "wd": "optim.weight_decay",
    "bs": "train.batch_size",
    "dataset": "data",
    "optimizer": "optim",
    "network": "model",
    "normalization": "norm",
    "gpu": "device",
    "cuda": "device",
    "lr_schedule": "schedule.name",
    "scheduler": "schedule.name",
    "schedule": "schedule.name",
    "random_seed": "seed",
    "seeds": "seed",
    "num_seeds": "seed",
    "n_seeds": "seed",
}
"""What other programs call a setting -> what it is called here."""

ALIKE = 0.75
"""How alike (difflib's ratio) an option and another word must be for the latter to be proposed: ``--batchs`` is like
``batch_size``, and ``--lr`` unlike ``--runs``."""

MOST_CURES = 3
"""Settings of the same last name that are proposed."""

COUNTED = {"seeds", "num_seeds", "n_seeds"}
"""Options that say how many values there are."""

FIXED = {"cuda": "cuda", "gpu": "cuda"}
"""Options that say their value by their name."""


def explain_usage(error: Any, words: Sequence[str], conf: Path | None = None) -> str:
    """Return the message for what typer raises about a command line: with the cure, or a line that works.

    Args:
        error: typer's error about the use of a command.
        words: The words behind ``bnlab``.
        conf: A folder with the user's own options; None: there is none but ./conf.

    Returns:
        One or two lines; empty if there is nothing to say.
    """
    context = getattr(error, "ctx", None)
    if (name := getattr(error, "option_name", None)) and context is not None and hasattr(error, "possibilities"):
        return _about_option(name, context, words, conf)
    message: str = error.format_message().replace("Value error, ", "")  # typer passes pydantic's words on
    example = EXAMPLES.get(context.command.name) if context is not None else None
    if example and message.startswith("Missing "):
        return f"{' '.join(message.split())}\nSuch as: {example}"
    return message


def _about_option(name: str, context: Any, words: Sequence[str], conf: Path | None) -> str:
    """Return what is said of an option that a command does not have."""
    typed, value = _as_typed(name, words)
    lead = f"{context.command_path} has no option {typed}."
    options = [option for one in context.command.params for option in one.opts if option.startswith("--")]
    if near := difflib.get_close_matches(typed, options, n=1, cutoff=ALIKE):
        return f"{lead} Did you mean {near[0]}?"
    takes = {one.name for one in context.command.params} & {"overrides", "options", "where"}
    settings = _settings_like(typed.lstrip("-"), conf) if takes else []
    if "options" in takes:  # of one layer
        settings = [setting for setting in settings if setting.startswith("norm.")]
    cures = [_as_word(setting, typed, value) for setting in settings[:MOST_CURES]]
    if cures and "where" in takes:
        return f"{lead} Runs are chosen by their settings so: {' or '.join(f'--where {cure}' for cure in cures)}"
    if cures:
        return f"{lead} It is a setting, typed without dashes: {' or '.join(cures)}"
    return f"{lead} Those it has: {context.command_path} --help"


def _as_typed(name: str, words: Sequence[str]) -> tuple[str, str | None]:
    """Return an unknown option as it was typed, and the value behind it; typer names of ``-lr`` the first letter."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == name or (re.match(r"-[a-z]{2}", word) and name[:2] == word[:2] and len(name) == 2):
            is_value = after and "=" not in after and (not after.startswith("-") or re.match(r"-[\d.]", after))
            return option, value if equals else after if is_value else None
    return name, None


def _settings_like(word: str, conf: Path | None) -> list[str]:
    """Return the settings whose whole name, or the last part of it, is a word; else those whose name is like it."""
    try:
        folders = search_folders(conf)
    except ConfigError:
        folders = search_folders(None)
    groups = [name for name in known_options(folders) if name not in {"budget", "tuning"}]
    known = [*groups, *config_keys(folders)]
    bare = word.lower().replace("-", "_")
    if bare in known:
        return [bare]
    by_last = _by_last_name(known)
    if bare in by_last:
        return by_last[bare]
    if bare in ALSO_CALLED:
        return [ALSO_CALLED[bare]]
    near = difflib.get_close_matches(bare, by_last, n=1, cutoff=ALIKE)
    return by_last[near[0]] if near else []


def _by_last_name(known: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in known:
        found.setdefault(key.rpartition(".")[2], []).append(key)
    return found


def _as_word(setting: str, typed: str, value: str | None) -> str:
    name = typed.lstrip("-").replace("-", "_")
    if name in COUNTED and value is not None and value.isdigit():
        return shlex.quote(f"{setting}=range({value})")
    given = FIXED.get(name, value)
    if name in FIXED and value is not None and value.isdigit():  # which one
        given = f"{FIXED[name]}:{value}"
    return shlex.quote(f"{setting}={given}") if given is not None else f"{setting}=..."
