"""Trains parts one after another in the process of the sweep, which has imported torch already."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.parts import read_part
from bnlab.sweeps.progress import Say
from bnlab.sweeps.worker import train_cohorts
from bnlab.training.interruption import Interruption

if TYPE_CHECKING:
    from bnlab.sweeps.checked_programs import CheckedPrograms


class ThisProcess:
    """Trains a part in each call of `watch`, which returns when the part has ended.

    Args:
        say: Called with each line of progress, since nobody can read files meanwhile.
        interruption: Asked after each step whether training should stop, with a checkpoint.
        checks: What was found when the sweep was prepared; None: each cohort is checked.
    """

    has_process_per_part: ClassVar[bool] = False

    def __init__(self, say: Say, interruption: Interruption, checks: "CheckedPrograms | None" = None) -> None:
        self._say = say
        self._checks = checks
        self._interruption = interruption
        self._waiting: deque[Path] = deque()

    def submit(self, parts: Sequence[Path]) -> None:
        """Keep some parts for `watch`; see `Backend`."""
        self._waiting.extend(parts)

    def watch(self, timeout_s: float) -> list[PartEnded]:  # noqa: ARG002
        """Train the next part, however long that takes; see `Backend`."""
        if not self._waiting:
            return []
        part = self._waiting.popleft()
        train_cohorts(read_part(part), part.parent, self._say, self._interruption, self._checks)
        return [PartEnded(part, None)]

    def cancel(self, *, at_once: bool = False) -> None:  # noqa: ARG002
        """Forget the parts that have not begun; see `Backend`."""
        self._waiting.clear()

    def close(self) -> None:
        """Hold nothing."""
