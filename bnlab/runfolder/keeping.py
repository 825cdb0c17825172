"""Keeping house among runs: remove them, move them, and write a note or tags beside them."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bnlab.errors import ConfigError, RunError
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.short_names import is_from_the_end

MARKS = "marks.json"
"""The file of a run's note and tags. It is the user's: no training writes it."""

MOST_NOTE = 1000
"""Letters of a note, so that a table can show it."""


@dataclass(frozen=True)
class Marks:
    """What a user wrote beside a run.

    Attributes:
        note: One line; empty if there is none.
        tags: Words, in the order in which they were given, each once.
    """

    note: str = ""
    tags: tuple[str, ...] = ()


def read_marks(folder: Path) -> Marks:
    """Return the note and the tags of a run; none where the file is missing or damaged.

    Args:
        folder: The folder of the run.
    """
    try:
        with open(f"{folder}{os.sep}{MARKS}", encoding="utf-8") as file:  # noqa: PTH123  (most runs have none: soon known)
            found = json.load(file)
        return Marks(str(found.get("note", "")), tuple(map(str, found.get("tags", []))))
    except (OSError, ValueError, AttributeError, TypeError):
        return Marks()


def write_marks(folder: Path, marks: Marks) -> None:
    """Write the note and the tags of a run; without any, the file goes.

    Args:
        folder: The folder of the run.
        marks: Its note, of one line, and its tags.

    Raises:
        ConfigError: A tag that a condition could not name, or a note that is too long.
        RunError: The folder cannot be written to.
    """
    for tag in marks.tags:
        if not tag or any(letter in tag for letter in ", =<>!~\t\n") or is_from_the_end(tag):
            raise ConfigError(
                f"a tag is one word without commas, spaces and the signs of conditions (= < > ! ~), got '{tag}'. "
                "Try letters, digits, - and _."
            )
    if len(marks.note) > MOST_NOTE or "\n" in marks.note:
        raise ConfigError(f"a note is one line of {MOST_NOTE} letters at most, got {len(marks.note)}. Make it shorter.")
    path, beside = folder / MARKS, folder / f".{MARKS}.tmp"
    try:
        if marks == Marks():
            path.unlink(missing_ok=True)
            return
        beside.write_text(json.dumps({"note": marks.note, "tags": list(marks.tags)}, ensure_ascii=False), "utf-8")
        beside.replace(path)
    except OSError as error:
        raise RunError(f"{folder} cannot be written to: {error.strerror}. Make room there.") from error


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder.

    Args:
        folder: The folder of a run.
    """
    return sum(
        os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  (os.walk gives text)
        for place, _, names in os.walk(folder)
        for name in names
    )


def remove_runs(folders: Sequence[Path], whole: Sequence[Path] = ()) -> None:
    """Remove runs. None goes while one of them is in training.

    Args:
        folders: The folders of the runs.
        whole: Folders of sweeps, which go with all that is in them; all of their runs are among ``folders``.

    Raises:
        RunBusyError: One of them is in training; nothing has been removed.
        RunError: A folder cannot be removed.
    """
    with ExitStack() as locks:
        for path in folders:
            locks.enter_context(RunFolder(path).locked())
        try:
            for path in dict.fromkeys([*folders, *whole]):
                shutil.rmtree(path)
            for parent in {path.parent for path in folders}:
                if parent.exists() and {path.name for path in parent.iterdir()} <= {".locks"}:
                    shutil.rmtree(parent)  # nothing is left but locks, which this process holds
        except OSError as error:
            raise RunError(f"{error.filename} cannot be removed: {error.strerror}. Remove it by hand.") from error


def move_runs(folders: Sequence[Path], target: Path) -> list[Path]:
    """Move runs into a folder, under their own names; return where they are then.

    Args:
        folders: The folders of the runs.
        target: The folder to move them into; it is made if it is missing.

    Raises:
        ConfigError: The folder has a run of one of these names, or two of the runs have one; nothing has been moved.
        RunBusyError: One of them is in training; nothing has been moved.
        RunError: A folder cannot be moved.
    """
    places = [target / path.name for path in folders]
    if taken := next((place for place in places if place.exists()), None):
        raise ConfigError(f"{taken} is there already. Remove that run (bnlab runs rm), or choose another folder.")
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise ConfigError(f"two of these runs are named {twice.name}: one folder holds one of them. Move one of them.")
    with ExitStack() as locks:
        for path in folders:
            locks.enter_context(RunFolder(path).locked())
        try:
            target.mkdir(parents=True, exist_ok=True)
            for path, place in zip(folders, places, strict=True):
                shutil.move(path, place)
        except OSError as error:
            raise RunError(f"{error.filename} cannot be moved: {error.strerror}. Choose another folder.") from error
    return places
