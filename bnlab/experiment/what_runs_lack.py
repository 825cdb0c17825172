"""Results that are there already, and lack what is asked for now: a logger, or weights."""

import contextlib
from collections.abc import Iterable

from bnlab.errors import RunError
from bnlab.records import ENDED
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig

_USUAL = "tensorboard"
"""It has no export: its files are written in training alone."""


def about_what_it_lacks(runs: Iterable[tuple[RunFolder, RunConfig]]) -> list[str]:
    """Return a sentence for each thing that finished runs lack and that they are asked for with: loggers, weights.

    Args:
        runs: Runs, and the configs that they are asked for with. Those without a result are left out.
    """
    found = list(runs)
    return [*about_other_loggers(found), *about_missing_weights(found)]


def about_other_loggers(runs: Iterable[tuple[RunFolder, RunConfig]]) -> list[str]:
    """Return a sentence for each logger that finished runs were trained without: they are not trained again for it.

    Args:
        runs: Runs and the configs that they are asked for with. Those without a result are left out.
    """
    without: dict[str, list[RunFolder]] = {}
    for folder, config in runs:
        wanted = [name for name in dict.fromkeys(config.loggers) if name != _USUAL]
        if not wanted:
            continue
        with contextlib.suppress(RunError):
            manifest = folder.read_manifest()
            had = manifest.get("config", {}).get("loggers") or []
            for name in wanted if manifest.get("status") in ENDED else ():
                if name not in had:
                    without.setdefault(name, []).append(folder)
    return [_sentence(name, folders) for name, folders in without.items()]


def _sentence(logger: str, folders: list[RunFolder]) -> str:
    first = folders[0].path
    if len(folders) == 1:
        return (
            f"{first.name} was trained without loggers=[{logger}] and is not trained again: "
            f"bnlab export {first} --to {logger}"
        )
    return (
        f"{len(folders)} runs were trained without loggers=[{logger}] and are not trained again: "
        f"bnlab export {first.parent} --to {logger}"
    )


def about_missing_weights(runs: Iterable[tuple[RunFolder, RunConfig]]) -> list[str]:
    """Return a sentence on finished runs that were trained without keeping weights, and are asked for with them.

    Args:
        runs: Runs that have a result, and the configs that they are asked for with.
    """
    without = []
    for folder, config in runs:
        if config.train.keep_weights and not folder.checkpoint_path.exists():
            with contextlib.suppress(RunError, KeyError, TypeError):  # a damaged manifest
                if folder.read_manifest()["config"]["train"].get("keep_weights") is False:
                    without.append(folder)
    if not without:
        return []
    if len(without) == 1:
        return [f"{without[0].path.name} has no weights and is not trained again for them. --again trains it anew."]
    return [f"{len(without)} runs have no weights and are not trained again for them. --again trains them anew."]
