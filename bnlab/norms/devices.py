"""Several devices simulated in one process: BatchNorm on a batch that they share.

Shape letters: N batch, C channels, K devices, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_formula import normalize_batch
from bnlab.norms.moments import check_has_variance, check_input
from bnlab.norms.norm import Formula
from bnlab.norms.options import check_whole_at_least


class BatchDevices(BatchNorm):
    """Normalize as K devices that share a batch: each its own part, or all together.

    How does the number of devices affect BatchNorm, at the same batch size? With more devices, each has fewer samples.

        y = weight_c * (x - mean_kc) / sqrt(var_kc + eps) + bias_c,    statistics over device k's samples and S

    Training mode divides the batch into K parts in order, whose sizes differ by at most one sample. Without ``sync``
    each is normalized by its own statistics, and the running ones follow the *first* device alone, as
    torch.nn.parallel.DistributedDataParallel does, which copies the first process's buffers to all others. With
    ``sync`` the output is BatchNorm's: the devices' moments are merged. Eval mode is BatchNorm's.

    Axes: over one device's samples and S, one mean and one variance per device and channel; each sees
    N/K * prod(S) values.

    Fails: Where BatchNorm fails at batch size N/K. The running statistics are those of N/K samples, so they are noisier
    than the batch's by sqrt(K).

    Args:
        num_channels: C, the size of the input's axis 1.
        num_devices: K, the number of devices, at least 1.
        sync: Merge the devices' statistics, as torch.nn.SyncBatchNorm does.
        eps: Added to the variance, inside the root; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option is out of range, or a device would have no sample or one value per channel.

    Source:
        Ours, after torch.nn.parallel.DistributedDataParallel (broadcast_buffers) and torch.nn.SyncBatchNorm. What
        statistics per device cost: Wu & He 2018, arXiv:1803.08494, figure 1.

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [50.0], [70.0]])
        >>> BatchDevices(1, num_devices=2)(x).detach().round(decimals=3).T
        tensor([[-1.,  1., -1.,  1.]])
    """

    formula: ClassVar[Formula | None] = None  # BatchNorm's on each device, not on the batch
    vectorizable: ClassVar[bool] = True

    def __init__(
        self,
        num_channels: int,
        *,
        num_devices: int = 2,
        sync: bool = False,
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
    ) -> None:
        check_whole_at_least(1, num_devices=num_devices)
        super().__init__(num_channels, eps=eps, momentum=momentum, affine=affine, sync=sync)
        self.num_devices = num_devices

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize each device's part; in training mode, update the running statistics too.

        Raises:
            ConfigError: The input has the wrong shape, or too few samples for the devices.
        """
        check_input(x_NCS, self.num_channels)
        if not self.training or self.sync or x_NCS.numel() == 0:
            return super().forward(x_NCS)
        if x_NCS.shape[0] < self.num_devices:
            raise ConfigError(
                f"norm.num_devices must be at most the batch size, got {self.num_devices} devices for "
                f"{x_NCS.shape[0]} samples"
            )
        parts = torch.tensor_split(x_NCS, self.num_devices)
        check_has_variance(parts[-1])  # the smallest
        normalized = [normalize_batch(part, self.weight, self.bias, self.eps) for part in parts]
        _, mean_C, var_C = normalized[0]
        self._update_running_statistics(mean_C, var_C, num_values=parts[0].numel() // self.num_channels)
        return torch.cat([y for y, _, _ in normalized])

    def samples_per_statistic(self, num_samples: int, num_positions: int) -> int:  # noqa: ARG002
        """Return the number of samples of the smallest part; of the batch if the devices merge their statistics."""
        return num_samples if self.sync else num_samples // self.num_devices

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{super().extra_repr()}, num_devices={self.num_devices}"
