"""The formula of the norms that use one sample only, with its gradient.

One formula serves GroupNorm, LayerNorm (one group), InstanceNorm (a group per channel), RMSNorm (one group, not
centered) and filter response normalization (a group per channel, not centered).

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW), M = prod(S).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.norms.group_backward import NormalizeGroups, NormalizeGroupsAlone, in_groups
from bnlab.norms.moments import is_transformed, per_channel, wide_dtype


def normalize_groups(
    x_NCS: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    num_groups: int,
    eps: float,
    *,
    centered: bool = True,
) -> Tensor:
    """Normalize every sample by its own statistics over groups of channels.

    Args:
        x_NCS: The input (N, C, *S).
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        num_groups: G, which must divide C.
        eps: Added to the variance (or mean square), inside the root.
        centered: Subtract the mean. If false, the mean square replaces the variance.

    Returns:
        Output like x, in its type and memory layout.
    """
    if torch.compiler.is_compiling():  # a compiler fuses the readable formula and derives its backward
        return normalize_groups_by_autograd(x_NCS, weight_C, bias_C, num_groups, eps, centered=centered)
    if not torch.is_grad_enabled():  # autograd's wrapping takes longer than a small layer, under vmap above all
        return NormalizeGroups.forward(x_NCS, weight_C, bias_C, num_groups, eps, centered)[0]
    function = NormalizeGroups if is_transformed() else NormalizeGroupsAlone
    apply: Callable[..., tuple[Tensor, ...]] = function.apply
    return apply(x_NCS, weight_C, bias_C, num_groups, eps, centered)[0]


def normalize_groups_by_autograd(
    x_NCS: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    num_groups: int,
    eps: float | Tensor,
    *,
    centered: bool = True,
) -> Tensor:
    """Compute `normalize_groups` as the papers write it, with a backward by autograd.

    The readable reference that the fast version is tested against. ``eps`` may be a tensor here, which gets a gradient.
    """
    x = in_groups(x_NCS.to(wide_dtype(x_NCS.dtype)), num_groups)  # (N, G, C/G, *S)
    axes = list(range(2, x.dim()))
    if centered:
        x = x - x.mean(axes, keepdim=True)
    y = (x / (x.square().mean(axes, keepdim=True) + eps).sqrt()).flatten(1, 2)
    if weight_C is not None:
        y = y * per_channel(weight_C, y)
    if bias_C is not None:
        y = y + per_channel(bias_C, y)
    return y.to(x_NCS.dtype)
