"""Finds runs: by folder, or by the name of a run or of a sweep."""

import difflib
import os
from pathlib import Path

from bnlab.errors import ConfigError, did_you_mean
from bnlab.runfolder.figure_paths import COMPARISONS
from bnlab.runfolder.folder import RunFolder


def runs_root(given: Path | None = None) -> Path:
    """Return the folder of all runs: the given one, else BNLAB_RUNS, else ./runs."""
    return (given or Path(os.environ.get("BNLAB_RUNS") or "runs")).absolute()


def find_folder(given: str | Path | None = None) -> Path:
    """Return the folder to read from: a path, or the name of a sweep or of a run among all runs.

    Args:
        given: An existing folder, or a name that is searched in BNLAB_RUNS, else in ./runs; None: the folder of all
            runs.

    Raises:
        ConfigError: No folder and no run has this name, or several runs have it.
    """
    if given is None or Path(given).is_dir():
        return runs_root(Path(given) if given else None)
    root, name = runs_root(), str(given)
    if Path(name).name == "runs":  # nothing has been trained yet
        return Path(name).absolute()
    if Path(name).name != name:
        raise ConfigError(f"{Path(name).absolute()} is not a folder of runs. Those there are: bnlab list runs")
    sweeps, runs = _sweep_folders(root), _every_run(root)
    if name in sweeps:
        return sweeps[name]
    places = [path for path in runs if path.name == name]
    if len(places) == 1:
        return places[0]
    if places:
        listed = ", ".join(map(str, places))
        raise ConfigError(f"{name} is in {len(places)} places. Give the folder of one: {listed}")
    cure = "There are no runs yet: bnlab train trains one."
    if sweeps:
        near = difflib.get_close_matches(name, {*sweeps, *(path.name for path in runs)})
        cure = did_you_mean(name, near or sweeps)
    raise ConfigError(f"{name} is neither a folder of runs nor the name of a sweep or a run in {root}. {cure}")


def find_run(given: str | Path) -> RunFolder:
    """Return one run.

    Args:
        given: The folder or the name of the run, or of a sweep with a single run.

    Raises:
        ConfigError: No run is found, or several are.
    """
    folder = find_folder(given)
    runs = find_run_folders(folder)
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise ConfigError(f"there are no runs in {folder}. Those there are: bnlab list runs")
    raise ConfigError(
        f"{given} holds {len(runs)} runs, where one is wanted. Name one, such as {runs[0].path.name}, or see several "
        f"side by side: bnlab compare {given}"
    )


def known_names() -> list[str]:
    """Return the names that `find_folder` knows: those of sweeps, then those of runs."""
    root = runs_root()
    return list(dict.fromkeys([*_sweep_folders(root), *(path.name for path in _every_run(root))]))


def _sweep_folders(root: Path) -> dict[str, Path]:
    """Return the folders that may contain runs, by name."""
    return {path.name: path for path in sorted(root.iterdir()) if _may_hold_runs(path)} if root.is_dir() else {}


def _every_run(root: Path) -> list[Path]:
    return [folder.path for folder in find_run_folders(root)] if root.is_dir() else []


def _may_hold_runs(path: Path) -> bool:
    if path.name == COMPARISONS:  # figures, unless a sweep has this name
        return (path / "sweep.json").exists()
    return path.is_dir() and not path.name.startswith(".")


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
