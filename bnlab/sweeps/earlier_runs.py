"""Runs of earlier commands in a sweep's folder: which stay part of the sweep, and whether they fit the new ones.

A command may continue a sweep of the same name: with more seeds, more learning rates, another norm, further values of a
factor that is compared already, or with fewer of them. Then the sweep has the runs of both commands, and nothing that
was computed leaves its tables and figures. A command with other data, another model or another training is another
sweep, whose runs would be taken for further arms or, worse, for further seeds of the same arm: it is refused. Of data
the content counts, wherever the files lie.
"""

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bnlab.data.fingerprint import content_fingerprint
from bnlab.errors import BnlabError, ConfigError
from bnlab.identity.own_parts import own_code
from bnlab.identity.run_id import run_id
from bnlab.results.arms import LEARNING_RATE, SEED
from bnlab.results.sweep import PLACES, content_of
from bnlab.results.sweep_plan import Plan, read_plan
from bnlab.results.swept import CONTENT, FACTS
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.runfolder.index import GROUPS, by_name, flatten, read_run_rows, short_content
from bnlab.schema import RunConfig

MOST_NAMED = 3
"""Settings or values that a message names; of the others it gives the number."""

Values = dict[str, dict[str, Any]]
"""Dotted key -> its values, by their text. Of the content of the data, the text is its hash, the value its place."""


@dataclass(frozen=True)
class EarlierRuns:
    """The runs of earlier commands in a sweep's folder.

    Attributes:
        kept: Ids of those that stay part of the sweep.
        outdated: Ids of those that would have other ids today: their code or their data have changed.
        added: What the new command adds, in words; empty where it adds nothing.
        seen: What sweep.json said when they were searched.
    """

    kept: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    added: str = ""
    seen: Plan = field(default_factory=Plan)


def find_earlier(
    folder: Path,
    configs: Mapping[str, RunConfig],
    factors: Collection[str] = (),
    by_file: Mapping[str, str] | None = None,
) -> EarlierRuns:
    """Find the runs of earlier commands, before a sweep begins.

    Runs that were planned and never begun are no part of the sweep any more.

    Args:
        folder: The sweep's folder, which need not exist.
        configs: Run id -> config, of the new command.
        factors: Further keys whose values may be others than before, such as those that a search chooses.
        by_file: Keys that a sweep's file sets -> the word that names the file: a message says which nobody typed.

    Raises:
        ConfigError: The new runs differ from the earlier ones in more than a continued sweep may.
    """
    plan = read_plan(folder)
    if not folder.is_dir() or (plan.runs and set(plan.runs) <= configs.keys()):
        return EarlierRuns(seen=plan)
    planned = set(plan.runs)
    rows = [row for row in read_run_rows(folder) if Path(row["folder"]).parent == folder]
    rows = [row for row in rows if not planned or row["run_id"] in planned]
    outdated = {row["run_id"]: None for row in rows if row["run_id"] not in configs and _is_outdated(row)}
    rows = [row for row in rows if row["run_id"] not in outdated]
    before = _values_of(rows)
    now = _values_of(map(_settings_of, configs.values()))
    differing = [key for key in now if key in before and before[key].keys() != now[key].keys()]
    free = {*factors, *([CONTENT] if not PLACES.isdisjoint(factors) else [])}
    compared = [key for key in differing if key not in free and key.partition(".")[0] not in free]
    wrong = [key for key in compared if not _is_continued(key, before[key], now[key])]
    if wrong:
        raise ConfigError(_say_that_it_is_another(folder, _without_their_options(wrong), before, now, by_file or {}))
    added = {key: [value for text, value in now[key].items() if text not in before[key]] for key in differing}
    told = [f"{_shown(key, before, now)} {_several(values)}" for key, values in added.items() if values]
    names = dict.fromkeys(row["run_id"] for row in rows if row["run_id"] not in configs)
    in_order = [name for name in plan.runs if name in names] or list(names)
    return EarlierRuns(tuple(in_order), tuple(outdated), ", ".join(told), plan)


