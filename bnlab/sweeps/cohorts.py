"""Which runs of a sweep are trained together: by a rule on their configs, never by a timing.

So the same sweep has the same cohorts everywhere and at any time, whatever of it is already there and however many
workers there are: a run's bits depend on the size of its cohort.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.errors import ConfigError
from bnlab.schema import RunConfig

Engine = Literal["vectorized", "sequential"]

MOST_TOGETHER = 8
"""Runs of one cohort. On one core, 16 are as fast per run as 8 at width 32, and slower at width 100, where their
weights leave the cache; and more cohorts keep more workers busy."""

_WIDEST = {"mlp": (128, 256)}
"""Model -> the widest layers for which many at once are faster on a CPU: without a norm, and with one.

Small layers cost their calls, wide ones their arithmetic, and only the calls are shared. Speed per run of 8 together,
on one core, data of 784 numbers, batches of 60: at width 32, 2.0 times that of one alone without a norm and 3.4 with
norm=batch; at 100, 1.2 and 1.8; at 128, 1.1 and 1.5; at 256, 0.9 and 1.15. Convolutions of several networks at once
are slower than one after another (0.6 to 1.05 on images of 28x28), so that models which are not named here go alone."""

_LARGEST_PART = 16_384
"""Images that go through the network at a time, times width, without a norm: beyond, arithmetic is all there is."""


@dataclass(frozen=True)
class PlannedCohort:
    """Runs that are trained together.

    Attributes:
        engine: How.
        configs: Of its runs, in order.
    """

    engine: Engine
    configs: tuple[RunConfig, ...]


def plan_cohorts(configs: Sequence[RunConfig], vectorizable: Callable[[str], bool]) -> list[PlannedCohort]:
    """Return the cohorts of a sweep, in the order of their first runs.

    Runs that differ in numbers only share a program, and are cut in the order of the sweep into cohorts of equal size
    (to within one run) of at most `MOST_TOGETHER`. What is trained one by one is a cohort by itself.

    Args:
        configs: Of all runs of the sweep, finished or not, in order.
        vectorizable: Name of a norm -> whether many runs with it can be one program.

    Raises:
        ConfigError: ``sweep.engine=vectorized`` where that cannot be.
    """
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(program(config), []).append(config)
    engine_of = {key: _choose_engine(group, vectorizable) for key, group in groups.items()}
    cohorts: list[PlannedCohort] = []
    for config in configs:
        key = program(config)
        if engine_of[key] == "sequential":
            cohorts.append(PlannedCohort("sequential", (config,)))
        elif key in groups:  # else its group has been cut already
            cohorts += [PlannedCohort("vectorized", part) for part in _cut(groups.pop(key))]
    return cohorts


def program(config: RunConfig) -> str:
    """Return all of a config but the numbers in which runs of one program may differ."""
    facts = config.as_dict()
    del facts["seed"]
    _forget(facts["model"], "init", "init_std")
    _forget(facts["optim"], "lr", "weight_decay", "momentum", "beta1", "beta2", "eps")
    facts["optim"]["clip_norm"] = facts["optim"]["clip_norm"] is not None
    return json.dumps(facts, sort_keys=True, default=str)


def _forget(facts: dict[str, Any], *keys: str) -> None:
    for key in keys:
        facts.pop(key, None)


def _choose_engine(group: Sequence[RunConfig], vectorizable: Callable[[str], bool]) -> Engine:
    """Return how the runs of one program are trained.

    Raises:
        ConfigError: As they asked to be, they cannot be.
    """
    config = group[0]
    asked = config.sweep.engine
    if asked == "sequential":
        return asked
    if asked == "vectorized":
        if config.train.precision != "float32":
            raise ConfigError(
                f"sweep.engine=vectorized needs train.precision=float32, got {config.train.precision}. "
                "Use sweep.engine=auto."
            )
        if not vectorizable(config.norm.name):
            raise ConfigError(
                f"sweep.engine=vectorized needs a norm that declares itself vectorizable, got norm={config.norm.name}. "
                "Use sweep.engine=auto."
            )
        return asked
    can = config.train.precision == "float32" and config.device != "mps" and vectorizable(config.norm.name)
    return "vectorized" if can and len(group) > 1 and _is_faster(config) else "sequential"


def _is_faster(config: RunConfig) -> bool:
    if config.model.name not in _WIDEST:
        return False
    without, with_norm = _WIDEST[config.model.name]
    if config.norm.name == "none" or config.placement == "input":
        return config.model.width <= without and config.model.width * config.train.part_size <= _LARGEST_PART
    return config.model.width <= with_norm


def _cut(group: Sequence[RunConfig]) -> list[tuple[RunConfig, ...]]:
    num_cohorts = -(-len(group) // MOST_TOGETHER)
    size, num_larger = divmod(len(group), num_cohorts)
    parts, start = [], 0
    for number in range(num_cohorts):
        end = start + size + (number < num_larger)
        parts.append(tuple(group[start:end]))
        start = end
    return parts
