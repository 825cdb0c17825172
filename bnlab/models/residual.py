"""Parts of residual networks: shortcuts, and what a branch is multiplied by."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder


class ZeroPadding(nn.Module):
    """A shortcut without weights: every stride-th pixel, and channels of zeros behind those that there are.

    Args:
        num_new: The number of channels that are added.
        stride: The step between the pixels that are kept.

    Shape:
        (N, C, H, W) -> (N, C + num_new, ceil(H / stride), ceil(W / stride)).

    Source:
        He et al. 2015, arXiv:1512.03385, section 3.3, option A.
    """

    def __init__(self, num_new: int, stride: int) -> None:
        super().__init__()
        self.num_new = num_new
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the smaller, wider image."""
        return F.pad(x_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.num_new))

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"num_new={self.num_new}, stride={self.stride}"


class ResidualUnit(nn.Module):
    """A shortcut and a branch, whose sum goes on.

    Args:
        share: What the branch is multiplied by; None: a learned number, 0 at the start.

    Attributes:
        share: As in Args; a parameter of one value if it is learned.

    Source:
        The learned number: De & Smith 2020, arXiv:2002.10444, "SkipInit".
    """

    carries_stream = True
    """Its output is its input, carried on, and what the branch adds: ``Network.streams`` finds it by this."""

    share: Tensor | float

    def __init__(self, share: float | None) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(())) if share is None else share

    def added(self, carried: Tensor, branch: Tensor) -> Tensor:
        """Return the shortcut's output plus the branch's, times its share.

        Args:
            carried: The output of the shortcut.
            branch: The output of the branch, of the same shape.
        """
        if isinstance(self.share, float):
            return torch.add(carried, branch, alpha=self.share)
        return carried + self.share * branch


def refuse_after(blocks: BlockBuilder, model: str, setting: str) -> None:
    """Refuse ``placement=after`` in a network that has a setting of its own for the place of its norms.

    Args:
        blocks: The builder, which knows the placement.
        model: The network's name.
        setting: The setting of the network.

    Raises:
        ConfigError: The placement is ``after``.
    """
    if blocks.placement == "after":
        raise ConfigError(
            f"placement=after does not fit model={model}, where {setting} says where norms stand. Use placement=before."
        )
