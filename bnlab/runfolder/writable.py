"""Reports in one sentence that a folder cannot be written to, before any work is done."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnlab.errors import ConfigError


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


def check_writable(folder: Path) -> None:
    """Check that a sweep's folder can be created and written to; nothing is created.

    Raises:
        ConfigError: The folder cannot be created or written to.
    """
    with saying_where_it_cannot_write(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
