"""Results that are there already, and that were trained without a logger that is asked for now."""

import contextlib
from collections.abc import Iterable

from bnlab.errors import RunError
from bnlab.records import ENDED
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig

_USUAL = "tensorboard"
"""It has no export: its files are written in training alone."""


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
