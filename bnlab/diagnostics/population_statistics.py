"""Population statistics: those of a norm's inputs over many training images, which running statistics should estimate.

Shape letters: N images, C channels, S any number of spatial axes, P parts of a batch with statistics of their own, M
samples in each.
"""

from collections.abc import Callable

from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Observation
from bnlab.diagnostics.passes import Named
from bnlab.norms.moments import channel_moments, wide_dtype
from bnlab.norms.precise import Pool, is_poolable, pooling

VARIANCE_FLOOR = 1e-5
"""Added to both variances that are compared, as a norm adds eps: a constant channel has variance 0."""


class Population(Pool):
    """One norm's statistics over all batches, and the mean and variance of its inputs.

    Args:
        norm: The norm; it declares how many samples of a batch each of its statistics uses.

    Attributes:
        moments: ``running_mean`` and ``running_var`` of the inputs, also for a norm that keeps other statistics.
        parts: Mean and variance of each part of a batch with statistics of its own, (parts, C) per batch.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self._norm = norm
        self._moments = Pool()
        self.parts: list[tuple[Tensor, Tensor]] = []

    @property
    def moments(self) -> Named:
        """Mean and variance over all inputs."""
        return self._moments.statistics

    def see(self, x_NCS: Tensor, statistics: Named) -> None:
        """Add one batch of the norm's inputs."""
        super().see(x_NCS, statistics)
        if not {"running_mean", "running_var"} <= statistics.keys():
            statistics = dict(zip(("running_mean", "running_var"), channel_moments(x_NCS), strict=True))
        self._moments.see(x_NCS, statistics)
        size = samples_per_statistic(self._norm, x_NCS)
        if size == len(x_NCS):
            self.parts.append((statistics["running_mean"][None], statistics["running_var"][None]))
            return
        x_PMCS = x_NCS[: len(x_NCS) // size * size].reshape(-1, size, *x_NCS.shape[1:]).to(wide_dtype(x_NCS.dtype))
        axes = [axis for axis in range(x_PMCS.dim()) if axis not in {0, 2}]
        self.parts.append((x_PMCS.mean(axes), x_PMCS.var(axes, correction=0)))


def samples_per_statistic(norm: nn.Module, x_NCS: Tensor) -> int:
    """Return the number of samples behind the smallest of a norm's statistics, in training mode.

    Args:
        norm: The norm; one that declares nothing uses all samples of the batch.
        x_NCS: The norm's input, one batch.
    """
    declared: Callable[[int, int], int] | None = getattr(norm, "samples_per_statistic", None)
    return len(x_NCS) if declared is None else declared(len(x_NCS), x_NCS.shape[2:].numel())


def poolable_norms(seen: Observation) -> dict[str, nn.Module]:
    """Return role -> norm, for norms whose running statistics can be compared with the population's."""
    return {role: norm for role, norm in seen.norms.items() if is_poolable(norm)}


def population(seen: Observation) -> dict[str, Population]:
    """Return role -> the norm's population statistics, over all training batches and for each of them.

    The passes are in training mode, as for running statistics: earlier norms use batch statistics, and dropout and
    noise are on. Batches are pooled by the law of total variance.
    """

    def compute(seen: Observation) -> dict[str, Population]:
        assert seen.passes is not None
        assert seen.probe is not None
        norms = poolable_norms(seen)
        pools = {norm: Population(norm) for norm in norms.values()}
        with pooling(pools):
            for batch in seen.probe.training_batches if norms else ():
                seen.passes.logits(batch.inputs)
        return {role: pools[norm] for role, norm in norms.items() if pools[norm].num_values}

    return seen.derived("population", compute)
