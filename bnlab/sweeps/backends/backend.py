"""The protocol between a sweep and the processes or jobs that train its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

END_WITHIN_S = 60.0
"""Seconds that a part in training has for one more step and a checkpoint, before its process or job is killed."""


@dataclass(frozen=True)
class PartEnded:
    """A part that nobody trains any more.

    It does not say which runs have a result: their folders do.

    Attributes:
        part: The file of the part, as it was given to `Backend.submit`.
        death: Why the process or job that trained the part died, in one line; None: it came to the end of the part.
    """

    part: Path
    death: str | None


class Backend(Protocol):
    """Trains parts of a sweep, several at a time.

    The sweep calls it from one thread: it submits parts, then calls `watch` again and again until each of them has
    ended. Further parts may be submitted while others are in training. How far a part has come is told by the progress
    files beside the part, which the sweep reads between two calls of `watch`.

    Attributes:
        has_process_per_part: Whether each part starts a process that has to import torch first, which takes seconds.
            A sweep is then cut into few parts.
    """

    has_process_per_part: ClassVar[bool]

    def submit(self, parts: Sequence[Path]) -> None:
        """Have some parts trained; return before they are.

        Args:
            parts: Files that `Part.write` wrote, in a folder that every worker can read.
        """

    def watch(self, timeout_s: float) -> list[PartEnded]:
        """Return the parts that have ended since the last call, each part once.

        Args:
            timeout_s: Seconds to wait for the first of them. The call returns sooner where a part has ended, or where
                no part is left.
        """

    def cancel(self, *, at_once: bool = False) -> None:
        """End all parts that are left, and wait until they have ended. `watch` does not return them any more.

        A part that has not begun never begins. A part in training stops by itself after its step, with a checkpoint,
        where the sweep has written the file `HALT` beside the parts; a cluster kills it after `END_WITHIN_S`.

        Args:
            at_once: Kill the processes of this machine without waiting for checkpoints, as Ctrl-C does. A cluster's
                jobs have the time for a checkpoint all the same.
        """

    def close(self) -> None:
        """Give back what the backend holds, such as its connection to a cluster. No part may be left."""


def in_one_line(error: BaseException) -> str:
    r"""Return the first line of an error's message; its class where it has no message.

    Example:
        >>> in_one_line(ValueError("no such partition\nsee above"))
        'no such partition'
    """
    if isinstance(error, MemoryError):  # which has no message, or one of numpy's
        return "a worker has no memory left; give it more, or try fewer --jobs"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
