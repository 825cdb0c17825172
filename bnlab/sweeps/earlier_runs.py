"""Runs of earlier commands in a sweep's folder: which stay part of the sweep, and whether they fit the new ones.

A command may continue a sweep of the same name: with more seeds, more learning rates, another norm, further values of a
factor that is compared already, or with fewer of them. Then the sweep has the runs of both commands, and nothing that
was computed leaves its tables and figures. A command with other data, another model or another training is another
sweep, whose runs would be taken for further arms or, worse, for further seeds of the same arm: it is refused.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bnlab.errors import BnlabError, ConfigError
from bnlab.identity.run_id import run_id
from bnlab.results.arms import LEARNING_RATE, SEED
from bnlab.results.sweep import FACTS, read_plan, write_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.runfolder.index import by_name, flatten, read_run_rows
from bnlab.schema import RunConfig

MOST_NAMED = 3
"""Settings or values that a message names; of the others it gives the number."""

_GROUPS = ("model", "data", "optim", "schedule", "diagnostics")

Values = dict[str, dict[str, Any]]
"""Dotted key -> its values, by their text."""


@dataclass(frozen=True)
class EarlierRuns:
    """The runs of earlier commands in a sweep's folder.

    Attributes:
        kept: Ids of those that stay part of the sweep.
        outdated: Ids of those that would be other runs today, with the code or the data of today.
        added: What the new command adds, in words; empty where it adds nothing.
    """

    kept: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    added: str = ""


def find_earlier(folder: Path, configs: Mapping[str, RunConfig], factors: Collection[str] = ()) -> EarlierRuns:
    """Find the runs of earlier commands, before a sweep begins.

    Runs that were planned and never begun are no part of the sweep any more.

    Args:
        folder: The sweep's folder, which need not exist.
        configs: Run id -> config, of the new command.
        factors: Further keys whose values may be others than before, such as those that a search chooses.

    Raises:
        ConfigError: The new runs differ from the earlier ones in more than a continued sweep may.
    """
    plan = read_plan(folder)
    if not folder.is_dir() or (plan.runs and set(plan.runs) <= configs.keys()):
        return EarlierRuns()
    rows = [row for row in read_run_rows(folder) if Path(row["folder"]).parent == folder]
    rows = [row for row in rows if not plan.runs or row["run_id"] in plan.runs]
    outdated = [row["run_id"] for row in rows if row["run_id"] not in configs and _is_outdated(row)]
    rows = [row for row in rows if row["run_id"] not in outdated]
    before = _values_of(rows)
    now = _values_of(by_name(flatten(config.as_dict())) for config in configs.values())
    differing = [key for key in now if key in before and before[key].keys() != now[key].keys()]
    compared = [key for key in differing if key not in factors and key.partition(".")[0] not in factors]
    wrong = [key for key in compared if not _is_continued(key, before[key], now[key])]
    if wrong:
        raise ConfigError(_say_that_it_is_another(folder, _without_their_options(wrong), before, now))
    added = {key: [value for text, value in now[key].items() if text not in before[key]] for key in differing}
    told = [f"{key} {_several(values)}" for key, values in added.items() if values]
    names = [row["run_id"] for row in rows if row["run_id"] not in configs]
    in_order = [name for name in plan.runs if name in names] or names
    return EarlierRuns(tuple(in_order), tuple(outdated), ", ".join(told))


def write_with_earlier(
    folder: Path,
    overrides: list[str],
    run_ids: Sequence[str],
    earlier: EarlierRuns,
    places: Mapping[str, Mapping[str, str | None]] | None = None,
) -> None:
    """Write a sweep's sweep.json: the runs of earlier commands that stay, and those of this one.

    Nothing is written where the file has all of them already.

    Args:
        folder: The sweep's folder.
        overrides: The words of this command.
        run_ids: The ids of its runs.
        earlier: The runs of the commands before it.
        places: Where the data of its runs lie, if that is swept; see `Plan`.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    plan = read_plan(folder)
    placed = {**plan.places, **(places or {})}
    before = [name for name in plan.runs if name in {*earlier.kept, *run_ids}] or list(earlier.kept)
    if set(before) <= set(run_ids):  # this command names them all
        write_sweep(folder, overrides, list(run_ids), places=places)
        return
    if set(run_ids) <= set(before) and before == list(plan.runs) and placed == plan.places:
        return
    commands = [*plan.earlier, plan.overrides]
    others = [list(words) for words in dict.fromkeys(map(tuple, commands)) if words and words != tuple(overrides)]
    write_sweep(folder, overrides, list(dict.fromkeys([*before, *run_ids])), others, placed)


def _is_outdated(row: Mapping[str, Any]) -> bool:
    """Return whether a run would have another id today; a run of another version cannot be asked, and stays."""
    try:
        config = RunConfig.model_validate(RunFolder(Path(row["folder"])).read_manifest()["config"])
        return bool(run_id(config) != row["run_id"])
    except (BnlabError, KeyError, ValidationError):
        return False


def _values_of(settings: Iterable[Mapping[str, Any]]) -> Values:
    values: Values = {}
    for one in settings:
        for key, value in one.items():
            if key not in FACTS | IMMATERIAL and (value is not None or "problem" not in one):
                values.setdefault(key, {})[json.dumps(value, sort_keys=True)] = value
    return values


def _is_continued(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a sweep whose runs had some values of a key may go on with other values.

    That is so for what belongs to every sweep (seed, learning rate, norm), for a factor that had several values before,
    and for one that has several now, those of the earlier runs among them.
    """
    is_usual = key in {SEED, LEARNING_RATE, "norm"} or key.startswith("norm.")
    return is_usual or len(before) > 1 or before.keys() <= now.keys()


def _without_their_options(keys: Sequence[str]) -> list[str]:
    """Return some keys without the options of a group that is another one itself."""
    return [key for key in keys if key in _GROUPS or key.partition(".")[0] not in keys]


def _say_that_it_is_another(folder: Path, keys: Sequence[str], before: Values, now: Values) -> str:
    then, here = (_settings({key: values[key] for key in keys[:MOST_NAMED]}) for values in (before, now))
    more = f" ({len(keys) - MOST_NAMED} more settings differ)" if len(keys) > MOST_NAMED else ""
    both = ""
    if len(keys) == 1:
        (key,) = keys
        words = [_word(value) for value in {**before[key], **now[key]}.values()]
        both = f", or sweep both: {key}={','.join(words)}"
    return (
        f"{folder} holds a sweep with {then}, this one has {here}{more}. "
        f"Give this one another name: name={_free_name(folder)}{both}."
    )


def _free_name(folder: Path) -> str:
    number = 2
    while folder.with_name(f"{folder.name}-{number}").exists():
        number += 1
    return f"{folder.name}-{number}"


def _settings(values: Values) -> str:
    return ", ".join(f"{key}={','.join(map(_word, of_key.values()))}" for key, of_key in values.items())


def _several(values: Sequence[Any]) -> str:
    named = ", ".join(map(_word, values[:MOST_NAMED]))
    return f"{named} and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else named


def _word(value: Any) -> str:
    """Return a value as one types it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
