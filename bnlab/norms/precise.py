"""Precise running statistics: those of a whole population of inputs, at the present weights.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.instancenorm import _InstanceNorm

from bnlab.errors import ConfigError
from bnlab.norms.moments import channel_moments


@dataclass(frozen=True)
class PooledStatistics:
    """The amount of data behind the statistics that `precise_batch_stats` has set.

    Attributes:
        num_layers: Number of layers whose running statistics were set.
        num_batches: Number of batches that went through the model.
        num_samples: Number of samples in these batches.
    """

    num_layers: int
    num_batches: int
    num_samples: int


def precise_batch_stats(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> PooledStatistics:
    """Set every running statistic of a model to that of a population, at the present weights.

    A running average lags behind the weights, gives the last batches most weight, and contains its initial value. Here
    all batches have equal weight. With n_b values per channel in batch b, by the law of total variance:

        mean = sum n_b mean_b / sum n_b
        var = sum n_b (var_b + (mean_b - mean)^2) / sum n_b,    var_b biased

    That is the biased variance of all inputs of the layer, for any division into batches, any momentum and any
    convention for running variances. Among several processes, each pools its own batches.

    The batches go through in training mode: every layer gets inputs that were normalized by *batch* statistics, as
    in training. That includes layers that train with running statistics (batch_population, batch_renorm): during a
    batch, these are the batch's own. Dropout and noise are on. Batches as in training (same size, in
    random order) give the statistics of training; 1,000 to 10,000 samples are enough.

    Included are all layers with the buffers running_mean or running_var or both (bnlab's, torch's or others), which are
    set to the moments of the layer's *input* per channel, over batch and positions; and all that have a method
    ``batch_statistics(x)``, which returns buffer -> value for one input; values other than running_var are averaged
    over batches, weighted by n_b (the deviation of l1_batch is one). A layer without an input keeps its statistics.
    torch's own ``torch.optim.swa_utils.update_bn`` knows subclasses of torch's BatchNorm alone, and passes over all
    others without a word: after averaging weights, take this one.

    Nothing else changes: not modes, gradients, other buffers or torch's random state; ``num_batches_tracked``
    neither, since it counts training batches, for the plain average of momentum None and the schedule of batch_renorm.
    After an error the model is unchanged. Memory: the buffers three times, and one batch.

    Args:
        model: A model in any mode, on the device of the inputs.
        batches: Batches of inputs, or tuples that begin with the inputs, such as (inputs, labels); read once.

    Returns:
        The number of layers, batches and samples.

    Raises:
        ConfigError: There is no batch, no layer with running statistics, or none that got a value; or a layer refuses a
            batch in training mode, such as a last one of a single sample (DataLoader: drop_last=True).

    Source:
        Wu & Johnson 2021, arXiv:2105.07576, section 3 (PreciseBN). They average batch variances; with the variance of
        the batch means added, the result does not depend on the size of the batches.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> precise_batch_stats(model, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [4.0], [0.0]])])
        PooledStatistics(num_layers=1, num_batches=2, num_samples=5)
        >>> model[0].running_mean, model[0].running_var  # of 0, 2, 4, 4, 0
        (tensor([2.]), tensor([3.2000]))
    """
    layers = [module for module in model.modules() if _keeps_running_statistics(module)]
    if not layers:
        raise ConfigError(
            f"precise_batch_stats needs a layer with running statistics, got {type(model).__name__} without one. "
            "Use norm=batch or another norm that keeps them."
        )
    pools = {layer: Pool() for layer in layers}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    num_batches = num_samples = 0
    if isinstance(batches, Tensor):
        raise ConfigError("precise_batch_stats takes an iterable of batches, got one tensor. Pass [x].")
    with torch.no_grad(), torch.random.fork_rng(), _training(model), pooling(pools):
        for batch in batches:
            inputs = batch if isinstance(batch, Tensor) else batch[0]
            functional_call(model, buffers, (inputs,))  # training mode updates these copies
            num_batches += 1
            num_samples += inputs.shape[0]
    reached = {layer: pool for layer, pool in pools.items() if pool.num_values > 0}
    if not reached:
        what = "no batch" if num_batches == 0 else f"{num_batches} batch(es) that gave none of its norms a value"
        raise ConfigError(
            f"precise_batch_stats needs at least one batch with values in it, got {what}. "
            "An iterator can be read only once: pass a list or a fresh one."
        )
    with torch.no_grad():
        for layer, pool in reached.items():
            _set_buffers(layer, pool.statistics)
    return PooledStatistics(len(reached), num_batches, num_samples)


class Pool:
    """Statistics of all inputs of one layer.

    Attributes:
        num_values: Number of values per channel so far.
        statistics: Name of a buffer -> its value over all inputs so far.
    """

    def __init__(self) -> None:
        self.num_values = 0
        self.statistics: dict[str, Tensor] = {}

    def see(self, x_NCS: Tensor, statistics: dict[str, Tensor]) -> None:
        """Add the statistics of another input of the layer.

        Args:
            x_NCS: The input of the layer (N, C, *S).
            statistics: Name of a buffer -> its value for this input.
        """
        self.add(statistics, x_NCS.numel() // x_NCS.shape[1])

    def add(self, statistics: dict[str, Tensor], num_values: int) -> None:
        """Add the statistics of another batch.

        Args:
            statistics: Name of a buffer -> its value for this batch.
            num_values: Number of values per channel in this batch.
        """
        self.num_values += num_values
        share = num_values / self.num_values
        seen = self.statistics or statistics
        moved = {name: value - seen[name] for name, value in statistics.items()}
        self.statistics = {name: seen[name] + share * moved[name] for name in statistics}
        if "running_mean" in moved and "running_var" in moved:
            self.statistics["running_var"] += share * (1 - share) * moved["running_mean"].square()


def _keeps_running_statistics(layer: nn.Module) -> bool:
    """Return whether a layer has running statistics that can be pooled.

    Raises:
        ConfigError: The layer has other running statistics, and no method that computes them.
    """
    own = {name for name, buffer in layer.named_buffers(recurse=False) if buffer is not None}
    if not own:
        return False
    if isinstance(layer, _InstanceNorm):
        raise ConfigError(
            f"precise_batch_stats knows statistics over a batch; {type(layer).__name__} averages those of single "
            "samples. Give it track_running_stats=False, as its paper does."
        )
    if callable(getattr(layer, "batch_statistics", None)) or own & {"running_mean", "running_var"}:
        return True
    if getattr(layer, "keeps_running_statistics", False):
        raise ConfigError(
            f"{type(layer).__name__} keeps running statistics under other names than running_mean and running_var: "
            f"{', '.join(sorted(own))}. Give it a method batch_statistics(x) that returns buffer name -> value."
        )
    return False


def is_poolable(layer: nn.Module) -> bool:
    """Return whether a layer has running statistics that can be pooled; False, not an error, if it has others."""
    with suppress(ConfigError):
        return _keeps_running_statistics(layer)
    return False


def _statistics_of(layer: nn.Module, x_NCS: Tensor) -> dict[str, Tensor]:
    declared: Callable[[Tensor], dict[str, Tensor]] | None = getattr(layer, "batch_statistics", None)
    if declared is not None:
        return declared(x_NCS)
    mean_C, var_C = channel_moments(x_NCS)
    return {"running_mean": mean_C, "running_var": var_C}


def _set_buffers(layer: nn.Module, statistics: dict[str, Tensor]) -> None:
    """Copy statistics into the buffers of the same name; those without a buffer are only needed for others."""
    for name, buffer in layer.named_buffers(recurse=False):
        if name in statistics:
            buffer.copy_(statistics[name])


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Put a model into training mode; restore the mode of each module at the end."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def pooling(pools: Mapping[nn.Module, Pool]) -> Iterator[None]:
    """Add the input of each layer to its pool before the layer runs, and set its buffers to this batch's statistics.

    So a layer normalizes by batch statistics in eval mode too.

    Args:
        pools: Layer -> the pool for its statistics, which is changed in place.
    """

    def listen(layer: nn.Module, args: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
        x_NCS = next(iter((*args, *options.values())))
        if x_NCS.numel() > 0:
            statistics = _statistics_of(layer, x_NCS)
            pools[layer].see(x_NCS, statistics)
            _set_buffers(layer, statistics)

    hooks = [layer.register_forward_pre_hook(listen, with_kwargs=True) for layer in pools]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
