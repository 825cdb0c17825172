"""Reports in one sentence that a folder cannot be written to, before any work is done."""

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnlab.errors import ConfigError

LEAST_ROOM = 2**16
"""Bytes of a short run of a small network, without its weights."""


@contextlib.contextmanager
def saying_where_it_cannot_write(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into a sentence with a cure.

    Args:
        folder: The folder that is written to, which the message names.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"runs cannot be written to {folder}: {error.strerror or error}. "
            "Choose another place by --runs or BNLAB_RUNS."
        ) from error


def finds_no_room(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that a disk is full or that a quota is used up.

    Example:
        >>> finds_no_room(OSError(28, "No space left on device")), finds_no_room(OSError(2, "No such file"))
        (True, False)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        error = error.__cause__ or error.__context__
    return False


def check_writable(folder: Path) -> None:
    """Check that a sweep's folder can be created and written to, and has room for a short run; nothing is created.

    Raises:
        ConfigError: The folder cannot be created or written to.
    """
    with saying_where_it_cannot_write(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(LEAST_ROOM))
            file.flush()


def has_no_room(folder: Path) -> bool:
    """Return whether a folder has no room for a short run, or cannot be written to for that reason."""
    try:
        check_writable(folder)
    except ConfigError as error:
        return finds_no_room(error)
    return False
