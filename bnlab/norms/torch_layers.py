"""Torch's own layers as arms: the references for bnlab's own.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.norms.group import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from bnlab.norms.moments import channels_are_innermost, check_has_variance, check_input, per_channel
from bnlab.norms.norm import Formula, Invariance
from bnlab.norms.options import check_eps, check_momentum, check_switches, turned_round

FAR = 30
"""Standard deviations from 0 beyond which torch 2.14's batch norm for a CPU loses digits with the channels last: at 10
its output errs by 2e-4 on (128, 64, 32, 32), at 100 by 1e-3, at 10,000 by 6. A copy with the channels first errs by
1e-3 at 10,000, but makes the layer six times as slow, so that not every input gets one."""


class TorchBatchNorm(nn.BatchNorm2d):
    """Run torch's own BatchNorm: the reference arm for bnlab's own.

    Training mode and eval mode are torch's: normalization by the biased variance, running average of the
    *unbiased* one. Only ``momentum`` is converted, so that a setting means the same in every arm: the share
    of the *old* running value that is kept (0.9 here is torch's 0.1). The attribute ``momentum`` of the layer is
    torch's.

    Axes:
        N and S: N * prod(S) values per channel and statistic.

    Fails:
        As `bnlab.norms.batch.BatchNorm`. With few values per channel the running variance is larger than the variance
        that training normalized by, by a factor of m/(m-1): 7% at 15 values. With the channels last in memory torch's
        layer loses digits of means far from 0 on a CPU (torch 2.14); beyond 30 standard deviations this arm hands it a
        copy with the channels first.

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

    def forward(self, input: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics too."""
        is_inexact = self.training and input.device.type == "cpu" and input.dim() > 2 and channels_are_innermost(input)
        if not is_inexact or input.is_contiguous() or not _is_far_from_zero(input):
            return super().forward(input)
        return super().forward(input.contiguous()).movedim(1, -1).contiguous().movedim(-1, 1)

    def divide_updates(self, num_updates: int) -> None:
        """Take so many updates as one, as `bnlab.norms.norm.Norm.divide_updates` does; torch's momentum is 1 - ours.

        Args:
            num_updates: The number of updates of a pass.
        """
        if self.momentum is not None:
            self.momentum = 1 - (1 - self.momentum) ** (1 / num_updates)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply what ``.to()``, ``.half()`` and the like do, but keep float32: torch wants one type for all tensors.

        In float16 a running variance is infinite above 65504. The input may be of half precision all the same.
        """

        def in_float32(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            narrowed = new.is_floating_point() and new.itemsize < 4 <= tensor.itemsize
            return tensor.to(new.device) if narrowed else new

        return super()._apply(in_float32, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def _check_input_dim(self, input: Tensor) -> None:
        check_input(input, self.num_features)
        if self.training:
            check_has_variance(input)


def _is_far_from_zero(x_NCS: Tensor) -> bool:
    """Return whether a channel's mean is more than `FAR` standard deviations from 0, judged by the first samples."""
    if x_NCS.numel() == 0 or torch.compiler.is_compiling():  # a compiler computes the statistics in its own way
        return False
    var_C, mean_C = torch.var_mean(x_NCS[:2].detach().movedim(1, 0).flatten(1), dim=1, correction=0)
    return bool((mean_C.square() > FAR**2 * var_C).any())


class _TorchGroups(GroupNorm):
    """The common computation of three arms: torch's group norm, whose affine is per channel.

    The input is handed over with its channels first in memory. For channels last, torch 2.14's kernel for the CPU takes
    the variance as E[x^2] - E[x]^2: at a mean of 100 deviations its output errs by 0.01, at 10,000 by 1,000.
    """

    def _normalize(self, x_NCS: Tensor) -> Tensor:
        y_NCS = F.group_norm(x_NCS.contiguous(), self.num_groups, self.weight, self.bias, self.eps)
        return y_NCS.movedim(1, -1).contiguous().movedim(-1, 1) if channels_are_innermost(x_NCS) else y_NCS


class TorchGroupNorm(_TorchGroups):
    """Run torch's own GroupNorm: the reference arm for bnlab's own.

    Training and eval mode are the same.

    Axes:
        C/G and S, inside one sample: C/G * prod(S) values per statistic.

    Fails:
        As `bnlab.norms.group.GroupNorm`. For groups of one value torch's layer returns the bias; this arm raises an
        error. With the channels last in memory and means far from 0, torch's layer is wrong on a CPU (torch 2.14); this
        arm hands it a copy with the channels first.

    Args:
        num_channels: C, the size of the input's axis 1.
        num_groups: G, which must divide C.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype.

    Source:
        torch.nn.functional.group_norm. Wu & He 2018, arXiv:1803.08494.
    """

    vectorizable: ClassVar[bool] = True


class TorchLayerNorm(LayerNorm, _TorchGroups):
    """Run torch's own LayerNorm, affine per channel: the reference arm for bnlab's own.

    torch.nn.LayerNorm learns a scale per position of an image; this is torch's group norm with one group, which
    computes the same and learns one per channel.

    Training and eval mode are the same.

    Axes:
        C and S, inside one sample: C * prod(S) values per statistic.

    Fails:
        As `bnlab.norms.group.LayerNorm`.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype.

    Source:
        torch.nn.functional.group_norm. Ba, Kiros & Hinton 2016, arXiv:1607.06450.
    """

    vectorizable: ClassVar[bool] = True


class TorchInstanceNorm(InstanceNorm, _TorchGroups):
    """Run torch's own kernel for InstanceNorm: the reference arm for bnlab's own.

    It is torch's group norm with a group per channel: torch.nn.InstanceNorm2d reshapes to a batch norm and by
    default has no affine.

    Training and eval mode are the same.

    Axes:
        S, inside one channel of one sample: prod(S) values per statistic.

    Fails:
        As `bnlab.norms.group.InstanceNorm`.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S) with more than one position, same dtype.

    Source:
        torch.nn.functional.group_norm. Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.
    """

    vectorizable: ClassVar[bool] = True


class TorchRMSNorm(RMSNorm):
    """Run torch's own RMSNorm, with a scale per channel: the reference arm for bnlab's own.

    Training and eval mode are the same.

    Axes:
        C and S, inside one sample: C * prod(S) values per statistic.

    Fails:
        As `bnlab.norms.group.RMSNorm`.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the mean square, inside the root; above 0.
        affine: Learn a scale per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype.

    Source:
        torch.nn.functional.rms_norm. Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    vectorizable: ClassVar[bool] = True

    def _normalize(self, x_NCS: Tensor) -> Tensor:
        # rms_norm's own weight would have a value per position of an image, and x's type
        y_NCS = F.rms_norm(x_NCS, x_NCS.shape[1:], None, self.eps)
        return y_NCS if self.weight is None else (y_NCS * per_channel(self.weight, x_NCS)).to(x_NCS.dtype)
