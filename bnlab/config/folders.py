"""Finds conf/, and reads its files without Hydra, which takes long to import."""

from pathlib import Path
from typing import Any

import yaml

from bnlab.errors import ConfigError
from bnlab.plugins import NORM_PLUGINS

NO_GROUPS = {"sweep", "hydra"}
"""Folders of conf/ that are not config groups of a run."""


def conf_folder() -> Path:
    """Return the path of bnlab's own conf/: inside the package in a wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def search_folders(config_dir: Path | None) -> list[Path]:
    """Return all folders that options are looked up in: bnlab's own, then --config-dir, then ./conf.

    Args:
        config_dir: The value of --config-dir; None: it was not given.

    Raises:
        ConfigError: --config-dir is not a folder.
    """
    if config_dir is not None and not config_dir.is_dir():
        what = "is not a folder" if config_dir.exists() else "does not exist"
        raise ConfigError(
            f"--config-dir {config_dir} {what}. Give the folder that holds your own norm/, optim/ or sweep/."
        )
    folders = [conf_folder()]
    for folder in (config_dir, Path("conf")):
        if folder is not None and folder.is_dir() and not any(Path(folder).samefile(known) for known in folders):
            folders.append(folder.absolute())
    return folders


def config_groups(folders: list[Path]) -> dict[str, list[str]]:
    """Return the config groups and the options of each.

    Example:
        >>> config_groups([conf_folder()])["optim"]
        ['adam', 'adamw', 'sgd']
    """
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            if path.parent.name not in NO_GROUPS:
                groups.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(groups.items())}


def known_options(folders: list[Path]) -> dict[str, list[str]]:
    """Return the config groups and all values of ``<group>=``: files, and norms of installed packages."""
    groups = config_groups(folders)
    norms = [name for name in groups["norm"] if name != "own"]  # it stands for norms without a file
    return {**groups, "norm": sorted([*norms, *NORM_PLUGINS.usable_names(groups["norm"])])}


def read_option(folders: list[Path], group: str, option: str) -> tuple[str, dict[str, Any]]:
    """Return the first comment of an option's file, and its keys.

    Args:
        folders: The folders to search; the first that has the file counts, as in Hydra.
        group: The name of a folder in conf/, such as ``norm``.
        option: The name of a file in that folder, without ``.yaml``.
    """
    path = next(path for folder in folders if (path := folder / group / f"{option}.yaml").exists())
    text = path.read_text(encoding="utf-8")
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    header = next((line for line in comments if not line.startswith("@package")), "")
    return header, yaml.safe_load(text) or {}


def config_keys(folders: list[Path]) -> list[str]:
    """Return every dotted key that some file of conf/ sets, such as ``optim.lr``."""
    keys: set[str] = set()
    top = yaml.safe_load((conf_folder() / "train.yaml").read_text(encoding="utf-8"))
    del top["defaults"]
    keys.update(dotted_keys(top))
    for group, options in config_groups(folders).items():
        if group in {"budget", "tuning"}:
            continue
        for option in options:
            keys.update(dotted_keys({group: read_option(folders, group, option)[1]}))
    return sorted(key for key in keys if not key.endswith(".name") or key == "schedule.name")


def dotted_keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of a tree's leaves.

    Example:
        >>> dotted_keys({"optim": {"lr": 0.1}, "seed": 0})
        ['optim.lr', 'seed']
    """
    keys: list[str] = []
    for key, value in tree.items():
        keys.extend(dotted_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"])
    return keys
