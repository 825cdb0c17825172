"""Learning-rate range tests of configs, without folders and records."""

from collections.abc import Iterable, Iterator

from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked, check
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.stats.range_curve import RangeCurve
from bnlab.training.precision import computing_with
from bnlab.training.range_test import range_test


def screen(configs: Iterable[RunConfig], lowest: float, highest: float) -> Iterator[RangeCurve]:
    """Make a range test of each config, from its initial weights, over as many steps as it would train for.

    Args:
        configs: What to test, alike but for the seed; their own learning rates and schedules are not used.
        lowest: The first learning rate.
        highest: The last one.

    Raises:
        ConfigError: A setting that cannot work.
        DataError: The data are not there, or damaged.
    """
    checked: Checked | None = None
    for config in configs:
        checked = checked or check(config)
        with computing_with(checked.num_threads, stream_seed(config.seed, "noise"), checked.device):
            run, _ = assemble(config, checked)
            yield range_test(run, lowest, highest, checked.plan.num_steps)
