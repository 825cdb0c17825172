"""A backend that trains in this process, unless a test has something else happen to a part."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.parts import Part, read_part
from bnlab.sweeps.progress import ProgressFile, Say
from bnlab.sweeps.worker import train_cohorts

Happens = Callable[[list[str], Say], str | None]
"""(run ids of a part, tells of progress) -> why its worker died, or None."""


def ids_of_part(part: Part) -> list[str]:
    return [name for cohort in part.cohorts for name in cohort.run_ids]


class FakeBackend:
    """Keeps in mind which runs were submitted together, and what became of it.

    Args:
        happens: In place of training; None: runs are trained.
    """

    has_process_per_part: ClassVar[bool] = False

    def __init__(self, happens: Happens | None = None) -> None:
        self.happens = happens
        self.batches: list[list[list[str]]] = []
        self.cancelled: list[bool] = []
        self._waiting: list[Path] = []

    def submit(self, parts: Sequence[Path]) -> None:
        assert len(self.batches) < 20, "there is no end to it"
        self.batches.append([ids_of_part(read_part(part)) for part in parts])
        self._waiting += parts

    def watch(self, timeout_s: float) -> list[PartEnded]:  # noqa: ARG002
        if not self._waiting:
            return []
        part = self._waiting.pop(0)
        say = ProgressFile(part.parent / "progress").say
        if self.happens is not None:
            return [PartEnded(part, self.happens(ids_of_part(read_part(part)), say))]
        train_cohorts(read_part(part), part.parent, say)
        return [PartEnded(part, None)]

    def cancel(self, *, at_once: bool = False) -> None:
        self.cancelled.append(at_once)
        self._waiting.clear()

    def close(self) -> None:
        assert not self._waiting
