"""Optimizers, and the learning rate over time."""

import bisect
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bnlab.schema import AdamConfig, AnyOptimConfig, ScheduleConfig, SGDConfig
from bnlab.training.trained import names_of_map_weights, names_of_norms

_Kind = TypeVar("_Kind", bound=torch.optim.Optimizer)

_LEFT_ALONE = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods, besides ``step``, that torch tells its compiler to leave alone."""


def build_optimizer(
    model: nn.Module, norms: dict[str, nn.Module], config: SGDConfig | AdamConfig
) -> torch.optim.Optimizer:
    """Build the optimizer over all parameters of a model that require gradients.

    Weight decay applies to the weights of linear maps only, unless ``decay_norm_and_bias`` is true.

    Args:
        model: The network whose parameters are trained.
        norms: The norms of the network by role; their parameters get no weight decay.
        config: The kind of optimizer and its numbers.
    """
    decayed, undecayed = (
        [model.get_parameter(name) for name in names] for names in decayed_and_undecayed(model, norms, config)
    )
    if config.weight_decay == 0:  # then one group serves all, and a step costs one fused call instead of two
        decayed, undecayed = [*decayed, *undecayed], []
    groups = [parameter_group(decayed, config), {**parameter_group(undecayed, config), "weight_decay": 0.0}]
    return optimizer_over([group for group in groups if group["params"]], config)


def decayed_and_undecayed(
    model: nn.Module, norms: dict[str, nn.Module], config: AnyOptimConfig
) -> tuple[list[str], list[str]]:
    """Return the names of the parameters with weight decay, and of those without.

    Those of norms and biases have none, nor have parameters that are no weights of linear maps: the share of a residual
    branch, a class token, learned positions, embeddings. One that requires no gradient is not trained, and is neither.

    Args:
        model: The network whose parameters are sorted.
        norms: The norms of the network by role.
        config: The optimizer; only its ``decay_norm_and_bias`` matters here, not the amount of decay.
    """
    may_decay = names_of_map_weights(model) - names_of_norms(model, norms)
    decayed: list[str] = []
    undecayed: list[str] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if name in may_decay or config.decay_norm_and_bias else undecayed).append(name)
    return decayed, undecayed


def parameter_group(parameters: Sequence[nn.Parameter | Tensor], config: SGDConfig | AdamConfig) -> dict[str, Any]:
    """Return a parameter group for torch's optimizers: parameters, learning rate, weight decay and so on.

    Args:
        parameters: The parameters of the group.
        config: The optimizer's numbers, which hold for the whole group.
    """
    numbers: dict[str, Any] = {"params": list(parameters), "lr": config.lr, "weight_decay": config.weight_decay}
    if isinstance(config, SGDConfig):
        return {**numbers, "momentum": config.momentum, "nesterov": config.nesterov}
    return {**numbers, "betas": (config.beta1, config.beta2), "eps": config.eps}


def optimizer_over(groups: list[dict[str, Any]], config: SGDConfig | AdamConfig) -> torch.optim.Optimizer:
    """Return torch's optimizer over parameter groups.

    Args:
        groups: Parameter groups, as `parameter_group` returns them.
        config: The kind of optimizer: ``sgd``, ``adam`` or ``adamw``. The numbers come from the groups.
    """
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": without_compiler(torch.optim.SGD),
        "adam": without_compiler(torch.optim.Adam),
        "adamw": without_compiler(torch.optim.AdamW),
    }
    return kinds[config.name](groups, fused=True, **{key: groups[0][key] for key in groups[0] if key != "params"})


def without_compiler(kind: type[_Kind]) -> type[_Kind]:
    """Return the class of an optimizer whose use does not import torch's compiler.

    torch tells its compiler to leave these methods of optimizers alone, and imports it for that even where nothing is
    compiled: 1.3 s in each process that trains (findings/optimizers-import-the-compiler.sh). The methods without what
    torch wraps around them do the same.

    Args:
        kind: A class of torch.optim, or one of one's own.
    """
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in _LEFT_ALONE}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})


_NEXT_TO_NONE = 1e-9
"""Steps. A phase of the schedule shorter than this is empty, but for rounding."""


def build_schedule(config: ScheduleConfig, num_steps: int) -> Callable[[int], float]:
    """Return the learning rate's share at each step, 0 to num_steps - 1.

        constant   1
        cosine     (1 + cos(pi t)) / 2
        step       step_factor for each milestone that t has passed
        one_cycle  half a cosine from start_factor up to 1 at peak_at, then half a cosine down to 0

    t is the share of the steps made. A warmup multiplies the first three by a rise from 0 to 1.

    Args:
        config: The name of the schedule and its shape.
        num_steps: The number of optimizer steps of the whole run.

    Source:
        cosine by Loshchilov & Hutter 2016 (arXiv 1608.03983). one_cycle by Smith & Topin 2017 (arXiv 1708.07120), in
        the form of torch.optim.lr_scheduler.OneCycleLR.

    Example:
        >>> config = ScheduleConfig(name="cosine", warmup_share=0.0, milestones=[], step_factor=0.1, peak_at=0.3,
        ...                         start_factor=0.04)
        >>> [round(build_schedule(config, 4)(step), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    warmup_steps = round(config.warmup_share * num_steps)
    milestones = sorted(round(milestone * num_steps) for milestone in config.milestones)
    peak_step = config.peak_at * num_steps - 1
    rise, fall = peak_step, num_steps - 1 - peak_step  # in steps; next to none where the peak is the first or the last

    def share(step: int) -> float:
        if config.name == "one_cycle":
            if step <= peak_step and rise > _NEXT_TO_NONE:
                return _half_cosine(config.start_factor, 1.0, step / rise)
            return _half_cosine(1.0, 0.0, (step - peak_step) / fall) if fall > _NEXT_TO_NONE else 1.0
        warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        if config.name == "cosine":
            return warmup * _half_cosine(1.0, 0.0, step / num_steps)
        if config.name == "step":
            return warmup * float(config.step_factor ** bisect.bisect_right(milestones, step))
        return warmup

    return share


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
