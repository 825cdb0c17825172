"""What became of a study before: its earlier verdicts, the criteria with which it began, the looks at its runs."""

import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnlab.config.folders import conf_folder
from bnlab.errors import ConfigError, StudyError
from bnlab.runfolder.whole_files import write_whole
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.studies.study_file import TUNING_SEEDS_FROM, ScaleName
from bnlab.studies.study_search import Study

FOLDER = "studies"
"""The folder below that of all runs in which the verdicts of studies are kept."""

MOST_HALVINGS = 40
"""Unplanned looks after which the share of the error is halved no more: it is below one in a million million."""


@dataclass(frozen=True)
class Asked:
    """A study at one scale, with one number of seeds.

    Attributes:
        study: The study.
        scale: The scale.
        seeds: How many seeds are judged.
        runs: The folder of all runs.
        options: What was typed besides the name, the scale and further seeds, to be typed again; begins with a blank.

    Raises:
        ConfigError: Its seeds would reach those of tuning.
    """

    study: Study
    scale: ScaleName
    seeds: int
    runs: Path
    options: str = ""

    def __post_init__(self) -> None:
        """Check that the seeds that decide are none of those that tune.

        Raises:
            ConfigError: They are.
        """
        if self.seed_range.stop > TUNING_SEEDS_FROM:
            raise ConfigError(
                f"{self.study.name}: its seeds must stay below {TUNING_SEEDS_FROM}, where the seeds of tuning begin, "
                f"got {self.seed_range.start} to {self.seed_range.stop - 1}."
            )

    @property
    def seed_range(self) -> range:
        """The seeds."""
        first = self.study.file.first_seed
        return range(first, first + self.seeds)

    @property
    def place(self) -> str:
        """Where its file lies; of one of bnlab's, its name."""
        path = self.study.path
        return path.name if path.parent == conf_folder() / "study" else str(path.absolute())

    @property
    def path(self) -> Path:
        """The file of its verdict."""
        return self.runs / FOLDER / f"{self.study.name}-{self.scale}.json"

    @property
    def command(self) -> str:
        """The command that gives the verdict."""
        scale = "" if self.scale == "quick" else f" --scale {self.scale}"
        more = self.seeds - self.study.file.scales[self.scale].seeds
        seeds = f" --more-seeds {more}" if more > 0 and "--until-decided" not in self.options else ""
        return f"bnlab study {shlex.quote(self.study.typed)}{scale}{seeds}{self.options}"


def read_verdict(path: Path) -> dict[str, Any] | None:
    """Return what the file of a verdict holds; None where there is none, or it is damaged."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        history = found.get("history") if isinstance(found, dict) else None
        if isinstance(history, list) and all(isinstance(entry, dict) for entry in history):
            return dict(found)
    return None


def seeds_judged(asked: Asked) -> int:
    """Return the largest number of seeds at which the runs were judged by the same criterion: no verdict takes fewer.

    Else one could look at 3, 5 and 8 seeds, and keep the verdict that one likes.

    Args:
        asked: The study, its scale and its seeds.

    Raises:
        StudyError: The verdict that is there is one on another file.
    """
    found = read_verdict(asked.path)
    if found is None:
        return 0
    if found.get("file", asked.place) != asked.place:
        raise StudyError(
            f"{asked.path} holds the verdict on another file, {found['file']}. Rename {asked.study.path.name}, or take "
            "another folder by --runs."
        )
    criterion = asked.study.file.criterion_hash(asked.scale)
    numbers = [entry.get("n") for entry in found["history"] if entry.get("criterion_sha256") == criterion]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def set_aside_if_damaged(path: Path) -> str:
    """Move the file of a verdict aside where it cannot be read; return a sentence on it, empty where it can be read.

    Args:
        path: The file, which need not exist.
    """
    if not path.exists() or read_verdict(path) is not None:
        return ""
    kept = path.with_suffix(".damaged")
    path.replace(kept)
    return f"The file of earlier verdicts could not be read; it is {kept.name} now, and its looks are not counted."


def looks_to_share(planned: Sequence[int], made: Sequence[int], now: int) -> int:
    """Return among how many looks the error is shared at this one, so that any number of looks keeps the error rate.

    With K planned looks, each of them may err by 1 / (K + 1) of the error. The last share is for looks that nobody
    planned: the first of them may err by half of it, the second by a quarter, and so on, which never adds up to more.

    Args:
        planned: Numbers of seeds at which looks were planned.
        made: Numbers of seeds at which the runs have been judged, in order.
        now: The number of seeds at which they are judged now.

    Source:
        Bonferroni with unequal shares; a spending rule whose unplanned part is geometric. Ours.

    Example:
        >>> [looks_to_share([5, 10, 20], [5, 10, 20, 25], n) for n in (5, 20, 25, 30)]
        [4, 4, 8, 16]
    """
    shares = len(planned) + 1
    if now in planned:
        return shares
    unplanned = list(dict.fromkeys([*(n for n in made if n not in planned), now]))
    return shares * int(2 ** min(unplanned.index(now) + 1, MOST_HALVINGS))


def note_begin(asked: Asked) -> None:
    """Keep which criterion a study has when its training begins: one that is changed before the verdict is told too.

    Args:
        asked: The study, its scale and its seeds.
    """
    criterion = asked.study.file.criterion_hash(asked.scale)
    begun = read_begun(asked)
    if not begun or begun[-1]["criterion_sha256"] != criterion:
        begun.append({"made": datetime.now(UTC).isoformat(timespec="seconds"), "criterion_sha256": criterion})
        replace_text(_begun_path(asked), json.dumps(begun, indent=1) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, whoever else writes it meanwhile.

    Args:
        path: The file; its folder is made.
        text: What it will hold.

    Raises:
        ConfigError: It cannot be written to.
    """
    with saying_where_it_cannot_write(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def _begun_path(asked: Asked) -> Path:
    return asked.path.with_suffix(".begun")


def read_begun(asked: Asked) -> list[dict[str, Any]]:
    """Return with which criteria training of a study has begun; none where the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_begun_path(asked).read_text(encoding="utf-8"))
        if isinstance(found, list) and all(isinstance(one, dict) and "criterion_sha256" in one for one in found):
            return found
    return []


def how_it_changed(before: Sequence[Mapping[str, Any]], criterion: str) -> str:
    """Return a sentence on runs that were begun or judged by other criteria; empty where there are none.

    Args:
        before: What was begun, then what was judged, each with its criterion.
        criterion: The criterion now.
    """
    others = [entry for entry in before if entry.get("criterion_sha256") != criterion]
    if not others:
        return ""
    verdicts = [entry for entry in others if "verdict" in entry]
    when = str(others[-1].get("made"))[:10]
    what = f"judged by another one ({verdicts[-1]['verdict']}, {when})" if verdicts else f"begun ({when})"
    proves = "A criterion that was chosen after the runs proves nothing."
    return f"The criterion was changed after runs had been {what}. {proves}"
