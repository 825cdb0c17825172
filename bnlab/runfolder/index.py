"""Many runs: where they lie, and what they say, as rows."""

import difflib
import json
import os
import tempfile
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError, did_you_mean
from bnlab.runfolder.figures import COMPARISONS
from bnlab.runfolder.folder import RunFolder

_GROUPS = ("norm", "model", "data", "optim", "schedule", "diagnostics")
"""Sections of a config that go by the name of the option chosen."""


def runs_root(given: Path | None = None) -> Path:
    """Return the folder that runs go to: the given one, else BNLAB_RUNS, else ./runs."""
    return (given or Path(os.environ.get("BNLAB_RUNS") or "runs")).absolute()


def find_folder(given: str | Path | None = None) -> Path:
    """Return the folder to read from: a path, or the name of a sweep or of a run among all runs.

    Args:
        given: A folder that is there; else a name looked up in BNLAB_RUNS, else ./runs; None: that folder itself.

    Raises:
        ConfigError: There is no such folder and no such name.
    """
    if given is None or Path(given).is_dir():
        return runs_root(Path(given) if given else None)
    root, name = runs_root(), str(given)
    if Path(given).name == "runs":  # nothing has been trained yet
        return Path(given).absolute()
    if Path(name).name == name and root.is_dir():
        sweeps = {path.name: path for path in root.iterdir() if path.is_dir() and _may_hold_runs(path)}
        runs = {folder.path.name: folder.path for folder in find_run_folders(root)}
        for places in (sweeps, runs):
            if name in places:
                return places[name]
        cure = did_you_mean(name, sweeps) if sweeps else "There are no runs yet: bnlab train makes one."
        raise ConfigError(f"{name} is neither a folder of runs nor the name of a sweep or a run in {root}. {cure}")
    raise ConfigError(f"{Path(given).absolute()} is not a folder of runs. Leave it out to see all runs.")


def _may_hold_runs(path: Path) -> bool:
    if path.name == COMPARISONS:  # figures, unless somebody calls a sweep so
        return (path / "sweep.json").exists()
    return not path.name.startswith(".")


def find_run(given: str | Path) -> Path:
    """Return a run's folder: a path, or the run's name among all runs.

    Args:
        given: A folder that is there; else a name looked up in BNLAB_RUNS, else ./runs.

    Raises:
        ConfigError: There is no such folder, and not one run of that name, or more than one.
    """
    if Path(given).is_dir():
        return Path(given).absolute()
    root, name = runs_root(), str(given)
    if Path(name).name != name:
        raise ConfigError(f"{Path(given).absolute()} is no run's folder. Known runs: bnlab list runs")
    runs = [folder.path for folder in find_run_folders(root)] if root.is_dir() else []
    places = [path for path in runs if path.name == name]
    if len(places) == 1:
        return places[0]
    if places:
        listed = ", ".join(map(str, places))
        raise ConfigError(f"{name} is in {len(places)} places. Give the folder of one: {listed}")
    if any(path.parent == root / name for path in runs):
        raise ConfigError(f"{name} is a sweep, where one run is wanted. Its runs: bnlab list runs {name}")
    cure = "Known runs: bnlab list runs" if runs else "There are no runs yet: bnlab train makes one."
    if near := difflib.get_close_matches(name, {path.name for path in runs}):
        cure = did_you_mean(name, near)
    raise ConfigError(f"{name} is neither a run's folder nor the name of a run in {root}. {cure}")


def find_run_folders(root: Path) -> list[RunFolder]:
    """Return the run folders at or below a path, in the order of their names.

    Raises:
        ConfigError: The path is a file, or is not there and is not the usual folder.
    """
    if not root.is_dir():
        if root.name == "runs":  # nothing has been trained yet
            return []
        raise ConfigError(f"{root} is not a folder of runs. Leave it out to see all runs.")
    if (root / "manifest.json").exists():
        return [RunFolder(root)]
    found = (path.parent for pattern in ("*/manifest.json", "*/*/manifest.json") for path in root.glob(pattern))
    return [RunFolder(path) for path in sorted(found) if not path.parent.name.startswith(".")]


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


def check_writable(folder: Path) -> None:
    """Make sure that a sweep's folder can be made and written to; nothing is left behind.

    Raises:
        ConfigError: It cannot.
    """
    with _saying_where_it_cannot_write(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()


def write_sweep(folder: Path, overrides: list[str], run_ids: list[str]) -> None:
    """Write a sweep's sweep.json: what was asked for, and its runs in order; nothing, where it says so already.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    text = json.dumps({"overrides": overrides, "runs": run_ids}, indent=1)
    path = folder / "sweep.json"
    beside = folder / f".sweep.json.{os.getpid()}-{threading.get_native_id()}.tmp"
    with _saying_where_it_cannot_write(folder):
        if path.exists() and path.read_bytes() == text.encode():
            return
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)


def _saying_where_it_cannot_write(folder: Path) -> AbstractContextManager[None]:
    return RunFolder(folder / "any run").saying_where_it_cannot_write()
