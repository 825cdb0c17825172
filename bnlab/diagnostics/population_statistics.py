"""What norms with running statistics should stand for: the statistics of their inputs over the training images.

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
"""Added to both variances that are compared, as a norm adds eps: a channel that never moves has none."""


class Population(Pool):
    """What one norm has met: its statistics over all batches, and the moments of its inputs.

    Args:
        norm: Which says how many samples of a batch each of its statistics sees.

    Attributes:
        moments: ``running_mean`` and ``running_var`` of the inputs, whatever the norm itself keeps.
        parts: Mean and variance of each part of a batch that has statistics of its own, (parts, C) per batch.
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
        """Take another input."""
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
    """Return how many samples of an input the smallest of a norm's statistics sees in training mode.

    Args:
        norm: One that need not know bnlab: all samples.
        x_NCS: What it is given.
    """
    declared: Callable[[int, int], int] | None = getattr(norm, "samples_per_statistic", None)
    return len(x_NCS) if declared is None else declared(len(x_NCS), x_NCS.shape[2:].numel())


def poolable_norms(seen: Observation) -> dict[str, nn.Module]:
    """Return the norms by role whose running statistics can be compared with a population's."""
    return {role: norm for role, norm in seen.norms.items() if is_poolable(norm)}


def population(seen: Observation) -> dict[str, Population]:
    """Return, by role, what each norm meets over all training batches, and in each.

    In training mode, as running statistics see them: each layer's input is normalized by batch statistics, and dropout
    and noise are on. Pooled by the law of total variance.
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
