"""Finds runs: by folder, or by the name of a run or of a sweep."""

import difflib
import os
from pathlib import Path

from bnlab.errors import ConfigError, did_you_mean
from bnlab.runfolder.figure_paths import COMPARISONS
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.short_names import find_short_name

SINGLE = "single"
"""The folder of runs that belong to no sweep."""


def runs_root(given: Path | None = None) -> Path:
    """Return the folder of all runs: the given one, else BNLAB_RUNS, else ./runs.

    Raises:
        ConfigError: It is in the current folder, which was deleted.
    """
    folder = given or Path(os.environ.get("BNLAB_RUNS") or "runs")
    try:
        return folder.absolute()
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} is in the current folder, which no longer exists. Go to another one.") from error


def at_home(given: str) -> Path:
    """Return a path with ~ and ~user in place.

    Args:
        given: The path, as it was typed.

    Raises:
        ConfigError: There is no such user.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise ConfigError(f"{given}: the home folder of that user is not known. Give the path in full.") from None


def find_folder(given: str | Path | None = None, runs: Path | None = None) -> Path:
    """Return the folder to read from: a path, or the name of a sweep or of a run among all runs.

    Args:
        given: An existing folder, a name that is searched in the folder of all runs, or a short word for a run, as
            `find_short_name` reads it; None: the folder of all runs.
        runs: The folder of all runs; None: BNLAB_RUNS, else ./runs.

    Raises:
        ConfigError: No folder and no run has this name, or several runs have it.
    """
    if given is None or _is_dir(given):
        return runs_root(Path(given) if given else runs)
    root, name = runs_root(runs), str(given)
    if Path(name).name == "runs":  # nothing has been trained yet
        return Path(name).absolute()
    if Path(name).name != name:
        raise ConfigError(f"{Path(name).absolute()} is not a folder of runs. Those there are: bnlab list runs")
    sweeps, every_run = _sweep_folders(root), _every_run(root)
    if name in sweeps:
        return sweeps[name]
    places = [path for path in every_run if path.name == name]
    if len(places) == 1:
        return places[0]
    if places:
        listed = ", ".join(map(str, places))
        raise ConfigError(f"{name} is in {len(places)} places. Give the folder of one: {listed}")
    if (short := find_short_name(name, every_run)) is not None:
        return short
    cure = "There are no runs yet: bnlab train trains one."
    if sweeps:
        near = difflib.get_close_matches(name, {*sweeps, *(path.name for path in every_run)})
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
    return {path.name: path for path in _folders_in(root) or [] if _may_hold_runs(path)}


def _every_run(root: Path) -> list[Path]:
    return [folder.path for folder in find_run_folders(root)] if _is_dir(root) else []


def _may_hold_runs(path: Path) -> bool:
    return path.name != COMPARISONS or is_sweep(path)  # figures, unless a sweep has this name


def find_run_folders(root: Path) -> list[RunFolder]:
    """Return the run folders at or below a path, in the order of their names, and folders that cannot be entered.

    A folder is a run's if it has a manifest, records or a summary: any of them may have been lost.

    Raises:
        ConfigError: The path is a file, or is not there and is not the usual folder.
    """
    if not _is_dir(root):
        if root.name == "runs" and not _exists(root):  # nothing has been trained yet
            return []
        raise ConfigError(f"{root} is not a folder of runs. Leave it out to see all runs.")
    if _is_run(root):
        return [RunFolder(root)]
    found: list[Path] = []
    for path in _folders_in(root) or [root]:
        if _is_run(path):
            found.append(path)
            continue
        inside = _folders_in(path)
        found += [path] if inside is None else filter(_is_run, inside)
    return [RunFolder(path) for path in found]


def _is_run(path: Path) -> bool:
    return any(_exists(f"{path}{os.sep}{name}") for name in ("manifest.json", "metrics.jsonl", "summary.json"))


def _folders_in(path: Path) -> list[Path] | None:
    """Return the folders in a folder by name, without hidden ones; none of a file; None if it cannot be entered."""
    try:
        with os.scandir(path) as entries:
            names = [one.name for one in entries if not one.name.startswith(".") and one.is_dir()]
        return [path / name for name in sorted(names, key=os.path.normcase)]  # as paths are sorted
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        return None


def is_sweep(path: Path) -> bool:
    """Return whether a folder is a sweep's; False if it cannot be entered."""
    return _exists(path / "sweep.json")


def _exists(path: str | Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  (unlike Path.exists, no error where a folder may not be entered)


def _is_dir(path: str | Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (unlike Path.is_dir, no error for a name that is too long)
