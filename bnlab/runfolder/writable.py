"""Places that cannot be written to: said in a sentence, before work is done for them."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnlab.errors import ConfigError


@contextlib.contextmanager
def saying_where_it_cannot_write(folder: Path) -> Iterator[None]:
    """Turn what the system says of a place that cannot be written to into a sentence with a cure.

    Args:
        folder: The place.

    Raises:
        ConfigError: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"runs cannot be written to {folder}: {error.strerror or error}. "
            "Choose another place by --runs or BNLAB_RUNS."
        ) from error


def check_writable(folder: Path) -> None:
    """Make sure that a sweep's folder can be made and written to; nothing is left behind.

    Raises:
        ConfigError: It cannot.
    """
    with saying_where_it_cannot_write(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
