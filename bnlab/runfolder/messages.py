"""What is logged while a run trains: into its log.txt."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger("bnlab")


class _LogFile(logging.FileHandler):
    """A log file whose own trouble stays out of sight: of a full disk one is told by whoever writes the records."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Say nothing, where logging would print a traceback for every message."""

    def close(self) -> None:
        """Close it; what could not be written is lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def collecting_messages(path: Path) -> Iterator[None]:
    """Append what the logger ``bnlab`` is told meanwhile to a file.

    Args:
        path: Of the file.
    """
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        handler.close()
