"""Many runs: where they lie, and what they say, as rows."""

import json
import os
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError
from bnlab.runfolder.folder import RunFolder


def runs_root(given: Path | None = None) -> Path:
    """Return the folder that runs go to: the given one, else BNLAB_RUNS, else ./runs."""
    return (given or Path(os.environ.get("BNLAB_RUNS") or "runs")).absolute()


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
    """
    rows = []
    for folder in find_run_folders(root):
        manifest = folder.read_manifest()
        summary = folder.read_summary()
        config = flatten(manifest.get("config", {}))
        for group in ("norm", "model", "data", "optim", "schedule", "diagnostics"):
            config[group] = config.pop(f"{group}.name", None)
        sweep = config.pop("name", None)
        row: dict[str, Any] = {"run_id": folder.path.name, "status": manifest.get("status")}
        for key in ("seed", "norm", "model", "data", "optim.lr"):  # what tells runs apart comes first
            row[key] = config.pop(key, None)
        row |= {key: value for key, value in summary.items() if key not in row}
        row |= {"started": manifest.get("started"), "folder": str(folder.path), "sweep": sweep}
        rows.append(row | config)
    return rows


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


def write_sweep(folder: Path, overrides: list[str], run_ids: list[str], swept: list[str]) -> None:
    """Write a sweep's sweep.json: what was asked for, its runs in order, and the settings in which they differ."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / ".sweep.json.tmp"
    facts = {"overrides": overrides, "runs": run_ids, "swept": swept}
    beside.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    beside.replace(folder / "sweep.json")
