"""Files that a reader sees whole: the old one, until the new one is complete."""

import os
import threading
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all, whoever else writes or reads it meanwhile.

    Args:
        path: The file, in a folder that is there. What a link leads to is replaced, not the link.
        content: What it will hold; text is written as UTF-8.

    Raises:
        OSError: It cannot be written; the old file stays, and no part of the new one.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except BaseException:  # Ctrl-C, for one
        beside.unlink(missing_ok=True)
        raise
