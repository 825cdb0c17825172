"""Which runs of a sweep are trained together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bnlab.schema import RunConfig

Engine = Literal["vectorized", "sequential"]


@dataclass(frozen=True)
class PlannedCohort:
    """Runs that are trained together.

    Attributes:
        engine: How.
        configs: Of its runs, in order.
    """

    engine: Engine
    configs: tuple[RunConfig, ...]


def plan_cohorts(configs: Sequence[RunConfig], vectorizable: Callable[[str], bool]) -> list[PlannedCohort]:  # noqa: ARG001
    """Return the cohorts of a sweep, by a rule on its configs alone."""
    return [PlannedCohort("sequential", (config,)) for config in configs]
