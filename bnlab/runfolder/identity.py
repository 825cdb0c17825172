"""The id of a run: a name with the most important settings, and a hash of all that can change its numbers."""

import hashlib
import os
from pathlib import Path

from bnlab.errors import DataError
from bnlab.schema import DataConfig

SCHEMA_VERSION = 1
"""The version of the files and of the numbers: increased when the same config would give other numbers."""

_fingerprints: dict[Path, tuple[tuple[int, ...], str]] = {}
"""Data files that this process has read -> their size and times, and their SHA-256."""


def data_fingerprint(config: DataConfig) -> str | None:
    """Return the SHA-256 of the file that data.path names; None for data sets with a name.

    A file is read once per process while its size and its times stay the same: every run of a sweep needs the value,
    more than once.

    Raises:
        DataError: The file cannot be read.
    """
    if config.name != "npz" or config.path is None:
        return None
    try:
        path = Path(config.path).expanduser()
    except RuntimeError as error:
        raise DataError(f"data.path={config.path}: there is no such user. Give the path of an .npz file.") from error
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a device such as /dev/zero has no end
            raise DataError(f"data.path={path} is no regular file. Give the path of an .npz file.")
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            known = _fingerprints.get(path.absolute())
            if known is None or known[0] != stamp:
                known = (stamp, hashlib.file_digest(file, "sha256").hexdigest())
                _fingerprints[path.absolute()] = known
            return known[1]
    except OSError as error:
        raise DataError(f"data.path={path} cannot be read: {error.strerror}. Give the path of an .npz file.") from error
