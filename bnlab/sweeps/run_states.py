"""The table of run states of a sweep in training: which state each run is in, and what moves it to another."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

MOST_DEATHS = 3
"""Times that a run may be in training when its worker dies, before it is given up."""


class RunState(Enum):
    """Where a run stands."""

    WAITING = "has no result, and no backend has it"
    SUBMITTED = "is in a part that a backend has"
    TRAINING = "is in training"
    BUSY = "was trained by another process when last seen"
    INTERRUPTED = "was stopped by a signal, and has a checkpoint"
    FINISHED = "has its result"
    FAILED = "failed as often as it may be tried"
    GIVEN_UP = "was lost, or did not begin, as often as it may be tried"


WAITING, SUBMITTED, TRAINING, BUSY, INTERRUPTED, FINISHED, FAILED, GIVEN_UP = RunState

FINAL = frozenset((FINISHED, FAILED, GIVEN_UP))
"""States that a run does not leave as long as the sweep is in training."""

NOT_FINAL = frozenset(RunState) - FINAL
"""States of runs that may still be trained."""

_MOVES: dict[str, tuple[frozenset[RunState], RunState]] = {
    # what happens        to a run in one of these states                  its new state
    "submit":            (frozenset((WAITING,)),                           SUBMITTED),
    "step":              (frozenset((SUBMITTED, INTERRUPTED)),             TRAINING),
    "find busy":         (frozenset((WAITING, SUBMITTED)),                 BUSY),
    "interrupt":         (frozenset((SUBMITTED, TRAINING)),                INTERRUPTED),
    "fail":              (frozenset((SUBMITTED, TRAINING, INTERRUPTED)),   WAITING),
    "fail, last try":     (frozenset((SUBMITTED, TRAINING, INTERRUPTED)),   FAILED),
    "lose":              (frozenset((TRAINING,)),                          WAITING),
    "lose, last try":     (frozenset((TRAINING,)),                          GIVEN_UP),
    "give up":           (frozenset((SUBMITTED,)),                         GIVEN_UP),
    "try again":         (frozenset((SUBMITTED, BUSY, INTERRUPTED)),       WAITING),
    "find result":       (NOT_FINAL,                                       FINISHED),
}  # fmt: skip
"""Every way from one state to another. What happens to a run in another state than these changes nothing: a line of
progress may come late."""


class RunStates:
    """The state of each run, and how often it failed and was lost.

    Args:
        retries: How often a run that failed is tried again.

    Attributes:
        reasons: Run id -> why the run has no result, as far as that is known.
        has_deaths: Whether a worker has died.
    """

    def __init__(self, retries: int) -> None:
        self._states: dict[str, RunState] = {}
        self._retries = retries
        self._failures: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.has_deaths = False

    def add(self, names: Iterable[str]) -> list[str]:
        """Add runs that are waiting to the table; return those that were not in it before.

        Args:
            names: The ids of runs that are wanted.
        """
        new = [name for name in names if name not in self._states]
        self._states |= dict.fromkeys(new, WAITING)
        return new

    def num_deaths(self, name: str) -> int:
        """Return how often a worker died that had a run in training."""
        return self._deaths[name]

    def those_in(self, *states: RunState, among: Iterable[str] | None = None) -> list[str]:
        """Return the runs in some states.

        Args:
            states: One or more states.
            among: The run ids to choose from; None: all of the table, in the order of the sweep.
        """
        names = self._states if among is None else among
        return [name for name in names if self._states.get(name) in states]

    def move(self, happened: str, *names: str) -> list[str]:
        """Move runs to their next states.

        Args:
            happened: A key of the table of moves.
            names: Run ids; one that is not in the table is left out.

        Returns:
            The runs that were in a state where this can happen.
        """
        before, after = _MOVES[happened]
        moved = [name for name in names if self._states.get(name) in before]
        self._states |= dict.fromkeys(moved, after)
        return moved

    def take(self, line: Mapping[str, Any]) -> bool:
        """Move runs by a line of progress; return whether a run failed that is not tried again.

        Args:
            line: A line of progress, as `Say` takes it.
        """
        self.move("step", *line.get("steps", {}))
        self.move("find busy", *line.get("busy", []))
        if line.get("ended", {}).get("status") == "interrupted":
            self.move("interrupt", line["ended"]["run_id"])
        are_over = [self.fail(name, line["reason"]) for name in line.get("failed", [])]
        return any(are_over)

    def fail(self, name: str, reason: str) -> bool:
        """Count a failure of a run; return whether it is not tried again."""
        is_last = self._failures[name] >= self._retries
        if self.move("fail, last try" if is_last else "fail", name):
            self._failures[name] += 1
            self.reasons[name] = reason
        return self._states.get(name) is FAILED

    def lose(self, name: str, death: str | None) -> None:
        """Count a death of the worker that had a run in training.

        Args:
            name: Run id; nothing is counted of a run that was not in training.
            death: Why the worker died, in one line; None: it ended, and the run has no result.
        """
        self.has_deaths |= death is not None
        is_last = self._deaths[name] + 1 >= MOST_DEATHS
        if self.move("lose, last try" if is_last else "lose", name):
            self._deaths[name] += 1
            self.give_reason(name, "its worker was lost", death)

    def give_reason(self, name: str, what: str, cause: str | None) -> None:
        """Note why a run has no result.

        Args:
            name: Id of the run that failed.
            what: What happened to the run.
            cause: Why that happened, in one line; None: nobody knows.
        """
        self.reasons[name] = what if cause is None else f"{what}: {cause}"
