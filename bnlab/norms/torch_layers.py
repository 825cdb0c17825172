"""Torch's own layers as arms: the references that bnlab's are held against.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

from torch import Tensor, nn

from bnlab.norms.moments import check_has_variance, check_input
from bnlab.norms.norm import Formula, Invariance
from bnlab.norms.options import check_eps, check_momentum, check_switches, turned_round


class TorchBatchNorm(nn.BatchNorm2d):
    """Run torch's own BatchNorm: the reference arm that bnlab's is held against.

    Training and eval mode are torch's: normalization by the biased variance, running average of the
    *unbiased* one. Only the sense of ``momentum`` is turned round, so that a setting means the same in every
    arm: the share of the *old* running value that is kept (0.9 here is torch's 0.1). Once built, the layer's
    attribute ``momentum`` is torch's.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]; None: the plain average.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S); unlike nn.BatchNorm2d, for any number of spatial axes.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode.

    Source:
        torch.nn.BatchNorm1d, 2d and 3d, which share one implementation.

    Example:
        >>> TorchBatchNorm(3, momentum=0.9).momentum
        0.1
    """

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True
    mixes_samples: ClassVar[bool] = True
    formula: ClassVar[Formula | None] = "batch"
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_shift", "channel_scale"})

    def __init__(
        self, num_channels: int, *, eps: float = 1e-5, momentum: float | None = 0.9, affine: bool = True
    ) -> None:
        check_eps(eps)
        check_momentum(momentum)
        check_switches(affine=affine)
        super().__init__(num_channels, eps=eps, momentum=turned_round(momentum), affine=affine)

    def _check_input_dim(self, input: Tensor) -> None:
        check_input(input, self.num_features)
        if self.training:
            check_has_variance(input)
