"""BatchNorm with one part removed or replaced: centering only, scaling only, no learned scale, another deviation.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from bnlab.norms.batch import BatchNorm
from bnlab.norms.moments import axes_but_channel, channel_moments, per_channel, wide_dtype
from bnlab.norms.norm import Formula, Invariance
from bnlab.norms.options import check_eps, check_positive
from bnlab.norms.running_statistics import RunningNorm


class BatchCenterOnly(RunningNorm):
    """Give each channel mean 0 over the batch; do not change its scale.

    How much of BatchNorm's effect comes from removing the mean? Followed by `BatchScaleOnly` it is BatchNorm.

        y_c = weight_c * (x - mean_c) + bias_c,    mean_c = 1/m sum x,    m = N * prod(S)

    Training mode uses the batch's own mean and updates the running one: running = momentum * running + (1 - momentum) *
    batch. Eval mode uses the running one.

    Axes:
        N and S are reduced; m = N * prod(S) values per mean.

    Fails:
        It does not limit the scale of the activations, so it diverges where a plain network does: the
        default network with ReLU at learning rate 1 at step 12 (without a norm at step 9; BatchNorm trains to 0.95
        test accuracy in 600 steps; seed 0).

    Args:
        num_channels: C, the size of the input's axis 1.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. The mean is computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode (the output would be the bias).

    Source:
        Ours. Mean-only batch normalization, with weight normalization beside it: Salimans & Kingma 2016,
        arXiv:1602.07868.

    Example:
        >>> BatchCenterOnly(1)(torch.tensor([[0.0], [20.0]])).detach()
        tensor([[-10.],
                [ 10.]])
    """

    subtracts_mean: ClassVar[bool] = True
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_shift"})
    running_starts: ClassVar[Mapping[str, float]] = {"running_mean": 0.0}
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, momentum: float | None = 0.9, affine: bool = True) -> None:
        super().__init__(num_channels, momentum=momentum, affine=affine)

    def batch_statistics(self, x_NCS: Tensor) -> dict[str, Tensor]:
        """Return the mean of each channel."""
        wide = wide_dtype(x_NCS.dtype)
        return {"running_mean": x_NCS.mean(axes_but_channel(x_NCS), dtype=wide)}

    def scale_and_center(self, statistics: Mapping[str, Tensor]) -> tuple[None, Tensor]:
        """Return no scale, and the mean."""
        return None, statistics["running_mean"]


class BatchScaleOnly(RunningNorm):
    """Divide each channel by its standard deviation over the batch; do not center it.

    How much of BatchNorm's effect comes from fixing the scale of a channel, if its mean does not change?

        y_c = weight_c * x / sqrt(var_c + eps) + bias_c,    var_c = 1/m sum (x - mean_c)^2,    m = N * prod(S)

    The mean is used for the variance only. (Dividing by the root mean square would remove a part of the mean's effect
    too: x = mean + small noise would give about 1.)

    Training mode uses the batch's own (biased) variance and updates the running one: running = momentum * running + (1
    - momentum) * batch. Eval mode uses the running one.

    Axes:
        N and S are reduced; m = N * prod(S) values per variance.

    Fails:
        A channel whose mean is large compared with its deviation gives large outputs: mean 10 and deviation 0.1 give
        about 100, which saturate a sigmoid. The default network with sigmoid units diverges at learning rate 3 by step
        101, where both BatchNorm and no norm at all train (seed 0).

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. The variance is computed in float32 or wider.

    Buffers:
        running_var: (C,), biased, in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode (its variance would be 0).

    Source:
        Ours.

    Example:
        >>> BatchScaleOnly(1)(torch.tensor([[10.0], [14.0]])).detach().round(decimals=3)
        tensor([[5.],
                [7.]])
    """

    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_scale"})
    running_starts: ClassVar[Mapping[str, float]] = {"running_var": 1.0}
    vectorizable: ClassVar[bool] = True

    def __init__(
        self, num_channels: int, *, eps: float = 1e-5, momentum: float | None = 0.9, affine: bool = True
    ) -> None:
        check_eps(eps)
        super().__init__(num_channels, momentum=momentum, affine=affine)
        self.eps = eps

    def batch_statistics(self, x_NCS: Tensor) -> dict[str, Tensor]:
        """Return the variance of each channel, and the mean, which is needed to pool variances over batches."""
        mean_C, var_C = channel_moments(x_NCS)
        return {"running_mean": mean_C, "running_var": var_C}

    def scale_and_center(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """Return one over the standard deviation, and no center."""
        return torch.rsqrt(statistics["running_var"] + self.eps), None


class L1BatchNorm(RunningNorm):
    """Normalize by the mean absolute deviation in place of the standard deviation.

    Is the square in BatchNorm's variance needed, or does any measure of spread work?

        y_c = weight_c * (x - mean_c) / sqrt(deviation_c^2 + eps) + bias_c
        deviation_c = sqrt(pi / 2) * 1/m sum |x - mean_c|,    m = N * prod(S)

    sqrt(pi / 2) = 1.2533 makes the deviation of normal values their standard deviation.

    Training mode uses the batch's own mean and deviation and updates the running ones: running = momentum * running +
    (1 - momentum) * batch. Eval mode uses the running ones.

    Axes:
        N and S are reduced; m = N * prod(S) values per mean and deviation.

    Fails:
        The output's standard deviation is 1 for normal values only: about 0.92 for uniform ones, 1.13 for Laplace's,
        sqrt(2 / pi) = 0.80 for +-1. A channel that is 0 except for a share p of its values gets a standard
        deviation of about 0.4 / sqrt(p): 4.0 at p = 0.01, where BatchNorm gives 1.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the squared deviation, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_deviation: (C,), in input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode (its deviation would be 0).

    Source:
        Hoffer, Banner, Golan & Soudry 2018, arXiv:1803.01814, section 4. The place of eps is ours: in squared units,
        as in the other arms.

    Example:
        >>> L1BatchNorm(1)(torch.tensor([[0.0], [2.0]])).detach().round(decimals=3)  # deviation 1.2533
        tensor([[-0.7980],
                [ 0.7980]])
    """

    subtracts_mean: ClassVar[bool] = True
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_shift", "channel_scale"})
    running_starts: ClassVar[Mapping[str, float]] = {"running_mean": 0.0, "running_deviation": 1.0}
    vectorizable: ClassVar[bool] = True

    def __init__(
        self, num_channels: int, *, eps: float = 1e-5, momentum: float | None = 0.9, affine: bool = True
    ) -> None:
        check_eps(eps)
        super().__init__(num_channels, momentum=momentum, affine=affine)
        self.eps = eps

    def batch_statistics(self, x_NCS: Tensor) -> dict[str, Tensor]:
        """Return mean and scaled mean absolute deviation of each channel."""
        x = x_NCS.to(wide_dtype(x_NCS.dtype))
        mean_C = x.mean(axes_but_channel(x))
        distance_C = (x - per_channel(mean_C, x)).abs().mean(axes_but_channel(x))
        return {"running_mean": mean_C, "running_deviation": math.sqrt(math.pi / 2) * distance_C}

    def scale_and_center(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return one over the deviation, and the mean."""
        return torch.rsqrt(statistics["running_deviation"].square() + self.eps), statistics["running_mean"]


