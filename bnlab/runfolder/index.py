"""Many run folders as rows: one flat dictionary per run."""

import os
from pathlib import Path
from typing import Any

from bnlab.errors import RunError
from bnlab.renamed import current_names
from bnlab.runfolder.finding import find_run_folders
from bnlab.runfolder.folder import RunFolder

_GROUPS = ("norm", "model", "data", "optim", "schedule", "diagnostics")
"""Sections of a config that go by the name of the option chosen."""


def read_run_rows(root: Path) -> list[dict[str, Any]]:
    """Return one flat row per run at or below a path: identity, status, final figures, config.

    Reads JSON only, and never holds an old config against today's schema. The columns of the config are its
    dotted keys; the norm's, model's, data's and optimizer's names go by ``norm``, ``model``, ``data``, ``optim``.
    ``sweep`` is the folder of the sweep that it lies in, else the name that it was given. A run whose files are
    damaged has a row too: its status is ``failed``, and the column ``problem``, which no other run has, says what is
    wrong.

    Args:
        root: A run, a sweep, or the folder of all.
    """
    is_sweep: dict[Path, bool] = {}
    rows = []
    for folder in find_run_folders(root):
        try:
            row = _read_row(folder)
        except FileNotFoundError:  # it was moved away since it was found: it is being trained anew
            continue
        parent = folder.path.parent
        if parent not in is_sweep:
            is_sweep[parent] = (parent / "sweep.json").exists()
        if is_sweep[parent]:
            row["sweep"] = parent.name
        rows.append(row)
    return rows


def _read_row(folder: RunFolder) -> dict[str, Any]:
    """Return a run's row, with the name it was given for its sweep.

    Raises:
        FileNotFoundError: The run is not there any more.
    """
    problems: list[str] = []
    manifest = _read_json(folder, "manifest", problems)
    summary = _read_json(folder, "summary", problems)
    if not manifest and not (folder.path / "manifest.json").exists():
        raise FileNotFoundError(folder.path)
    status = manifest.get("status")
    if status is None and not problems:
        problems.append("manifest.json says no status")
    config = manifest.get("config")
    if not isinstance(config, dict):
        config = _read_config(folder) if problems else {}
    row: dict[str, Any] = {"run_id": folder.path.name, "status": status or "failed"}
    if problems:
        row["problem"] = "; ".join(problems)
    flat = by_name(flatten(config))
    for key in ("diagnostics.names", "diagnostics.tensorboard"):  # of one setting, old runs and new ones have one value
        if isinstance(flat.get(key), list):
            flat[key] = current_names(flat[key])
    sweep = flat.pop("name", None)
    for key in ("seed", "norm", "model", "data", "optim.lr"):  # what tells runs apart comes first
        row[key] = flat.pop(key, None)
    row |= {key: value for key, value in summary.items() if key not in row}
    return row | {"started": manifest.get("started"), "folder": str(folder.path), "sweep": sweep} | flat


def _read_json(folder: RunFolder, what: str, problems: list[str]) -> dict[str, Any]:
    try:
        return folder.read_manifest() if what == "manifest" else folder.read_summary()
    except RunError as error:
        problems.append(str(error).replace(f"{folder.path}{os.sep}", ""))
        return {}


def _read_config(folder: RunFolder) -> dict[str, Any]:
    """Return config.yaml, which is slow to read, where the manifest is no help."""
    try:
        config = folder.read_config()
    except (RunError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def by_name(config: dict[str, Any]) -> dict[str, Any]:
    """Return a flat config whose groups go by the names of their options."""
    for group in _GROUPS:
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
