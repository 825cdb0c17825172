"""Learning-rate range tests of configs, without folders and records."""

import functools
import logging
from collections.abc import Iterable, Iterator

from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked, check
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.stats.range_curve import RangeCurve
from bnlab.training.precision import computing_with
from bnlab.training.range_test import range_test

_log = logging.getLogger("bnlab")


def screen(configs: Iterable[RunConfig], lowest: float, highest: float) -> Iterator[RangeCurve]:
    """Run a range test for each config, from its initial weights, over as many steps as it would train for.

    Args:
        configs: The settings to test, equal but for the seed. Their learning rates and schedules are not used.
        lowest: The learning rate of the first step, above 0.
        highest: The learning rate of the last step, above ``lowest``.

    Raises:
        ConfigError: A setting that cannot work.
        DataError: The data are missing or damaged.
    """
    checked: Checked | None = None
    for config in configs:
        if checked is None:
            checked = check(config)
            for warning in checked.data.warnings:
                _say_once(warning)
        with computing_with(checked.num_threads, stream_seed(config.seed, "noise"), checked.device):
            run, _ = assemble(config, checked)
            yield range_test(run, lowest, highest, checked.plan.num_steps)


@functools.cache  # the arms of a test share their data
def _say_once(warning: str) -> None:
    _log.warning("%s", warning)