class BatchBiasOnly(BatchNorm):
    """Normalize as BatchNorm does, with a learned shift and a fixed scale.

    Is the learned scale needed, if the next linear map can scale as well?

        y_c = scale * (x - mean_c) / sqrt(var_c + eps) + bias_c

    Training mode uses the batch's own mean and (biased) variance, and updates the running ones: running = momentum *
    running + (1 - momentum) * batch. Eval mode uses the running ones.

    Axes:
        N and S are reduced; m = N * prod(S) values per mean and variance.

    Fails:
        Before a sigmoid or tanh, which are not homogeneous, no later layer can undo the scale: units stay in the
        middle of the curve at scale 1 and in its tails at 4. If the norm is the last layer of a residual branch, the
        usual start at scale 0 would never change.

    Args:
        num_channels: C, the size of the input's axis 1.
        scale: The factor of every channel, which training does not change; above 0. 1 in the fast CIFAR-10 trainings of
            hlb-CIFAR10 and airbench, 1/4 in Page's ResNet-9.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        weight: (C,), the scale: in BatchNorm's place in a state dict, but no parameter.
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), biased, in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode.

    Source:
        Jordan 2024, arXiv:2404.00498 (airbench), and Page 2019, "How to train your ResNet 7".

    Example:
        >>> norm = BatchBiasOnly(1, scale=0.25)
        >>> norm(torch.tensor([[0.0], [2.0]])).detach().round(decimals=3)
        tensor([[-0.2500],
                [ 0.2500]])
        >>> [name for name, _ in norm.named_parameters()]
        ['bias']
    """

    formula: ClassVar[Formula | None] = None  # BatchNorm's formula has a learned scale
    vectorizable: ClassVar[bool] = True

    def __init__(
        self, num_channels: int, *, scale: float = 1.0, eps: float = 1e-5, momentum: float | None = 0.9
    ) -> None:
        check_positive(scale=scale)
        super().__init__(num_channels, eps=eps, momentum=momentum)
        del self.weight
        self.register_buffer("weight", torch.full((num_channels,), float(scale)))