def _is_outdated(row: Mapping[str, Any]) -> bool:
    """Return whether a run would have another id today: its code or its data have changed.

    One that cannot be asked stays: it is of another version, or its code is not found from here.
    """
    try:
        manifest = RunFolder(Path(row["folder"])).read_manifest()
        config = RunConfig.model_validate(manifest["config"])
        return bool(run_id(config) != row["run_id"]) and not _is_code_out_of_reach(manifest.get("code"), config)
    except (BnlabError, KeyError, ValidationError):
        return False


def _is_code_out_of_reach(then: Any, config: RunConfig) -> bool:
    """Return whether modules of a run's own classes are not found, and those that are found are as they were.

    Args:
        then: What the run's manifest says of its code.
        config: The settings of the run.
    """
    now = own_code(config)
    are_missing = False
    for key, facts in then.items() if isinstance(then, Mapping) else ():
        known = facts.get("modules") if isinstance(facts, Mapping) else None
        found = now[key].modules if key in now else {}
        if not isinstance(known, Mapping) or any(known.get(name) != digest for name, digest in found.items()):
            return False
        are_missing |= len(found) < len(known)
    return are_missing


def _settings_of(config: RunConfig) -> dict[str, Any]:
    """Return a config as a run's row has it, with the content of its data."""
    return {**by_name(flatten(config.as_dict())), CONTENT: short_content(content_fingerprint(config.data))}


def _values_of(settings: Iterable[Mapping[str, Any]]) -> Values:
    values: Values = {}
    for one in settings:
        for key, value in one.items():
            if key not in FACTS | IMMATERIAL | PLACES | {CONTENT} and (value is not None or "problem" not in one):
                values.setdefault(key, {})[json.dumps(value, sort_keys=True)] = value
        if one.get("data") is not None:
            place = one.get("data.path" if one["data"] in {"npz", "folder"} else "data.root")
            values.setdefault(CONTENT, {})[json.dumps(content_of(one))] = place
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
    return [key for key in keys if key in GROUPS or key.partition(".")[0] not in keys]


def _say_that_it_is_another(
    folder: Path, keys: Sequence[str], before: Values, now: Values, by_file: Mapping[str, str]
) -> str:
    keys = sorted(keys, key=by_file.__contains__)  # what was typed comes first
    is_shown = {key: _shown(key, before, now) for key in keys}
    if is_shown.get(CONTENT) == CONTENT:
        before, now = ({**one, CONTENT: {text: json.loads(text) for text in one[CONTENT]}} for one in (before, now))
    named = keys[:MOST_NAMED]
    then = _settings({is_shown[key]: before[key] for key in named})
    here = ", ".join(
        f"{_settings({is_shown[key]: now[key]})}{f' by {by_file[key]}' if key in by_file else ''}" for key in named
    )
    more = f" ({len(keys) - MOST_NAMED} more settings differ)" if len(keys) > MOST_NAMED else ""
    both = ""
    if by_file.keys() >= set(keys) and not more:  # typed, a word wins over the file
        had = " ".join(shlex.quote(_settings({key: before[key]})) for key in keys)
        both = f", or add what that one has: {had}"
    elif len(keys) == 1 and CONTENT not in is_shown.values():
        (key,) = keys
        words = [_word(value) for value in {**before[key], **now[key]}.values()]
        both = f", or sweep both: {is_shown[key]}={','.join(words)}"
    return (
        f"{folder} holds a sweep with {then}, this one has {here}{more}. "
        f"Give this one another name: name={_free_name(folder)}{both}."
    )


def _shown(key: str, before: Values, now: Values) -> str:
    """Return the key that a message names: in place of the content of the data, their place, where that tells it."""
    if key != CONTENT:
        return key
    places = {**before[key], **now[key]}
    if len(set(places.values())) < len(places):  # the files at one place have changed
        return key
    return "data.path" if {'"npz"', '"folder"'} & now["data"].keys() else "data.root"


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
