"""Short words for a run: the last ones, the digits at the end of its name, the beginning of its name."""

import re
from collections.abc import Sequence
from pathlib import Path

from bnlab.errors import ConfigError

FROM_THE_END = "run:"
"""Before -1, -2 in words that typer shall not read as options."""

_PLACE = re.compile(rf"last|(?:{FROM_THE_END})?-[1-9]\d{{0,5}}")
_DIGITS = re.compile(r"[0-9a-f]{8}")
MOST_LISTED = 4
"""Runs that a message lists."""


def is_from_the_end(word: str) -> bool:
    """Return whether a word means a run by its place in time: ``last``, ``-1``, ``-2``.

    Args:
        word: The word, as it was typed.
    """
    return bool(_PLACE.fullmatch(word))


def find_short_name(word: str, runs: Sequence[Path]) -> Path | None:
    """Return the run that a short word means; None if it means none.

    Args:
        word: ``last`` or ``-1`` (the run that was trained last), ``-2`` (the one before), the 8 digits at the end of a
            run's name, or the beginning of the name of one run.
        runs: The folders of all runs.

    Raises:
        ConfigError: There are fewer runs than ``-N`` asks for, or several runs have these digits or this beginning.
    """
    if not word:
        return None
    if is_from_the_end(word):
        return _from_the_end(1 if word == "last" else -int(word.removeprefix(FROM_THE_END)), runs)
    found = [path for path in runs if path.name.endswith(f"-{word}")] if _DIGITS.fullmatch(word) else []
    found = found or [path for path in runs if path.name.startswith(word)]
    if len(found) > 1:
        listed = ", ".join(str(path) if _is_twice(path, found) else path.name for path in found[:MOST_LISTED])
        more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
        raise ConfigError(f"{word} could be one of {len(found)} runs: {listed}{more}. Type more of the name.")
    return found[0] if found else None


def _is_twice(path: Path, found: Sequence[Path]) -> bool:
    return sum(other.name == path.name for other in found) > 1


def _from_the_end(number: int, runs: Sequence[Path]) -> Path:
    if number > len(runs):
        has = {0: "there are no runs yet: bnlab train trains one", 1: "there is 1 run"}.get(
            len(runs), f"there are {len(runs)} runs"
        )
        raise ConfigError(f"run -{number} does not exist: {has}. Those there are: bnlab list runs")
    return sorted(runs, key=_trained_at)[-number]


def _trained_at(path: Path) -> tuple[int, str]:
    """Return when a run last began or ended; 0 if nothing says so. Runs of one cohort differ by name."""
    try:
        return (path / "manifest.json").stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
