"""Many run folders as rows: one flat dictionary per run."""

import hashlib
import json
import marshal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnlab.errors import RunError
from bnlab.later_settings import with_later_settings
from bnlab.renamed import current_names
from bnlab.runfolder.finding import find_run_folders, is_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.keeping import read_marks
from bnlab.runfolder.shapes import CONFIG, drop_what_does_not_fit

GROUPS = ("norm", "model", "data", "optim", "schedule", "diagnostics")
"""Sections of a config that go by the name of the option chosen."""

_HASH_DIGITS = 8


def read_run_rows(root: Path) -> list[dict[str, Any]]:
    """Return one flat row per run at or below a path: identity, status, final figures, config.

    Reads JSON only, and never holds an old config against today's schema. The columns of the config are its
    dotted keys; the norm's, model's, data's and optimizer's names go by ``norm``, ``model``, ``data``, ``optim``.
    ``sweep`` is the folder of the sweep that it lies in, else the name that it was given. A run whose files are
    damaged, or disagree, has a row too, and so has a folder that cannot be read: the column ``problem``, which no other
    run has, says what is wrong. Its figures are those of metrics.jsonl; where that lacks its end, it has none, and its
    status is ``failed``.

    Args:
        root: A run, a sweep, or the folder of all.
    """
    sweeps: dict[Path, bool] = {}
    rows = []
    for folder in find_run_folders(root):
        try:
            row = _read_row(folder)
        except FileNotFoundError:  # it was moved away since it was found: it is being trained anew
            continue
        parent = folder.path.parent
        if parent not in sweeps:
            sweeps[parent] = is_sweep(parent)
        if sweeps[parent]:
            row["sweep"] = parent.name
        rows.append(row)
    return rows


def _read_row(folder: RunFolder) -> dict[str, Any]:
    """Return a run's row, with the name it was given for its sweep.

    Raises:
        FileNotFoundError: The run is not there any more.
    """
    facts = folder.read_facts()
    config = facts.manifest.get("config")
    if config is None:
        config = _read_config(folder) if facts.problems else {}
    row: dict[str, Any] = {"run_id": folder.path.name, "status": facts.status}
    if facts.problems:
        row["problem"] = "; ".join(facts.problems)
    flat = _flat_config(config)
    sweep = flat.pop("name", None)
    for key in ("seed", "norm", "model", "data", "optim.lr"):  # what tells runs apart comes first
        row[key] = flat.pop(key, None)
    row |= {key: value for key, value in facts.summary.items() if key not in row and key != "problem"}
    flat = _origin_columns(facts.manifest) | flat  # an own norm may have an option named code
    row |= {"started": facts.manifest.get("started"), "folder": str(folder.path), "sweep": sweep}
    marks = read_marks(folder.path)
    row |= {"tags": list(marks.tags)} if marks.tags else {}
    row |= {"note": marks.note} if marks.note else {}
    return row | {key: value for key, value in flat.items() if key not in row and key != "problem"}


_flat_configs: dict[bytes, dict[str, Any]] = {}
"""Settings besides the seed, as bytes -> their columns: the runs of a cell share these, and their memory."""

_MOST_CONFIGS = 1000
"""Configs up to which they are kept; each takes 10 KB."""


def _flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a config, in a dictionary of its own; nobody changes the lists in it."""
    settings = {key: value for key, value in config.items() if key != "seed"}
    try:
        key = marshal.dumps(settings, 2)  # unlike ==, it tells 1, 1.0 and True apart; a tenth of the time of `flatten`
    except ValueError:  # a date, which YAML has and JSON has not
        return _flattened(config)
    if key not in _flat_configs:
        if len(_flat_configs) >= _MOST_CONFIGS:
            _flat_configs.clear()
        _flat_configs[key] = _flattened(settings)
    return {**_flat_configs[key], **flatten({key: value for key, value in config.items() if key == "seed"})}


def _flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    flat = by_name(flatten(with_later_settings(config)))
    for key in ("diagnostics.names", "diagnostics.tensorboard"):  # of one setting, old runs and new ones have one value
        if flat.get(key):
            flat[key] = current_names(flat[key])
    return flat


def _origin_columns(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return short hashes of the code and the data that are not bnlab's: two runs may differ in nothing else."""
    code, data = manifest.get("code"), manifest.get("data")
    content = data.get("content") if isinstance(data, dict) else None
    columns: dict[str, str] = {}
    if isinstance(code, dict):
        modules = {key: facts.get("modules") for key, facts in code.items() if isinstance(facts, dict)}
        if "norm" in modules:
            columns["norm.code"] = _short_hash(modules.pop("norm"))
        if modules:
            columns["diagnostics.code"] = _short_hash(modules)
    if isinstance(content, str):
        columns["data.content"] = content[:_HASH_DIGITS]
    return columns


def short_content(content: str | None) -> str | None:
    """Return the hash of a data set's content as rows have it."""
    return None if content is None else content[:_HASH_DIGITS]


def _short_hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]


def _read_config(folder: RunFolder) -> dict[str, Any]:
    """Return config.yaml, which is slow to read, where the manifest is no help; what does not fit is left out."""
    try:
        config = folder.read_config()
    except RunError:
        return {}
    drop_what_does_not_fit(config, CONFIG)
    return config


def by_name(config: dict[str, Any]) -> dict[str, Any]:
    """Return a flat config whose groups go by the names of their options."""
    for group in GROUPS:
        if f"{group}.name" in config:
            config[group] = config.pop(f"{group}.name")
    return config


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by their dotted keys.

    Example:
        >>> flatten({"optim": {"lr": 0.1}, "seed": 0})
        {'optim.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
