"""Which runs of a sweep are trained together: by a rule on their configs, never by a timing.

So the same sweep has the same cohorts on every machine and at any time, however many of its runs have a result already
and however many workers there are: the float32 bits of a run depend on the size of its cohort.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.errors import ConfigError
from bnlab.identity.run_id import run_id
from bnlab.schema import RunConfig
from bnlab.schema_models import OwnModelConfig, RecurrentConfig

Engine = Literal["vectorized", "sequential"]

MOST_TOGETHER = 8
"""Most runs of one cohort. On one core, 16 runs are as fast per run as 8 at width 32, and slower at width 100, where
their weights leave the cache; and more cohorts keep more workers busy."""

_WIDEST = {"mlp": (128, 256), "rnn": (64, 128), "lstm": (32, 128)}
"""Model -> the widest layers for which training many runs together is faster on a CPU: without a norm, and with one.

The time of a small layer is spent on calls, the time of a wide one on arithmetic, and only the calls are shared. Speed
per run of 8 runs together, compared with one run alone, on one core, data of 784 numbers, batches of 60: at width 32,
2.0 without a norm and 3.4 with norm=batch; at 100, 1.2 and 1.8; at 128, 1.1 and 1.5; at 256, 0.9 and 1.15.
Recurrent nets over 28 rows of 28 pixels: rnn at width 64, 1.6 without a norm and 3.9 with norm=layer; at 128, 1.1 and
2.3. lstm at width 16, 2.8 and 5.8; at 32, 1.3 without a norm; at 64, 1.2 and 2.3; at 128, 0.6 and 1.4; at 256, 0.3 and
0.5.
Convolutions of several networks together are slower than one after another (0.6 to 1.05 on images of 28x28): models
that are not named here are trained one by one."""

_LARGEST_PART = 16_384
"""Most images per forward pass, times width, of networks without a norm: beyond, nearly all time is spent on
arithmetic."""

_LARGEST_PART_OF_SEQUENCES = 8_192
"""The same of recurrent nets, with and without a norm: an lstm of width 64 with norm=layer is 2.3 times as fast with
batches of 60, and half as fast with batches of 240."""

_FEWEST_STEPS_OF_SEQUENCES = 800
"""Steps of all runs of a cohort, from which on recurrent nets are worth a program. Each time step has operations of its
own there: tracing an lstm with norm=batch over 28 rows took 12 s, as long as 200 steps of one run alone, when this was
measured, and the steps of 8 runs save half of their time. It takes a seventh of that now; the number stays, since it
decides which runs are trained together, and so their float32 bits."""


@dataclass(frozen=True)
class PlannedCohort:
    """Runs that are trained together.

    Attributes:
        engine: ``vectorized``: all runs in one program; ``sequential``: one run alone.
        configs: The configs of its runs, in the order of the sweep.
        planned_ids: The ids that its runs had where the sweep was planned; None: those that they have here.
    """

    engine: Engine
    configs: tuple[RunConfig, ...]
    planned_ids: tuple[str, ...] | None = None

    @functools.cached_property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of its runs, in their order."""
        return self.planned_ids or tuple(map(run_id, self.configs))


def plan_cohorts(configs: Sequence[RunConfig], vectorizable: Callable[[str], bool]) -> list[PlannedCohort]:
    """Return the cohorts of a sweep, in the order of their first runs.

    Runs that differ in numbers only share a program. They are cut, in the order of the sweep, into cohorts of equal
    size (to within one run) of at most `MOST_TOGETHER`. A run that is trained alone is a cohort by itself.

    Args:
        configs: The configs of all runs of the sweep, finished or not, in the order of the sweep.
        vectorizable: Name of a norm -> whether many runs with it can be trained in one program.

    Raises:
        ConfigError: ``sweep.engine=vectorized`` for runs that cannot be vectorized.
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
    """Return a config as text, without the numbers in which runs of one program may differ."""
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
        ConfigError: ``sweep.engine=vectorized`` for runs that cannot be vectorized.
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
        if _depends_on_values(config):
            raise ConfigError(
                f"sweep.engine=vectorized cannot train model={config.model.name} model.skip_padding=true: how many "
                "sequences still run at a time step depends on the data. Use sweep.engine=auto."
            )
        return asked
    can = config.train.precision == "float32" and config.device != "mps" and vectorizable(config.norm.name)
    return "vectorized" if can and len(group) > 1 and _is_faster(config, len(group)) else "sequential"


def _depends_on_values(config: RunConfig) -> bool:
    """Return whether the number of operations depends on the values of the images."""
    return bool(getattr(config.model, "skip_padding", False))


def _is_faster(config: RunConfig, num_runs: int) -> bool:
    if isinstance(config.model, OwnModelConfig) or config.model.name not in _WIDEST or _depends_on_values(config):
        return False
    without, with_norm = _WIDEST[config.model.name]
    has_norm = config.norm.name != "none" and config.placement != "input"
    if config.model.width > (with_norm if has_norm else without):
        return False
    size = config.model.width * config.train.part_size
    if isinstance(config.model, RecurrentConfig):
        return size <= _LARGEST_PART_OF_SEQUENCES and _repays_its_program(config.model, config.train.steps, num_runs)
    return has_norm or size <= _LARGEST_PART


def _repays_its_program(model: RecurrentConfig, num_steps: int | None, num_runs: int) -> bool:
    """Return whether the steps of a cohort of recurrent nets save more time than tracing their program takes.

    A sequence of pixels has hundreds of time steps, and takes minutes to trace. Where epochs are given, how many steps
    they have depends on the data: they are taken to be enough.
    """
    in_smallest = num_runs // _num_cohorts(num_runs)
    return model.sequence == "rows" and (num_steps is None or num_steps * in_smallest >= _FEWEST_STEPS_OF_SEQUENCES)


def _num_cohorts(num_runs: int) -> int:
    return -(-num_runs // MOST_TOGETHER)


def _cut(group: Sequence[RunConfig]) -> list[tuple[RunConfig, ...]]:
    num_cohorts = _num_cohorts(len(group))
    size, num_larger = divmod(len(group), num_cohorts)
    parts, start = [], 0
    for number in range(num_cohorts):
        end = start + size + (number < num_larger)
        parts.append(tuple(group[start:end]))
        start = end
    return parts
