"""Writes log messages to a run's log.txt while it trains."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger("bnlab")


class _LogFile(logging.FileHandler):
    """A log file that ignores its own errors: a full disk is reported when records are written."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, if the file can be made."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Ignore the error; logging would print a traceback for every message."""

    def close(self) -> None:
        """Close the file; text that could not be written is lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def collecting_messages(path: Path) -> Iterator[None]:
    """Append the messages of the logger ``bnlab`` to a file, while the context lasts.

    Args:
        path: The log file; it is made if missing.
    """
    handler = _LogFile(path, encoding="utf-8", delay=True)  # where it cannot be made, the first message is lost
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
