"""What the gradients do on their way back.

Shape letters: L layers, R rows (images, units or channels), M values per row.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named

SMALL = 1e-12
"""A shorter gradient is measured after a multiplication: the square of a float32 below 1e-19 has too few digits, or
none. Thirty sigmoid layers are enough to get there."""

LIFT = 2.0**40
"""What by."""

PART_SIZE = 2**18
"""Values that are multiplied at a time: a copy of a large tensor would take longer than its norm."""


def length(g: Tensor) -> Tensor:
    """Return a tensor's Frobenius norm, to four digits or better for any length from 1e-31 to 1e19.

    Row by row and then over rows: over 30 million float32 at once torch's norm is up to 2% off. Without float64, which
    not all devices have, and which takes ten times as long.

    Args:
        g: With at least one axis.

    Example:
        >>> length(torch.tensor([3e-25, 4e-25]))
        tensor(5.0000e-25)
    """
    g_RM = g if g.dim() > 1 else g.unsqueeze(0)
    axes = tuple(range(1, g_RM.dim()))
    parts = torch.split(g_RM, max(1, PART_SIZE * len(g_RM) // max(1, g_RM.numel())))
    plain = torch.linalg.vector_norm(torch.linalg.vector_norm(g_RM, dim=axes))
    lifted = torch.cat([torch.linalg.vector_norm(part * LIFT, dim=axes) for part in parts])
    return torch.where(plain > SMALL, plain, torch.linalg.vector_norm(lifted) / LIFT)  # where it is NaN, both are


def _weight_gradient_norms(seen: Observation) -> Named:
    return seen.derived("weight gradient norms", lambda seen: {r: length(g) for r, g in seen.weight_gradients.items()})


def _preactivation_gradient_norms(seen: Observation) -> Named:
    return seen.derived(
        "pre-activation gradient norms", lambda seen: {r: length(g) for r, g in seen.preactivation_gradients.items()}
    )


class GradientNorm(Diagnostic):
    """How large the gradient of each layer's weights is.

        norm_l = || dL/dW_l ||_F,    L = mean cross-entropy over the probe batch

    Unit:
        Loss per unit of weight.

    Reading:
        Across layers: a ratio first/last far below 1 is a vanishing gradient, far above 1 an exploding one; see
        `gradient_ratio`.

    Cost:
        One backward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        It scales with 1/||W|| where a norm follows, so that two arms' norms mean different things; compare the
        ratio between layers, not the height.

    Source:
        Glorot & Bengio 2010, figures 6 and 7.
    """

    name = "gradient_norm"
    unit = "loss per unit of weight"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the norm per layer."""
        return dict(_weight_gradient_norms(seen))


class PreactivationGradientNorm(Diagnostic):
    """How large the gradient is that arrives at each layer's pre-activations.

        norm_l = || dL/dz_l ||_F,    z_l what the activation sees, for all images of the probe batch

    Unit:
        Loss per unit of pre-activation.

    Reading:
        Across layers, as `gradient_norm`, but without the layer's own weights and inputs in it; as a rate per layer,
        see `gradient_growth`.

    Cost:
        Reads what the others read.

    Blind spots:
        It falls with the root of the number of images, since each weighs 1/N in the mean loss. Behind a batch norm z
        has a set scale; without one, a small gradient may only mean that z is large. A layer whose norm brings its own
        nonlinearity (norm=frn) is left out.

    Source:
        Glorot & Bengio 2010, figure 7 (back-propagated gradients).
    """

    name = "preactivation_gradient_norm"
    unit = "loss per unit of pre-activation"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the norm per layer."""
        return dict(_preactivation_gradient_norms(seen))


class RelativeGradientNorm(Diagnostic):
    """How large the gradient of each layer's weights is, beside the weights.

        ratio_l = || dL/dW_l ||_F / || W_l ||_F

    Unit:
        Loss per squared unit of weight.

    Reading:
        Times the learning rate, it is the share of themselves by which plain SGD moves the weights at a step: compare
        with `update_ratio`. Wider and narrower layers can be compared.

    Cost:
        Reads what the others read.

    Blind spots:
        Free of a layer's size, not of its scale: in front of a norm the gradient falls as the weights grow, and this by
        1/||W||^2, though the function is the same. Infinite for weights of zero.

    Source:
        Ours.
    """

    name = "relative_gradient_norm"
    unit = "loss per squared unit of weight"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        return {role: norm / length(seen.weights[role]) for role, norm in _weight_gradient_norms(seen).items()}


class GradientRatio(Diagnostic):
    """How much of the last hidden layer's gradient is left at the first one.

        ratio = || dL/dW_1 ||_F / || dL/dW_L ||_F,    1 and L the first and the last hidden layer

    Unit:
        Dimensionless, above 0.

    Reading:
        About 1: every layer learns. 1e-3 and less: the gradient vanishes on its way back; 1e3 and more: it explodes.
        Powers of ten count, not percent: draw its logarithm.

    Cost:
        Reads what the others read.

    Blind spots:
        The first layer's weights are of another shape, which alone makes a factor of a few. In front of a norm each
        gradient is 1/||W|| of its own layer: multiplying one layer's weights moves this, and no output. NaN where no
        gradient at all arrives at the last hidden layer. Left out for networks with fewer than two hidden layers.

    Source:
        Glorot & Bengio 2010, figures 6 and 7.
    """

    name = "gradient_ratio"
    unit = "ratio first/last"
    needs = frozenset({"gradients"})
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (1e-3, 1e3)}
    too_low = "of the last hidden layer's gradient reaches the first: it vanishes on its way back"
    too_high = "times the last hidden layer's gradient reaches the first: it explodes on its way back"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio, of the whole network."""
        hidden = list(_weight_gradient_norms(seen).values())[:-1]
        return {"network": hidden[0] / hidden[-1]} if len(hidden) > 1 else {}


class GradientGrowth(Diagnostic):
    """By what factor the squared gradient grows per layer on its way back, by a straight line through all layers.

        slope = least squares of log || dL/dz_l ||^2 over l = 1..L,    rate = exp(-slope)

    with z_l the pre-activations of hidden layer l.

    Unit:
        ``rate``: factor per layer, above 0. ``slope``: its negative logarithm.

    Reading:
        rate 1: every layer gets the same. Above, it explodes, below, it vanishes. In a wide network with random weights
        and large batches, relu behind BatchNorm explodes by pi / (pi - 1) = 1.467 per layer, whatever the weights'
        scale; without an activation, BatchNorm explodes by (B - 2) / (B - 3) for batches of B.

    Cost:
        Reads what the others read.

    Blind spots:
        One line for all layers: a gradient that grows in the first half and falls in the second looks steady. At depth
        3 it is a line through three points. Layers of different sizes and pooling between stages are taken for layers
        like any other. Without a norm z has no set scale: there the rate has that of the weights in it. Left out for
        networks with fewer than two hidden layers.

    Source:
        Yang et al. 2019, arXiv:1902.08129, for batch norm; the fit is Ours.
    """

    name = "gradient_growth"
    unit = "factor per layer; its negative logarithm"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return rate and slope, of the whole network."""
        norms = list(_preactivation_gradient_norms(seen).values())
        if len(norms) < 2:
            return {}
        log_L = 2 * torch.stack(norms).log()
        depth_L = torch.arange(len(norms), dtype=log_L.dtype, device=log_L.device)
        centered_L = depth_L - depth_L.mean()
        slope = (centered_L * log_L).sum() / centered_L.square().sum()
        return {"network/rate": torch.exp(-slope), "network/slope": slope}
