"""A file of TensorBoard's events, written by the thread that trains.

TensorBoard's own writer has a thread of its own, which ends on a full disk with a traceback on the terminal.
"""

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

_numbers = itertools.count()


class EventFile:
    """An event file in a folder, under a name by which TensorBoard finds it and puts it behind the earlier ones.

    Args:
        folder: The folder of the run; it is made if it is missing.

    Raises:
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        try:
            self.write([Event(wall_time=now, file_version="brain.Event:2")])
        except OSError:
            self.abandon()
            raise

    def write(self, events: Iterable[Event]) -> None:
        """Append events, and hand them on to the system, so that a TensorBoard that is running shows them.

        Raises:
            OSError: The file cannot be written.
        """
        for one in events:
            self._records.write(one.SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: The file cannot be written.
        """
        self._records.close()

    def abandon(self) -> None:
        """Close a file that cannot be written; what is on disk stays, TensorBoard leaves out half an event."""
        with contextlib.suppress(OSError):  # it is closed all the same
            self._file.close()
