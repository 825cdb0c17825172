"""Keeps what was computed from files beside their sizes and times, so that it is computed once for all processes."""

import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bnlab.data.locations import cache_folder
from bnlab.errors import DataError

_VERSION = 1
"""Of the way in which values are computed: with another one, the values on disk are computed anew."""

_SETTLED_NS = 2 * 10**9
"""Age of a file below which its time may stay the same when it is written again: FAT counts in steps of 2 s."""

_Stamps = list[tuple[int, int, int, int]]
"""For each file its size, the times of its last change of content and of anything, in ns, and its inode."""

_of_this_process: dict[tuple[str, ...], tuple[_Stamps, str | None]] = {}
"""What the value is, and the files -> their stamps, and the value."""


class _Note(BaseModel):
    """What one file of the cache holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    what: str
    files: list[str]
    stamps: _Stamps
    value: str | None


def remembered(what: str, files: list[Path], compute: Callable[[], str | None]) -> str | None:
    """Return what ``compute`` returns for these files; it is called only where one of them is new or has changed.

    A file has changed if its size, times or inode have. Values are kept in this process and in the user's cache
    folder. Where that cannot be read or written, they are computed again by the next process.

    Args:
        what: Tells this value from others of the same files.
        files: The files that the value depends on.
        compute: Function without arguments that computes the value where it is not known.

    Raises:
        OSError: A file is not there, or may not be looked at.
    """
    names = [str(path.absolute()) for path in files]
    stamps = _stamps(names)
    key = (what, *names)
    known = _of_this_process.get(key)
    if known is None or known[0] != stamps:
        note = _read_note(what, names, stamps)
        known = (stamps, note.value if note else _computed(what, names, stamps, compute))
        _of_this_process[key] = known
    return known[1]


def _computed(what: str, names: list[str], stamps: _Stamps, compute: Callable[[], str | None]) -> str | None:
    newest = max(max(stamp[1:3]) for stamp in stamps)
    settled = time.time_ns() - newest > _SETTLED_NS
    value = compute()
    if settled and _stamps(names) == stamps:
        _write_note(_Note(version=_VERSION, what=what, files=names, stamps=stamps, value=value))
    return value


def _stamps(names: list[str]) -> _Stamps:
    facts = [Path(name).stat() for name in names]
    return [(fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns, fact.st_ino) for fact in facts]


def _place(what: str, names: list[str]) -> Path:
    digest = sha256("\0".join([what, *names]).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder().parent / "fingerprints" / f"{digest[:32]}.json"


def _read_note(what: str, names: list[str], stamps: _Stamps) -> _Note | None:
    try:
        note = _Note.model_validate_json(_place(what, names).read_bytes())
    except (OSError, DataError, ValidationError):  # DataError: the user has no home folder
        return None
    return note if (note.version, note.what, note.files, note.stamps) == (_VERSION, what, names, stamps) else None


def _write_note(note: _Note) -> None:
    """Write a file whole under another name, then give it its own: a process that reads meanwhile sees no half."""
    beside = None
    try:
        place = _place(note.what, note.files)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", delete=False) as file:
            beside = Path(file.name)
            file.write(note.model_dump_json().encode())
        beside.replace(place)
    except (OSError, DataError, ValueError):  # ValueError: pydantic writes no path that is not UTF-8
        if beside is not None:
            beside.unlink(missing_ok=True)
