"""Records as lines of JSON: written one by one, read all at once."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bnlab.errors import RunError
from bnlab.records import Record


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file as dictionaries. An incomplete last line is left out.

    Args:
        path: The file to read; a missing file has no lines.

    Raises:
        RunError: A complete line is damaged; the lines before it have been yielded.
    """
    whole_lines = _whole_lines(path)
    try:  # one call for all lines takes half the time of a call for each
        yield from json.loads(b"[%b]" % whole_lines.replace(b"\n", b","))
        return
    except ValueError:
        lines = whole_lines.split(b"\n")
    for number, line in enumerate(lines, 1):
        yield _read_line(path, number, line)


def read_first_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file as `read_lines` does, but read only as much of the file as is requested.

    Args:
        path: The file to read; a missing file has no lines.

    Raises:
        RunError: A complete line is damaged.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _read_line(path, number, line)
    except FileNotFoundError:
        return


def read_new_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a growing file behind a place, and the place behind the last of them.

    A line that is still being written is left for the next call, a damaged one is left out. A file that has become
    shorter, as that of a resumed run, is read from its beginning.

    Args:
        path: The file; where it is not there, it has no lines.
        start: Bytes of the file that were read before; 0: none.
    """
    try:
        with path.open("rb") as file:
            start = start if start <= file.seek(0, os.SEEK_END) else 0
            file.seek(start)
            whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
        return [], 0
    lines = []
    for line in whole.split(b"\n"):
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines, start + (len(whole) + 1 if whole else 0)


def lines_up_to(path: Path, step: int) -> str:
    """Return the lines of a file for steps up to one; unreadable lines are left out.

    Args:
        path: The file to read, which need not exist.
        step: The last step whose lines are returned.
    """
    lines = _whole_lines(path).decode(encoding="utf-8", errors="replace").splitlines()
    return "".join(f"{line}\n" for line in lines if _step_of(line) <= step)


def _read_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """Return one line.

    Raises:
        RunError: The line is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise RunError(f"{path}, line {number} is damaged: {error}") from error
    return facts


def _whole_lines(path: Path) -> bytes:
    try:
        return path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return b""


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (
        ValueError,
        LookupError,
        TypeError,
    ):  # damaged by a power failure; only timings can be: metrics are checked before
        return math.inf


def record_line(record: Record) -> str:
    """Return a record as one line of JSON; NaN and infinity are null, and named under ``nonfinite``.

    Example:
        >>> from bnlab.records import StepRecord
        >>> record_line(StepRecord(step=3, values={"loss": float("inf")})).partition(", ")[2]
        '"step": 3, "split": "train", "name": null, "values": {"loss": null}, "nonfinite": {"loss": "inf"}}'
    """
    facts: dict[str, Any] = {
        "kind": record.kind,
        "step": record.step,
        "split": record.split,
        "name": record.name,
    }
    odd = {key: str(value) for key, value in record.values.items() if not math.isfinite(value)}
    facts["values"] = {key: None if key in odd else value for key, value in record.values.items()}
    if odd:
        facts["nonfinite"] = odd
    return json.dumps(facts)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        path: The file, such as manifest.json.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise RunError(f"{path} cannot be read: it holds no JSON object")
    return facts
