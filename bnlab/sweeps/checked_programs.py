"""What `check` found of each program of a sweep: its runs differ in numbers that change nothing of it."""

import functools
import json
from collections.abc import Callable

import torch

from bnlab.data.opening import open_data
from bnlab.data.splits import DataSet
from bnlab.experiment.checking import Checked, check
from bnlab.schema import RunConfig
from bnlab.training.loop import Plan


class CheckedPrograms:
    """Checks the first config that it is given of each kind, and takes the same for granted of the others.

    Configs are of one kind if nothing but the seed, the learning rate and the initial weights differs. It serves one
    sweep: code and data may change before the next one.
    """

    def __init__(self) -> None:
        self._known: dict[str, Callable[[DataSet], Checked]] = {}

    def check(self, config: RunConfig) -> Checked:
        """Check that a config can be trained, unless one of its kind was checked before.

        Args:
            config: The config of a run.

        Raises:
            ConfigError: A setting that cannot work.
            DataError: The data are missing or damaged.
        """
        key = _what_matters(config)
        if key not in self._known:
            found = check(config)
            self._known[key] = functools.partial(
                _with_data, found.device, found.num_threads, found.plan, found.warnings
            )
        return self._known[key](open_data(config.data))  # the data sets of several programs may fill the memory


def _with_data(device: torch.device, num_threads: int, plan: Plan, warnings: list[str], data: DataSet) -> Checked:
    return Checked(data, device, num_threads, plan, warnings)


def _what_matters(config: RunConfig) -> str:
    """Return all of a config but the seed, the learning rate and the initial weights, which no check looks at."""
    facts = config.as_dict()
    del facts["seed"], facts["optim"]["lr"]
    for key in ("init", "init_std"):
        facts["model"].pop(key, None)
    return json.dumps(facts, sort_keys=True, default=str)
