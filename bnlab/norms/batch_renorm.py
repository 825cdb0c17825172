"""Batch renormalization: BatchNorm whose training mode approaches its eval mode.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_formula import normalize_batch
from bnlab.norms.moments import channel_moments, check_has_variance, check_input, wide_dtype
from bnlab.norms.norm import Formula, Invariance
from bnlab.norms.options import check_at_least, check_whole_at_least
from bnlab.norms.running_statistics import before_moving


class BatchRenorm(BatchNorm):
    """Normalize by the batch, then correct towards the running statistics, within limits that grow with time.

    Does BatchNorm suffer at small batches because training and eval mode compute different functions?

        y_c = weight_c * ((x - mean_c) / std_c * r_c + d_c) + bias_c,    std_c = sqrt(var_c + eps)
        r_c = std_c / sigma_c, clipped to [1/rmax, rmax]
        d_c = (mean_c - mu_c) / sigma_c, clipped to [-dmax, dmax]
        mu_c = running_mean_c,    sigma_c = sqrt(running_var_c + eps)

    No gradient passes through r and d. Unclipped, r and d cancel the batch's statistics: the output is
    weight * (x - mu) / sigma + bias, while the gradient still is that of a batch norm.

    Training mode: in the first ``warmup_steps`` batches rmax = 1 and dmax = 0, which is BatchNorm bit for bit;
    after that they grow linearly to ``r_max`` and ``d_max``. mu and sigma are those from before this batch, which
    then updates them: running = momentum * running + (1 - momentum) * batch. Eval mode is BatchNorm's and uses the
    running statistics; it clips nothing.

    Axes:
        N and S are reduced; m = N * prod(S) values per mean and variance.

    Fails:
        Where the running statistics are far off or noisy, r and d carry that into the output, up to their limits: |d|
        = 5 moves a channel by five standard deviations. So warm up for several times 1 / (1 - momentum) batches (10 at
        0.9: 0.9^50 = 0.005 of the initial value is left), and at small batches raise the momentum. With batches of 2
        it makes BatchNorm's failure milder and does not remove it, as the gradient is still that of two values per
        channel: 3,000 steps of the default network with ReLU at learning rate 0.03 end at 0.34 test accuracy with
        BatchNorm, 0.51 here, 0.67 at momentum 0.99, and above 0.9 where nothing depends on the batch (seed 0).

    Args:
        num_channels: C, the size of the input's axis 1.
        r_max: Largest factor after the ramp, at least 1. The paper's: 3.
        d_max: Largest shift after the ramp, in running standard deviations, at least 0. The paper's: 5.
        warmup_steps: Batches of plain BatchNorm. The paper's: 5,000.
        r_ramp_steps: Batches from there until rmax is r_max; 0: at once. The paper's: 35,000 (full at 40,000).
        d_ramp_steps: Batches from there until dmax is d_max; 0: at once. The paper's: 20,000 (full at 25,000).
        eps: Added to both variances, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen. The paper's: 0.99 (its alpha is 0.01).
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), biased, in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode; it drives the schedule. In a recurrent cell that applies
            the norm at each of T time steps it counts T for a batch, and the schedule goes on each T.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode.

    Source:
        Ioffe 2017, arXiv:1702.03275, Algorithm 1 and section 4.1. The paper averages the standard deviation; here,
        as in the other arms, it is the variance. The default schedule is the paper's at a hundredth of its length.

    Example:
        >>> norm = BatchRenorm(1, r_max=1e9, d_max=1e9, warmup_steps=0, r_ramp_steps=0, d_ramp_steps=0)
        >>> x = torch.tensor([[3.0], [5.0]])
        >>> norm(x).detach().round(decimals=2)  # by the running statistics, which still are 0 and 1
        tensor([[3.],
                [5.]])
    """

    formula: ClassVar[Formula | None] = None
    invariances: ClassVar[frozenset[Invariance]] = frozenset()  # unclipped r and d restore shift and scale
    vectorizable: ClassVar[bool] = True

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_channels: int,
        *,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup_steps: int = 50,
        r_ramp_steps: int = 350,
        d_ramp_steps: int = 200,
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
    ) -> None:
        check_at_least(1, r_max=r_max)
        check_at_least(0, d_max=d_max)
        check_whole_at_least(0, warmup_steps=warmup_steps, r_ramp_steps=r_ramp_steps, d_ramp_steps=d_ramp_steps)
        super().__init__(num_channels, eps=eps, momentum=momentum, affine=affine)
        self.r_max = r_max
        self.d_max = d_max
        self.warmup_steps = warmup_steps
        self.r_ramp_steps = r_ramp_steps
        self.d_ramp_steps = d_ramp_steps
        self.updates_per_batch = 1

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics too."""
        if not self.training or x_NCS.numel() == 0:
            return super().forward(x_NCS)
        check_input(x_NCS, self.num_channels)
        self._check_sizes()
        check_has_variance(x_NCS)
        r_C, d_C = self._corrections(x_NCS)
        # weight * (xhat * r + d) + bias: r and d go into scale and shift, which costs the batch no further pass
        weight_C = r_C if self.weight is None else self.weight * r_C
        bias_C = d_C if self.weight is None else self.weight * d_C
        bias_C = bias_C if self.bias is None else self.bias + bias_C
        y_NCS, mean_C, var_C = normalize_batch(x_NCS, weight_C, bias_C, self.eps)
        self._update_running_statistics(mean_C, var_C, num_values=x_NCS.numel() // self.num_channels)
        return y_NCS

    @torch.no_grad()
    def _corrections(self, x_NCS: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d, (C,) each, in float32 or wider."""
        wide = wide_dtype(x_NCS.dtype)
        mu_C, running_var_C, num_batches = before_moving(self.running_mean, self.running_var, self.num_batches_tracked)
        mean_C, var_C = channel_moments(x_NCS)
        sigma_C = (running_var_C.to(wide) + self.eps).sqrt()
        # nan_to_num: after an overflow of a statistic, inf / inf must not give NaN where BatchNorm gives a number
        r_C = ((var_C + self.eps).sqrt() / sigma_C).nan_to_num(1.0)
        d_C = ((mean_C - mu_C.to(wide)) / sigma_C).nan_to_num(0.0)
        if self.updates_per_batch > 1:
            num_batches = num_batches // self.updates_per_batch
        r_max, d_max = self.limits(num_batches, wide)
        return torch.clamp(r_C, 1 / r_max, r_max), torch.clamp(d_C, -d_max, d_max)

    def divide_updates(self, num_updates: int) -> None:
        """Take so many updates as one, as `bnlab.norms.norm.Norm.divide_updates` does, in the schedule as well.

        A batch of sequences that all end early makes fewer updates, and counts as less than a batch.

        Args:
            num_updates: The number of updates of a pass.
        """
        super().divide_updates(num_updates)
        self.updates_per_batch *= num_updates

    def limits(self, num_batches: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return rmax and dmax for the batch after a number of batches.

        Args:
            num_batches: Number of training batches before, of any shape; the result is on the same device.
            dtype: Data type of the result.

        Example:
            >>> norm = BatchRenorm(1, warmup_steps=50, d_ramp_steps=200)
            >>> norm.limits(torch.tensor([49, 150, 1000]))[1]  # half of the ramp from 0 to 5 at 150
            tensor([0.0000, 2.5000, 5.0000])
        """
        steps_since = num_batches.to(dtype) - self.warmup_steps
        r_share, d_share = (
            (steps_since / ramp_steps).clamp(0, 1) if ramp_steps else (steps_since >= 0).to(dtype)
            for ramp_steps in (self.r_ramp_steps, self.d_ramp_steps)
        )
        return 1 + (self.r_max - 1) * r_share, self.d_max * d_share

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}, warmup_steps={self.warmup_steps}"
