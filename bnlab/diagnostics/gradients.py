"""Sizes of gradients, layer by layer.

Shape letters: L layers, R rows (images, units or channels), M values per row.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, OfActivations, Ranges
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.slopes import slope_of

SMALL = 1e-12
"""A shorter gradient is multiplied before it is measured: the square of a float32 below 1e-19 has few digits or none.
Thirty sigmoid layers are enough for such gradients."""

LIFT = 2.0**40
"""The factor of that multiplication."""

PART_SIZE = 2**18
"""Values multiplied at a time: a copy of a large tensor would take longer than its norm."""


def length(g: Tensor) -> Tensor:
    """Return a tensor's Frobenius norm, to four digits or better for any length from 1e-31 to 1e19.

    It is computed row by row and then over rows, since torch's norm of 30 million float32 at once is up to 2% wrong.
    Float64 would take ten times as long, and some devices lack it.

    Args:
        g: The tensor, with at least one axis.

    Example:
        >>> length(torch.tensor([3e-25, 4e-25]))
        tensor(5.0000e-25)
    """
    g_RM = g if g.dim() > 1 else g.unsqueeze(0)
    axes = tuple(range(1, g_RM.dim()))
    parts = torch.split(g_RM, max(1, PART_SIZE * len(g_RM) // max(1, g_RM.numel())))
    plain = torch.linalg.vector_norm(torch.linalg.vector_norm(g_RM, dim=axes))
    lifted = torch.cat([torch.linalg.vector_norm(part * LIFT, dim=axes) for part in parts])
    return torch.where(plain > SMALL, plain, torch.linalg.vector_norm(lifted) / LIFT)  # if one is NaN, both are


def _weight_gradient_norms(seen: Observation) -> Named:
    return seen.derived("weight gradient norms", lambda seen: {r: length(g) for r, g in seen.weight_gradients.items()})


def _preactivation_gradient_norms(seen: Observation) -> Named:
    return seen.derived(
        "pre-activation gradient norms", lambda seen: {r: length(g) for r, g in seen.preactivation_gradients.items()}
    )


class GradientNorm(Diagnostic):
    """The norm of the gradient of each layer's weights.

        norm_l = || dL/dW_l ||_F,    L = mean cross-entropy over the probe batch

    Unit:
        Loss per unit of weight.

    Reading:
        Across layers: a ratio first/last far below 1 is a vanishing gradient, far above 1 an exploding one; see
        `gradient_ratio`.

    Cost:
        One backward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        In front of a norm it scales with 1/||W||, so that values of two arms mean different things: compare the ratio
        between layers, not the values.

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


class PreactivationGradientNorm(OfActivations):
    """The norm of the gradient at each layer's pre-activations.

        norm_l = || dL/dz_l ||_F,    z_l the activation's inputs for all images of the probe batch

    Unit:
        Loss per unit of pre-activation.

    Reading:
        Compare layers, as with `gradient_norm`; the layer's own weights and inputs have no part in it. For the rate per
        layer, see `gradient_growth`.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        It falls with the root of the number of images, since each has weight 1/N in the mean loss. Behind a batch norm,
        z has a fixed scale; without one, a small gradient may only mean that z is large. A layer whose norm brings its
        own nonlinearity (norm=frn) is left out.

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
    """The norm of the gradient of each layer's weights, divided by the norm of the weights.

        ratio_l = || dL/dW_l ||_F / || W_l ||_F

    Unit:
        Loss per squared unit of weight.

    Reading:
        Times the learning rate, it is the relative change of the weights in one step of plain SGD: compare it with
        `update_ratio`. Layers of different widths can be compared.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Independent of a layer's size, but not of its scale: in front of a norm, larger weights lower it by 1/||W||^2,
        though the function stays the same. Infinite for weights of zero.

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
    """The gradient norm of the first hidden layer, divided by that of the last hidden layer.

        ratio = || dL/dW_1 ||_F / || dL/dW_L ||_F,    1 and L the first and the last hidden layer

    Unit:
        Dimensionless, above 0.

    Reading:
        About 1: every layer learns. 1e-3 and less: the gradient vanishes on its way back; 1e3 and more: it explodes.
        Only powers of ten matter: plot it on a logarithmic axis.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        The first layer's weights have another shape, which alone can give a factor of 2 to 5. In front of a norm, each
        gradient scales with 1/||W|| of its layer: larger weights in one layer change the ratio, but no output. NaN if
        the last hidden layer has no gradient at all. Left out for networks with fewer than two hidden layers.

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
    undefined = "at least two hidden layers"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio, of the whole network."""
        hidden = list(_weight_gradient_norms(seen).values())[:-1]
        return {"network": hidden[0] / hidden[-1]} if len(hidden) > 1 else {}


class GradientGrowth(Diagnostic):
    """The factor by which the squared gradient grows per layer on its way back, by a line through all layers.

        slope = least squares of log || dL/dz_l ||^2 over l = 1..L,    rate = exp(-slope)

    with z_l the pre-activations of hidden layer l.

    Unit:
        ``rate``: factor per layer, above 0. ``slope``: its negative logarithm.

    Reading:
        rate 1: the gradient is equal in all layers. Above 1 it explodes, below 1 it vanishes. In a wide network with
        random weights and large batches, the gradient of relu behind BatchNorm grows by pi / (pi - 1) = 1.467 per
        layer, whatever the weights' scale; without an activation, it grows by (B - 2) / (B - 3) for batches of B.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        One line for all layers: a gradient that grows in one half of the network and falls in the other looks constant.
        At depth 3 it is a line through three points. Layers of different sizes, and pooling between stages, count like
        any other layer. Without a norm, z has no fixed scale, and the rate depends on the weights' scale. Left out for
        networks with fewer than two hidden layers.

    Source:
        Yang et al. 2019, arXiv:1902.08129, for batch norm; the fit is Ours.
    """

    name = "gradient_growth"
    unit = "factor per layer; its negative logarithm"
    needs = frozenset({"gradients"})
    vectorizable = True
    undefined = "the pre-activations of at least two hidden layers"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return rate and slope, of the whole network."""
        norms = list(_preactivation_gradient_norms(seen).values())
        if len(norms) < 2:
            return {}
        log_L = 2 * torch.stack(norms).log()
        depth_L = torch.arange(len(norms), dtype=log_L.dtype, device=log_L.device)
        slope = slope_of(log_L, depth_L)
        return {"network/rate": torch.exp(-slope), "network/slope": slope}
