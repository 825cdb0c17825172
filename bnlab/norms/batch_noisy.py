"""BatchNorm followed by noise whose distribution changes at every step: the control for covariate shift.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab import noise
from bnlab.norms.batch import BatchNorm
from bnlab.norms.moments import check_input
from bnlab.norms.norm import Formula
from bnlab.norms.options import check_at_least, check_choice, check_switches


class NoisyBatchNorm(BatchNorm):
    """Normalize as BatchNorm does, then shift and scale every activation by noise that drifts from step to step.

    Does BatchNorm help because it keeps the distributions stable that later layers get? Here they are less stable than
    without a norm.

        a = BatchNorm(x),    y = s * a + m
        mu ~ U(-shift_range, shift_range),    sigma ~ U(1, scale_max)             one draw per layer and step
        m ~ U(mu - shift_spread, mu + shift_spread),    s ~ N(sigma, scale_spread^2)     one draw per element

    The noise is added after the learned scale and shift, before the activation function. No gradient flows through the
    random numbers.

    Training mode draws new numbers from torch's global random state in every forward pass. Eval mode is BatchNorm's:
    without noise, with the running statistics (of this layer's input, so without its own noise).

    Axes:
        N and S are reduced; m = N * prod(S) values per mean and variance.

    Fails:
        Because every step has new noise, a network's distribution on a fixed batch drifts little between
        far-apart points of training: measure the drift from step to step. In eval mode the next layers' running
        statistics include the noise of training mode, and their inputs do not. ``normalize=false`` stopped the paper's
        VGG from training; in the default network with sigmoid units it does not (600 steps at learning rate 0.3:
        0.897 test accuracy against 0.887 without the noise; seed 0).

    Args:
        num_channels: C, the size of the input's axis 1.
        normalize: Whether there is a BatchNorm before the noise. False: y = s * x + m, without parameters or running
            statistics: the control for the effect of the noise on a plain network. The options eps, momentum and
            affine then have no effect.
        shift_range: Half the width of mu's distribution, in units of the activation, at least 0.
        scale_max: Upper end of sigma's distribution, at least 1.
        shift_spread: Half the width of m's distribution around mu, at least 0.
        scale_spread: Standard deviation of s around sigma, at least 0.
        noise_per: ``layer``: mu and sigma are one number each per step. ``channel``: one per channel and step.
            The paper's text and its pseudocode can be read either way.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider, the noise is drawn in
        float32.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), biased, in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode with ``normalize``.

    Source:
        Santurkar, Tsipras, Ilyas & Madry 2018, arXiv:1805.11604, section 2.1 and its appendix (the four numbers).
        The control is theirs too.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> y_NC = NoisyBatchNorm(3)(torch.randn(4000, 3))
        >>> y_NC.mean().abs() < 0.6, (1 < y_NC.std()) & (y_NC.std() < 1.3)
        (tensor(True), tensor(True))
    """

    formula: ClassVar[Formula | None] = None
    vectorizable: ClassVar[bool] = True

    def __init__(
        self,
        num_channels: int,
        *,
        normalize: bool = True,
        shift_range: float = 0.5,
        scale_max: float = 1.25,
        shift_spread: float = 0.1,
        scale_spread: float = 0.1,
        noise_per: str = "layer",
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
    ) -> None:
        check_switches(normalize=normalize, affine=affine)
        check_at_least(0, shift_range=shift_range, shift_spread=shift_spread, scale_spread=scale_spread)
        check_at_least(1, scale_max=scale_max)
        check_choice(("layer", "channel"), noise_per=noise_per)
        super().__init__(
            num_channels,
            eps=eps,
            momentum=momentum,
            affine=affine and normalize,
            track_running_stats=normalize,
        )
        self.normalize = normalize
        self.shift_range = shift_range
        self.scale_max = scale_max
        self.shift_spread = shift_spread
        self.scale_spread = scale_spread
        self.noise_per = noise_per
        if not normalize:  # the declarations of the class are those with the norm
            for declaration in ("keeps_running_statistics", "subtracts_mean", "mixes_samples"):
                setattr(self, declaration, False)
            self.invariances = frozenset()  # type: ignore[misc]

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics and add the noise."""
        check_input(x_NCS, self.num_channels)
        y_NCS = super().forward(x_NCS) if self.normalize else x_NCS
        return self._disturbed(y_NCS) if self.training else y_NCS

    def _disturbed(self, y_NCS: Tensor) -> Tensor:
        num_distributions = self.num_channels if self.noise_per == "channel" else 1
        shape = (1, num_distributions) + (1,) * (y_NCS.dim() - 2)
        # always float32, so that inputs of all types get the same noise
        mu, sigma = (noise.uniform(shape, torch.float32, y_NCS.device) for _ in range(2))
        mu = self.shift_range * (2 * mu - 1)
        sigma = 1 + (self.scale_max - 1) * sigma
        m = mu + self.shift_spread * (2 * noise.uniform(y_NCS.shape, torch.float32, y_NCS.device) - 1)
        s = sigma + self.scale_spread * noise.normal(y_NCS.shape, torch.float32, y_NCS.device)
        return (s * y_NCS + m).to(y_NCS.dtype)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{super().extra_repr()}, normalize={self.normalize}, noise_per={self.noise_per}"
