"""Records as lines of JSON: written one by one, read all at once."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bnlab.errors import DamagedRunError
from bnlab.records import Record
from bnlab.runfolder.shapes import RECORD, RECORDS, wrong_line

_BLOCK = 16_384
"""Bytes of a file's end that are read first: the last records of most runs fit in."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file as dictionaries. An incomplete last line is left out.

    Args:
        path: The file to read; a missing file has no lines.

    Raises:
        DamagedRunError: The file cannot be read, or a complete line is damaged; the lines before it have been yielded.
    """
    whole_lines = _whole_lines(path)
    try:  # one call for all lines takes half the time of a call for each
        records = RECORDS.validate_json(b"[%b]" % whole_lines.replace(b"\n", b","))
    except ValidationError:
        records = None
    if records is not None and all(map(_names_its_nulls, records)):
        yield from records
        return
    lines = whole_lines.split(b"\n")
    for number, line in enumerate(lines, 1):
        yield _read_line(path, number, line)


def in_order(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file as `read_lines` does, as long as their steps do not go back.

    Raises:
        DamagedRunError: They do, a complete line is damaged, or the file cannot be read.
    """
    step = 0
    for number, record in enumerate(read_lines(path), 1):
        if record["step"] < step:
            raise DamagedRunError(
                f"{path}, line {number} is damaged: step {record['step']} comes after step {step}, so that the file "
                "holds more than one training"
            )
        step = record["step"]
        yield record


class FileEnd(NamedTuple):
    """The end of a file of records.

    Attributes:
        text: Its last bytes, all of them where it has no more.
        size: How many bytes it has.
    """

    text: bytes
    size: int


def read_end(path: str | Path) -> FileEnd:
    """Read the end of a file of records.

    Args:
        path: The file to read.

    Raises:
        FileNotFoundError: The file is not there.
        DamagedRunError: The file cannot be read.
    """
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123  (half the time of Path.open, for each of thousands of runs)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _BLOCK))
            return FileEnd(file.read(), size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedRunError(f"{path} cannot be read: {error.strerror}") from error


def find_torn_line(name: str, end: FileEnd, size_then: int | None = None) -> str:
    """Return what is wrong with the lines of a file, if that can be seen without parsing them.

    A line near the end was cut, the file holds more than one training, or it has another size than it had.

    Args:
        name: The name of the file, for the sentence.
        end: The end of the file.
        size_then: The bytes that it had when training ended; None: that is not known.
    """
    text, size = end
    changed = "" if size_then in {None, size} else f"{name} has {size} bytes, and had {size_then} after training"
    if text.count(b"\n") - 1 == text.count(b'}\n{"kind": ') and text.count(b'{"kind": "end"') <= 1 and size <= _BLOCK:
        return changed  # as nearly always, and sooner known than by looking at each line
    lines = text.split(b"\n")[size > _BLOCK : -1]
    for number, line in enumerate(lines, 1):
        if not (line.startswith(b'{"kind": ') and line.endswith(b"}")):
            place = "a line near its end" if size > _BLOCK else f"line {number}"
            return f"{name}, {place} is damaged: it is no whole record"
    if sum(line.startswith(b'{"kind": "end"') for line in lines) > 1:
        return f"{name} holds more than one training"
    return changed


def read_first_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file as `read_lines` does, but read only as much of the file as is requested.

    Args:
        path: The file to read; a missing file has no lines.

    Raises:
        DamagedRunError: The file cannot be read, or a complete line is damaged.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _read_line(path, number, line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedRunError(f"{path} cannot be read: {error.strerror}") from error


def read_last_lines(path: str | Path, end: FileEnd | None = None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file from the last to the first, without diagnostics; an incomplete last line is left out.

    More than the end of the file is read only where that is requested, and diagnostics are not parsed.

    Args:
        path: The file to read.
        end: What `read_end` returned for it; None: it is read.

    Raises:
        FileNotFoundError: The file is not there.
        DamagedRunError: The file cannot be read, or a line is damaged; the lines after it have been yielded.
    """
    end = end or read_end(path)
    # the last one is incomplete, or empty; the first one may begin before the block
    lines = end.text.split(b"\n")[end.size > len(end.text) : -1]
    yield from _parsed_backwards(path, lines)
    if end.size > len(end.text):
        try:
            with open(path, "rb") as file:  # noqa: PTH123  (as above)
                before = file.read(end.size).split(b"\n")[:-1]
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DamagedRunError(f"{path} cannot be read: {error.strerror}") from error
        yield from _parsed_backwards(path, before[: len(before) - len(lines)])


def _parsed_backwards(path: str | Path, lines: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    for line in reversed(lines):
        if not line.startswith(b'{"kind": "diagnostic"'):
            yield _read_line(path, None, line)


def read_new_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a growing file behind a place, and the place behind the last of them.

    A line that is still being written is left for the next call, a damaged one is left out. A file that has become
    shorter, as that of a resumed run, is read from its beginning; one that cannot be read has no lines.

    Args:
        path: The file; where it is not there, it has no lines.
        start: Bytes of the file that were read before; 0: none.
    """
    try:
        with path.open("rb") as file:
            start = start if start <= file.seek(0, os.SEEK_END) else 0
            file.seek(start)
            whole = file.read().rpartition(b"\n")[0]
    except OSError:
        return [], 0
    lines = []
    for line in whole.split(b"\n"):
        with contextlib.suppress(ValidationError):
            lines.append(RECORD.validate_json(line))
    return lines, start + (len(whole) + 1 if whole else 0)


def lines_up_to(path: Path, step: int) -> str:
    """Return the lines of a file for steps up to one; unreadable lines are left out.

    Args:
        path: The file to read, which need not exist.
        step: The last step whose lines are returned.
    """
    lines = _whole_lines(path).decode(encoding="utf-8", errors="replace").splitlines()
    return "".join(f"{line}\n" for line in lines if _step_of(line) <= step)


def _read_line(path: str | Path, number: int | None, line: bytes) -> dict[str, Any]:
    """Return one line; its number, for the error's message, is None near the end of a file.

    Raises:
        DamagedRunError: The line is damaged.
    """
    place = "a line near its end" if number is None else f"line {number}"
    try:
        record: dict[str, Any] = RECORD.validate_json(line)
    except ValidationError as error:
        raise DamagedRunError(f"{path}, {place} is damaged: {wrong_line(error)}") from error
    if not _names_its_nulls(record):
        raise DamagedRunError(f"{path}, {place} is damaged: values that are null are not named under nonfinite")
    return record


def _names_its_nulls(record: dict[str, Any]) -> bool:
    values = record["values"]
    return None not in values.values() or all(
        key in record.get("nonfinite", ()) for key, value in values.items() if value is None
    )


def _whole_lines(path: Path) -> bytes:
    try:
        return path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DamagedRunError(f"{path} cannot be read: {error.strerror}") from error


def _step_of(line: str) -> float:
    try:
        return int(RECORD.validate_json(line)["step"])
    except ValidationError:  # damaged by a power failure; only timings can be: metrics are checked before
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
