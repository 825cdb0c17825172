"""The steps at which diagnostics are measured."""

import numpy as np

from bnlab.schema import MeasureScheduleConfig


def measured_steps(config: MeasureScheduleConfig, num_steps: int) -> frozenset[int]:
    """Return the steps to measure at: the first (0, before any update), the last, and those the config asks for.

    Args:
        config: The numbers of log-spaced and evenly spaced steps, the interval and single steps; all are combined.
        num_steps: The step that the run is planned to end at.

    Example:
        >>> config = MeasureScheduleConfig(log_spaced=3, evenly=2, every=None, at=[7])
        >>> sorted(measured_steps(config, 100))
        [0, 1, 7, 10, 50, 100]
    """
    steps = {0, num_steps, *config.at}
    if config.log_spaced:
        steps.update(np.geomspace(1, num_steps, config.log_spaced).round().astype(int).tolist())
    if config.evenly:
        steps.update(np.linspace(0, num_steps, config.evenly + 1).round().astype(int).tolist())
    if config.every:
        steps.update(range(0, num_steps + 1, config.every))
    return frozenset(step for step in steps if step <= num_steps)
