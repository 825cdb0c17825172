"""Finds conf/, and reads its files without Hydra, which takes long to import."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from bnlab.config.yaml_files import read_table
from bnlab.errors import ConfigError
from bnlab.plugins import MODEL_PLUGINS, NORM_PLUGINS

OWN_PARTS = ("norm", "model", "data")
"""Groups with an option ``own``, which stands for a class or a function of the user's and takes any keys."""

NO_GROUPS = {"study", "sweep", "hydra"}
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
        ['adam', 'adamw', 'muon', 'sgd']
    """
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            if path.parent.name not in NO_GROUPS and path.is_file():
                groups.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(groups.items())}


def known_options(folders: list[Path]) -> dict[str, list[str]]:
    """Return the config groups and all values of ``<group>=``: files, and what installed packages add."""
    groups = config_groups(folders)
    for group in OWN_PARTS:
        names = [name for name in groups[group] if name != "own"]  # it stands for those without a file
        plugins = {"norm": NORM_PLUGINS, "model": MODEL_PLUGINS}.get(group)
        groups[group] = sorted([*names, *(plugins.usable_names(groups[group]) if plugins else [])])
    return groups


def read_option(folders: list[Path], group: str, option: str) -> tuple[str, dict[str, Any]]:
    """Return the first comment of an option's file, and its keys.

    Args:
        folders: The folders to search; the first that has the file counts, as in Hydra.
        group: The name of a folder in conf/, such as ``norm``.
        option: The name of a file in that folder, without ``.yaml``.

    Raises:
        ConfigError: The file is no table of keys and values.
    """
    path = next(path for folder in folders if (path := folder / group / f"{option}.yaml").is_file())
    text, keys = read_table(path)
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    header = next((line for line in comments if not line.startswith("@package")), "")
    return header, keys


def refuse_bad_files(chosen: dict[str, str], folders: list[Path]) -> None:
    """Raise if a file of the user's that a run would use is damaged, or has the name of one of bnlab's.

    Args:
        chosen: The options that were named, group -> option; other groups have the one of conf/train.yaml.
        folders: The folders in which options are searched, bnlab's first.

    Raises:
        ConfigError: Such a file.
    """
    if not folders[1:]:
        return
    for name in ["train", *(f"{group}/{option}" for group, option in chosen_options(chosen).items())]:
        refuse_hidden(name, folders)
        if path := own_file(name, folders):
            read_table(path)


def chosen_options(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the option of each group: the one that was named, or the one of conf/train.yaml."""
    options = {**default_options(), **chosen}
    return {group: Template(option).safe_substitute(options) for group, option in options.items()}


def own_file(name: str, folders: list[Path]) -> Path | None:
    """Return the user's file of an option; None if bnlab has one, which comes first, or there is none.

    Args:
        name: The path of the file below conf/, without ``.yaml``.
        folders: The folders in which options are searched, bnlab's first.
    """
    first = next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)
    return None if first is None or first.is_relative_to(folders[0]) else first


def refuse_hidden(name: str, folders: list[Path]) -> None:
    """Raise if a file of the user's has the name of one of bnlab's, which comes first, and says something else.

    Args:
        name: The path of the file below conf/, without ``.yaml``.
        folders: The folders in which options are searched, bnlab's first.

    Raises:
        ConfigError: Such a file.
    """
    group, _, option = name.rpartition("/")
    ours, *others = (folder / f"{name}.yaml" for folder in folders)
    for path in others if ours.is_file() else ():
        if path.is_file() and path.read_bytes() != ours.read_bytes():
            use = f"and write {group}=my_{option}" if group else "or write its values on the command line"
            use = f"and type bnlab study my_{option}" if group == "study" else use
            raise ConfigError(
                f"{path} is not used: bnlab's own {name}.yaml comes first. Rename it to my_{option}.yaml {use}."
            )


def default_options() -> dict[str, str]:
    """Return the option of each group that conf/train.yaml names; ``${model}`` stands for another group's."""
    _, table = read_table(conf_folder() / "train.yaml")
    entries = [entry for entry in table["defaults"] if isinstance(entry, dict)]
    return {group.removeprefix("optional "): str(option) for entry in entries for group, option in entry.items()}


def refuse_damaged_files(folders: list[Path]) -> None:
    """Raise if any file of the user's options is damaged; for an error that none of the chosen files explains.

    Raises:
        ConfigError: The first damaged file.
    """
    for folder in folders[1:]:
        for path in sorted(folder.glob("*/*.yaml")):
            read_table(path)


def config_keys(folders: list[Path]) -> list[str]:
    """Return every dotted key that some file of conf/ sets, such as ``optim.lr``."""
    keys: set[str] = set()
    _, top = read_table(conf_folder() / "train.yaml")
    del top["defaults"]
    keys.update(dotted_keys(top))
    for group, options in config_groups(folders).items():
        if group in {"budget", "tuning", "recipe"}:
            continue
        for option in options:
            with contextlib.suppress(ConfigError):  # a damaged file that nobody asked for
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
