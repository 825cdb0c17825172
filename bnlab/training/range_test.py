"""A learning-rate range test: a short training with a rising learning rate, which leaves the run unchanged."""

import contextlib
import copy
import math
import random
from collections.abc import Iterator

import numpy as np
import torch

from bnlab.errors import ConfigError
from bnlab.stats.range_curve import RangeCurve
from bnlab.training.cohort import SingleRun

GIVEN_UP_AT = 20.0
"""Times the first loss. Beyond it, the loss only grows until it is infinite."""


def range_test(run: SingleRun, lowest: float, highest: float, num_steps: int) -> RangeCurve:
    """Train a copy of a run with a learning rate that rises by a constant factor; leave the run itself untouched.

        lr_t = lowest * (highest / lowest) ** (t / (T - 1))        t = 0 ... T - 1

    Weights, buffers, modes, gradients, the optimizer's state, the order of batches, and the random states of torch,
    NumPy and Python are restored bit by bit, even if the test is interrupted. Data that a layer keeps outside of the
    network, such as a hook that writes into a list, are not restored.

    The test ends early when the loss is not finite, or 20 times the first one. It waits for the device at each step.

    Args:
        run: The run to test, at any step of its training; its batches, clipping, accumulation and precision are used.
        lowest: The learning rate of the first step, above 0.
        highest: The learning rate of the last step, above ``lowest``.
        num_steps: T, the number of steps, 2 or more; a hundred per decade of learning rates are usual.

    Raises:
        ConfigError: The range or the number of steps is impossible.

    Source:
        Smith 2015 (arXiv 1506.01186). Running on a copy: the finders of several libraries have left weights, running
        statistics or the optimizer changed.
    """
    if not 0 < lowest < highest < math.inf or num_steps < 2:
        raise ConfigError(
            f"a range test needs 0 < lowest < highest and 2 steps or more, got {lowest:g} to {highest:g} in {num_steps}"
        )
    factor = (highest / lowest) ** (1 / (num_steps - 1))
    lrs: list[float] = []
    losses: list[float] = []
    is_whole = False
    with _untouched(run):
        trial = copy.copy(run)
        trial.model, trial.optimizer = copy.deepcopy((run.model, run.optimizer))
        trial.lr, trial.schedule = lowest, lambda step: factor**step
        for step, (loss, _, _) in enumerate(trial.steps()):
            losses.append(loss.item())  # the loss of the weights after the previous update
            is_whole = step == num_steps
            if is_whole or not losses[-1] <= GIVEN_UP_AT * losses[0]:
                break
            lrs.append(trial.lr * trial.schedule(step))
    return RangeCurve(tuple(lrs), tuple(losses[1:]), losses[0], is_whole)


@contextlib.contextmanager
def _untouched(run: SingleRun) -> Iterator[None]:
    """Restore the stream of batches and all random states at the end; model and optimizer are copies anyway."""
    device = run.probe.inputs.device
    batches, for_python, for_numpy = run.batches.state(), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            run.batches.load_state(batches)
            random.setstate(for_python)
            np.random.set_state(for_numpy)
