"""Running statistics made precise: those of a whole population of inputs, at the weights as they are.

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
    """What `precise_batch_stats` has pooled.

    Attributes:
        num_layers: Layers whose running statistics were set.
        num_batches: Batches that went through the model.
        num_samples: Samples in them.
    """

    num_layers: int
    num_batches: int
    num_samples: int


def precise_batch_stats(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> PooledStatistics:
    """Set every running statistic of a model to that of a population, at the weights as they are.

    A running average trails the weights, weighs the last batches most, and remembers its start. Here all batches
    count alike. With n_b values per channel in batch b, by the law of total variance:

        mean = sum n_b mean_b / sum n_b
        var = sum n_b (var_b + (mean_b - mean)^2) / sum n_b,    var_b biased

    That is the biased variance of all values that the layer has met, whatever their cut into batches, and whatever
    the layer's momentum or its convention for running variances. Among several processes, each pools its own batches.

    The batches go through in training mode: every layer meets inputs that were normalized by *batch* statistics, as
    in training. That holds for layers that train with running statistics too (batch_population, batch_renorm): for
    the time of a batch these are the batch's own. Dropout and noise are on. Batches as in training (same size, in
    random order) give the statistics of training; 1,000 to 10,000 samples are enough.

    Takes part: any layer with the buffers running_mean or running_var or both (ours, torch's, anybody's), set to the
    moments of its *input* per channel, over batch and space; and any that declares a method ``batch_statistics(x)``,
    which returns buffer -> value for one input; values other than running_var are averaged over batches, weighted
    by n_b (the deviation of l1_batch is one). A layer that is not reached keeps what it had.

    Nothing else changes: not modes, gradients, other buffers or torch's random state; ``num_batches_tracked``
    neither, since it counts batches of training, which drive the plain average of momentum None and the schedule of
    batch_renorm. An error leaves the model as it was. Memory: the buffers three times, and one batch.

    Args:
        model: In any mode; on the device of the inputs.
        batches: Inputs, or tuples that begin with them, such as (inputs, labels); read once.

    Returns:
        How much was pooled.

    Raises:
        ConfigError: No batch, no layer with running statistics, none that met a value, or a batch that a layer refuses
            in training mode, such as a last one of a single sample (DataLoader: drop_last=True).

    Source:
        Wu & Johnson 2021, arXiv:2105.07576, section 3 (PreciseBN). They average batch variances; with the variance of
        the batch means added, the size of the batches drops out.

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
            functional_call(model, buffers, (inputs,))  # training mode moves these copies, not the model's own
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
    """Statistics of all inputs that one layer has met.

    Attributes:
        num_values: Values per channel.
        statistics: Buffer -> its value over all of them.
    """

    def __init__(self) -> None:
        self.num_values = 0
        self.statistics: dict[str, Tensor] = {}

    def see(self, x_NCS: Tensor, statistics: dict[str, Tensor]) -> None:
        """Take another input of the layer.

        Args:
            x_NCS: What came.
            statistics: Buffer -> its value for this input.
        """
        self.add(statistics, x_NCS.numel() // x_NCS.shape[1])

    def add(self, statistics: dict[str, Tensor], num_values: int) -> None:
        """Take the statistics of another batch.

        Args:
            statistics: Buffer -> value.
            num_values: Per channel.
        """
        self.num_values += num_values
        share = num_values / self.num_values
        seen = self.statistics or statistics
        moved = {name: value - seen[name] for name, value in statistics.items()}
        self.statistics = {name: seen[name] + share * moved[name] for name in statistics}
        if "running_mean" in moved and "running_var" in moved:
            self.statistics["running_var"] += share * (1 - share) * moved["running_mean"].square()


def _keeps_running_statistics(layer: nn.Module) -> bool:
    """Whether a layer has statistics that this page knows how to pool.

    Raises:
        ConfigError: It has others, and does not say how they come about.
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
    """Return whether a layer has running statistics that can be pooled, without complaint where it has others."""
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
    """Copy into a layer's buffers what belongs there; a mean that only its variance was taken around does not."""
    for name, buffer in layer.named_buffers(recurse=False):
        if name in statistics:
            buffer.copy_(statistics[name])


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Put a model into training mode; restore each module's own mode on the way out."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def pooling(pools: Mapping[nn.Module, Pool]) -> Iterator[None]:
    """Pool the input of each layer before it runs, and give the layer this batch's own statistics to run with.

    In eval mode too, so that a layer normalizes by batch statistics there.

    Args:
        pools: By layer.
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
