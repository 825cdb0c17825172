"""What to type where the files of a run are damaged."""

import shlex
from pathlib import Path

from bnlab.errors import RunError
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.shapes import PLAN, read_what_fits

_NOT_TYPED = {"", "-", "-c"}
"""Commands of Python programs that have no file."""

_UNKNOWN = "Train the run again, by the command that trained it."


def how_to_train_again(folder: RunFolder) -> str:
    """Return the command that trains a run again and no other, in a sentence; --again would train its whole sweep.

    Args:
        folder: The folder of the run. Where its manifest tells no command, that of its sweep is the command.
    """
    plan, problems = read_what_fits(folder.path.parent / "sweep.json", PLAN)
    try:
        command = str(folder.read_manifest()["command"])
    except (RunError, KeyError):
        if problems:
            return _UNKNOWN
        command = shlex.join(["bnlab", "sweep", *plan["overrides"]])
    if command in _NOT_TYPED:
        return _UNKNOWN
    if folder.read_finished() is None or "--again" in command.split():
        return f"Train the run again: {command}"
    if command.startswith("bnlab train") and problems == ["sweep.json is missing"]:
        return f"Train the run again: {command} --again"
    return f"Remove {folder.path}, then the same command trains this run again: {command}"


def with_cure(problem: str, folder: Path) -> str:
    """Return what is wrong with a run, and what to type; a run that was copied or renamed is wrong in its name alone.

    Args:
        problem: What is wrong, as the column ``problem`` of its row says it.
        folder: The folder of the run.
    """
    return problem if "copied or renamed" in problem else f"{problem}. {how_to_train_again(RunFolder(folder))}"
