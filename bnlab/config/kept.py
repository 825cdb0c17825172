"""What Hydra has composed in this process, kept by the files and options that it was composed of."""

import contextlib
import functools
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from bnlab.config.composition import compose_by_hydra, is_own, plain_values
from bnlab.config.folders import config_groups, search_folders
from bnlab.errors import ConfigError


class Composed:
    """The config of one combination of groups, as Hydra returns it and as plain values."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.refers = "${" in OmegaConf.to_yaml(config)
        self.tree = plain_values(config)


_composed: dict[tuple[Any, ...], Composed | None] = {}
"""What has been composed in this process, by the state of the files and the chosen options; where a value stands at a
place that they do not have, also by the keys with a value."""

PLACES = ("*.yaml", "*/*.yaml", "*/*/*.yaml", "hydra/*/*/*.yaml")
"""Where options lie in a folder. Not at any depth: a user's --config-dir may be a home folder, or that of all data. A
path's own glob would enter no links."""

MOST_KEPT = 500
"""Compositions that are kept; each takes about 50 kB."""


class Options:
    """The config options that exist now, and what has been composed of them.

    Args:
        config_dir: A folder of the user's own options; None: only ./conf, if it exists.
    """

    def __init__(self, config_dir: Path | None) -> None:
        self.folders = search_folders(config_dir)
        self._files = [mark for folder in self.folders for mark in _marks_of_files(folder)]
        self._config_dir = config_dir
        self._is_own = functools.cache(functools.partial(is_own, folders=self.folders))
        self.groups = config_groups(self.folders)

    def compose(self, overrides: Sequence[str]) -> Composed:
        """Compose, which takes 60 ms, or return what was composed of the same files and options before.

        Args:
            overrides: The words of one run. Values of single keys do not matter here; the caller puts them in.

        Raises:
            ConfigError: As in `compose_run`.
        """
        keys = [text.partition("=")[0] for text in overrides]
        options = [text for key, text in zip(keys, overrides, strict=True) if key in self.groups]
        chosen = (text.partition("=") for text in options)
        if len(options) < len(keys) and not any(self._is_own(key, option) for key, _, option in chosen):
            # with a class of the user's, Hydra says which keys are bnlab's own, and cannot be set
            composed = self._of_options(options)
            if composed and all(key in self.groups or _has(composed.tree, key) for key in keys):
                return composed
        kind = self._kind(
            overrides, [text if key in self.groups else key for key, text in zip(keys, overrides, strict=True)]
        )
        if (found := _composed.get(kind)) is None:
            found = _keep(kind, Composed(compose_by_hydra(list(overrides), self._config_dir)))
        return found

    def _of_options(self, options: list[str]) -> Composed | None:
        """Compose without the values of single keys. None: without them there is no config, such as without a path."""
        kind = self._kind(options, options)
        if kind not in _composed:
            with contextlib.suppress(ConfigError):
                return _keep(kind, Composed(compose_by_hydra(options, self._config_dir)))
            _keep(kind, None)
        return _composed[kind]

    def _kind(self, overrides: Sequence[str], by: Sequence[str]) -> tuple[Any, ...]:
        are_own = [self._is_own(key, option) for key, _, option in (text.partition("=") for text in overrides)]
        return (*self._files, *by, *are_own)


_Found = TypeVar("_Found", bound=Composed | None)


def _keep(kind: tuple[Any, ...], found: _Found) -> _Found:
    if len(_composed) >= MOST_KEPT:
        _composed.clear()
    _composed[kind] = found
    return found


def _has(tree: dict[str, Any], key: str) -> bool:
    """Return whether a composed config has a value or a section at this place."""
    found: Any = tree
    for name in key.split("."):
        if not (isinstance(found, dict) and name in found):
            return False
        found = found[name]
    return True


def _marks_of_files(folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield, for each file of options, a mark that changes when the file does."""
    names = [name for pattern in PLACES for name in glob.glob(pattern, root_dir=folder)]  # noqa: PTH207  (see PLACES)
    for name in sorted(names):
        with contextlib.suppress(OSError):  # it has just gone, or is a link that leads nowhere
            facts = (folder / name).stat()
            yield str(folder / name), facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino
