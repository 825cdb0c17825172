"""Norms whose statistics are shared across the batch.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.norms.batch_formula import normalize_batch, normalize_batch_by_autograd
from bnlab.norms.moments import (
    affine_map,
    check_has_variance,
    check_input,
    kept_share,
    scale_and_shift,
    update_running,
    wide_dtype,
)
from bnlab.norms.norm import Formula, Invariance, Norm
from bnlab.norms.options import check_eps, check_momentum, check_switches, turned_round
from bnlab.norms.synchronized import add_up, add_up_count, num_processes
from bnlab.norms.torch_conversion import check_given_back, taken_over

_PER_CHANNEL = {"weight", "bias", "running_mean", "running_var"}


class BatchNorm(Norm):
    """Give each channel mean 0 and variance 1 over the batch, then a learned scale and shift.

    The layer that bnlab is about, written from scratch: it neither subclasses nor calls torch's.

        mean_c = 1/m sum x,    var_c = 1/m sum (x - mean_c)^2,    m = N * prod(S)
        y_c = weight_c * (x - mean_c) / sqrt(var_c + eps) + bias_c

    Training mode uses the batch's own mean and (biased) variance, and updates the running ones:
    running = momentum * running + (1 - momentum) * batch. Eval mode uses the running ones, so that a
    sample's output does not depend on its neighbors. An empty batch gives an empty output; it is counted, as in
    PyTorch, and does not change the running statistics.

    Two conventions differ from PyTorch's layer and follow the article. ``momentum`` is the share of the
    *old* running value that is kept: 0.9 here is 0.1 in PyTorch. The running variance averages the *biased*
    batch variance; PyTorch and the paper store the unbiased one (``unbiased_running_var=True``).

    The article says that weight = sqrt(var + eps) and bias = mean give back the input, so that the network can
    switch the layer off. That holds for the batch whose mean and variance these are, and only forward: weight and
    bias are constants, the next batch has other statistics, and the gradient still flows through this one's.

    Axes: over N and S, one mean and one variance per channel; each sees m = N * prod(S) values.

    Fails: With few values per channel, since the statistics are then mostly noise: rows (N, C) of batch size 2
    become +1 and -1. In eval mode after few steps, since the running statistics still hold
    momentum ** steps of their initial values (mean 0, variance 1). If the samples of one batch are similar and those of
    the next differ. In deep plain ReLU nets it makes gradients explode, by pi/(pi - 1) = 1.467 in their square per
    layer (Yang et al. 2019, arXiv:1902.08129).

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]. None: the plain average over all
            batches seen.
        affine: Learn a scale (and a shift, unless ``bias=False``) per channel.
        bias: With ``affine``, learn the shift too.
        track_running_stats: Keep running statistics. Without them eval mode uses the batch's own.
            Can be changed later, as an attribute; while it is false, the running statistics do not change.
        unbiased_running_var: Average m/(m-1) times the batch variance, as PyTorch does.
        sync: In training mode compute the statistics over the batches of all processes of torch.distributed, on GPU or
            CPU, with any number of samples in each. Output, input gradient and buffers are then those of one process
            with the whole batch. Without torch.distributed it has no effect.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option is out of range, the input has the wrong shape, or there is exactly one value per channel
            where the batch's own statistics are used (the variance would be 0, and the output the bias).

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Example:
        >>> y_NC = BatchNorm(2)(torch.tensor([[0.0, 100.0], [2.0, 300.0]]))
        >>> y_NC.detach().round(decimals=3)
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True
    mixes_samples: ClassVar[bool] = True
    formula: ClassVar[Formula | None] = "batch"
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_shift", "channel_scale"})
    vectorizable: ClassVar[bool] = True

    _version = 2  # torch's version number: from 2 on, the state contains num_batches_tracked

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_channels: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
        bias: bool = True,
        track_running_stats: bool = True,
        unbiased_running_var: bool = False,
        sync: bool = False,
    ) -> None:
        super().__init__()
        check_eps(eps)
        check_momentum(momentum)
        check_switches(
            affine=affine,
            bias=bias,
            track_running_stats=track_running_stats,
            unbiased_running_var=unbiased_running_var,
            sync=sync,
        )
        self.num_channels = num_channels
        self.eps = eps
        self.momentum = momentum
        self.unbiased_running_var = unbiased_running_var
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine and bias else None
        self.sync = sync
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, None)
        self.track_running_stats = track_running_stats

    @property
    def track_running_stats(self) -> bool:
        """Whether training mode updates the running statistics; setting it to true creates them if there are none."""
        return self._tracks

    @track_running_stats.setter
    def track_running_stats(self, tracks: bool) -> None:
        self._tracks = tracks
        if tracks and self.running_mean is None:
            parameter = next(self.parameters(), torch.empty(0))
            self.running_mean = torch.zeros(self.num_channels, dtype=parameter.dtype, device=parameter.device)
            self.running_var = torch.ones_like(self.running_mean)
            self.num_batches_tracked = torch.tensor(0, device=parameter.device)

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics too."""
        check_input(x_NCS, self.num_channels)
        self._check_sizes()
        if not self.training and self.running_mean is not None and self.running_var is not None:
            wide = wide_dtype(x_NCS.dtype)
            return self._normalize_by(x_NCS, self.running_mean.to(wide), self.running_var.to(wide))
        if self.sync and self.training and num_processes() > 1:
            return self._normalize_with_other_processes(x_NCS)
        check_has_variance(x_NCS)
        if x_NCS.numel() == 0:
            return self._pass_empty(x_NCS)
        y_NCS, mean_C, var_C = normalize_batch(x_NCS, self.weight, self.bias, self.eps)
        if self.training:
            self._update_running_statistics(mean_C, var_C, num_values=x_NCS.numel() // self.num_channels)
        return y_NCS

    def _normalize_with_other_processes(self, x_NCS: Tensor) -> Tensor:
        num_values = add_up_count(x_NCS.numel() // self.num_channels, x_NCS.device)
        check_has_variance(x_NCS, num_values)
        if num_values == 0:
            return self._pass_empty(x_NCS)
        y_NCS, mean_C, var_C = normalize_batch_by_autograd(
            x_NCS, self.weight, self.bias, self.eps, num_values=num_values, add_up=add_up
        )
        self._update_running_statistics(mean_C, var_C, num_values)
        return y_NCS

    def _pass_empty(self, x_NCS: Tensor) -> Tensor:
        """Return an empty output, with gradients that are all 0; it counts as a batch, as in PyTorch."""
        if self.training and self._tracks and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        zero_C = x_NCS.new_zeros(self.num_channels, dtype=wide_dtype(x_NCS.dtype))
        return self._normalize_by(x_NCS, zero_C, zero_C + 1)

    def _check_sizes(self) -> None:
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name in _PER_CHANNEL and value.shape != (self.num_channels,):
                raise ConfigError(
                    f"{name} must have one value for each of the {self.num_channels} channels, got {tuple(value.shape)}"
                )

    def _normalize_by(self, x_NCS: Tensor, mean_C: Tensor, var_C: Tensor) -> Tensor:
        return scale_and_shift(x_NCS, *affine_map(mean_C, var_C, self.weight, self.bias, self.eps))

    def _update_running_statistics(self, mean_C: Tensor, var_C: Tensor, num_values: int) -> None:
        mean, var, num_batches = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or num_batches is None or not self._tracks:
            return
        num_batches.add_(1)
        kept = kept_share(self.momentum, num_batches, mean.dtype)
        if self.unbiased_running_var:
            var_C = var_C * (num_values / (num_values - 1))
        update_running(mean, mean_C, kept)
        update_running(var, var_C, kept)

    @classmethod
    def from_torch(cls, module: nn.Module) -> Self:
        """Return a layer with the outputs, gradients and buffers of a torch layer, also in further training.

        Args:
            module: An nn.BatchNorm1d, 2d, 3d or SyncBatchNorm. Its state is copied, its momentum converted.

        Raises:
            ConfigError: The module is or does something else, or the class is a subclass of BatchNorm.

        Example:
            >>> BatchNorm.from_torch(nn.BatchNorm2d(8, momentum=0.1))
            BatchNorm(8, eps=1e-05, momentum=0.9, unbiased_running_var=True)
        """
        if cls is not BatchNorm:
            raise ConfigError(f"{cls.__name__} has no counterpart in torch. Use BatchNorm.from_torch.")
        theirs = taken_over(module)
        norm = cls(
            theirs.num_features,
            eps=theirs.eps,
            momentum=turned_round(theirs.momentum),
            affine=theirs.weight is not None,
            bias=theirs.bias is not None,
            track_running_stats=theirs.running_mean is not None,
            unbiased_running_var=True,
            sync=isinstance(theirs, nn.SyncBatchNorm),
        )
        for like in [*theirs.parameters(), *theirs.buffers()][:1]:
            norm.to(device=like.device, dtype=like.dtype)
        norm.load_state_dict(theirs.state_dict())
        norm.track_running_stats = theirs.track_running_stats
        for name, parameter in theirs.named_parameters():
            norm.get_parameter(name).requires_grad_(parameter.requires_grad)
        return norm.train(theirs.training)

    def to_torch(self, kind: type[nn.BatchNorm2d] | None = None) -> nn.BatchNorm2d:
        """Return torch's layer with the same state; in eval mode it gives the same outputs.

        In further training it stores the unbiased running variance, as torch does; with ``unbiased_running_var=True``
        both stay the same. A relative of BatchNorm trains on as BatchNorm.

        Args:
            kind: nn.BatchNorm1d, 2d or 3d, which must fit the input's shape, or SyncBatchNorm; None: SyncBatchNorm for
                ``sync=True``, else nn.BatchNorm2d.

        Raises:
            ConfigError: The kind is another class.
        """
        build: Any = kind or (nn.SyncBatchNorm if self.sync else nn.BatchNorm2d)
        check_given_back(build)
        bias = {} if self.bias is not None or self.weight is None else {"bias": False}
        tracks = self.running_mean is not None
        module: nn.BatchNorm2d = build(
            self.num_channels,
            eps=self.eps,
            momentum=turned_round(self.momentum),
            affine=self.weight is not None,
            track_running_stats=tracks,
            **bias,
        )
        for like in [*self.parameters(), *self.buffers()][:1]:
            module.to(device=like.device, dtype=like.dtype)
        module.load_state_dict(self.state_dict())
        module.track_running_stats = self.track_running_stats
        for name, parameter in self.named_parameters():
            module.get_parameter(name).requires_grad_(parameter.requires_grad)
        return module.train(self.training)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        """Load a state, also of torch layers before version 2, which do not count batches."""
        counted = f"{prefix}num_batches_tracked"
        if local_metadata.get("version", 1) < 2 and counted not in state_dict and self.num_batches_tracked is not None:
            state_dict[counted] = self.num_batches_tracked.clone()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        options = {
            "affine": (self.weight is not None or self.bias is not None, True),
            "bias": (self.bias is not None or self.weight is None, True),
            "track_running_stats": (self.track_running_stats, True),
            "unbiased_running_var": (self.unbiased_running_var, False),
            "sync": (self.sync, False),
        }
        told = "".join(f", {name}={value}" for name, (value, usual) in options.items() if value != usual)
        return f"{self.num_channels}, eps={self.eps}, momentum={self.momentum}{told}"
