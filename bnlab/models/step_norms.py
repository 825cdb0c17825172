"""Norms inside a recurrent cell, where they are applied at each time step.

Statistics of a batch change over the first steps of a sequence, from the zeros that a cell begins with. So a norm with
running statistics can keep those of each time step apart, or one set for all of them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from bnlab.norms.norm import Norm


class NormsOfSteps(nn.ModuleDict):
    """The norms of the time steps of one place, ``step1`` ...; they share all parameters."""


def norm_of_steps(norm: nn.Module, num_steps: int, *, per_step: bool) -> nn.Module:
    """Return a norm for each time step, ``step1`` ..., or one norm for all of them.

    Those of single steps have running statistics of their own, and share all parameters. A norm without running
    statistics is the same at each step, and serves all of them. One with running statistics that serves all steps
    updates them at each of T steps, and keeps the T-th root of its momentum: so all steps of a pass have nearly equal
    weight, and a pass keeps as much of the old value as in other networks.

    Args:
        norm: A norm that was built for one place of the cell; it becomes that of the first step.
        num_steps: T, the number of time steps.
        per_step: Whether each time step has running statistics of its own.

    Source:
        Cooijmans et al. 2016 (arXiv 1603.09025), section 3, for statistics of each step with a shared scale and shift;
        the root of the momentum is ours.
    """
    if not cast("Norm", norm).keeps_running_statistics:
        return norm
    if per_step:
        shared = {id(parameter): parameter for parameter in norm.parameters()}
        others = [copy.deepcopy(norm, memo=dict(shared)) for _ in range(num_steps - 1)]
        return NormsOfSteps({f"step{step}": one for step, one in enumerate([norm, *others], 1)})
    divide: Callable[[int], None] | None = getattr(norm, "divide_updates", None)
    if divide is not None:
        divide(num_steps)
    return norm


def at_step(norm: nn.Module, step: int) -> nn.Module:
    """Return the norm of a time step.

    Args:
        norm: What `norm_of_steps` returned.
        step: The time step, from 0.
    """
    return norm[f"step{step + 1}"] if isinstance(norm, NormsOfSteps) else norm


@dataclass(frozen=True)
class Place:
    """A time step of a forward pass.

    Attributes:
        step: The time step, from 0.
        num_samples: N, the number of samples of the batch, those whose sequence has ended among them.
    """

    step: int
    num_samples: int


def normalized(norm: nn.Module, x_AC: Tensor, place: Place) -> Tensor:
    """Return the values of a time step, normalized.

    A single sample has no statistics of a batch: where all other sequences have ended, a norm with running statistics
    uses these, and does not update them.

    Args:
        norm: What `norm_of_steps` returned.
        x_AC: Values of the samples whose sequence has not ended.
        place: The time step.
    """
    one = at_step(norm, place.step)
    declared = cast("Norm", one)
    is_left_alone = len(x_AC) == 1 < place.num_samples
    if not (is_left_alone and one.training and declared.mixes_samples and declared.keeps_running_statistics):
        return cast("Tensor", one(x_AC))
    one.eval()
    try:
        return cast("Tensor", one(x_AC))
    finally:
        one.train()


def set_scale(norm: nn.Module, scale: float) -> None:
    """Set the scale of a norm, its parameter ``weight``, to a number; a norm without one stays as it is.

    Args:
        norm: What `norm_of_steps` returned; the norms of all steps share the parameter.
        scale: The value of each channel.
    """
    weight = getattr(at_step(norm, 0), "weight", None)
    if isinstance(weight, nn.Parameter):
        weight.fill_(scale)
