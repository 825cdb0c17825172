"""What the gradients do on their way back.

Shape letters: L layers.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges


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
        return {role: torch.linalg.vector_norm(g) for role, g in seen.weight_gradients.items()}


class PreactivationGradientNorm(Diagnostic):
    """How large the gradient is that arrives at each layer's pre-activations.

        norm_l = || dL/dz_l ||_F,    z_l what the activation sees, for all images of the probe batch

    Unit:
        Loss per unit of pre-activation.

    Reading:
        Across layers, as `gradient_norm`; but no weight's own size is in it.

    Cost:
        Reads what the others read.

    Blind spots:
        It falls with the number of images, since each weighs 1/N in the mean loss. Behind a batch norm z has a set
        scale; without one, a small gradient may only mean that z is large.

    Source:
        Glorot & Bengio 2010, figure 7 (back-propagated gradients).
    """

    name = "preactivation_gradient_norm"
    unit = "loss per unit of pre-activation"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the norm per layer."""
        return {role: torch.linalg.vector_norm(g) for role, g in seen.preactivation_gradients.items()}


class RelativeGradientNorm(Diagnostic):
    """How large the gradient of each layer's weights is, beside the weights.

        ratio_l = || dL/dW_l ||_F / || W_l ||_F

    Unit:
        Loss per squared unit of weight.

    Reading:
        Times the learning rate, it is the share of themselves by which plain SGD moves the weights at a step.

    Cost:
        Reads what the others read.

    Blind spots:
        Not so for weights in front of a norm: there both parts scale oppositely, and the ratio by 1/||W||^2.

    Source:
        The usual definition.
    """

    name = "relative_gradient_norm"
    unit = "loss per squared unit of weight"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        return {
            role: torch.linalg.vector_norm(g) / torch.linalg.vector_norm(seen.weights[role])
            for role, g in seen.weight_gradients.items()
        }


class GradientRatio(Diagnostic):
    """How much of the last hidden layer's gradient is left at the first one.

        ratio = || dL/dW_1 ||_F / || dL/dW_L ||_F,    1 and L the first and the last hidden layer

    Unit:
        Dimensionless, above 0.

    Reading:
        About 1: every layer learns. 1e-3 and less: the gradient vanishes on its way back; 1e3 and more: it explodes.
        Powers of ten count, not percent.

    Cost:
        Reads what the others read.

    Blind spots:
        The first layer's weights are of another shape, which alone makes a factor of a few. Left out for networks
        with fewer than two hidden layers.

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
        hidden = list(seen.weight_gradients.values())[:-1]
        if len(hidden) < 2:
            return {}
        return {"network": torch.linalg.vector_norm(hidden[0]) / torch.linalg.vector_norm(hidden[-1])}


class GradientGrowth(Diagnostic):
    """By what factor the squared gradient grows per layer on its way back, by a straight line through all layers.

        slope = least squares of log || dL/dz_l ||^2 over l = 1..L,    rate = exp(-slope)

    with z_l the pre-activations of hidden layer l.

    Unit:
        ``rate``: factor per layer, above 0. ``slope``: its negative logarithm.

    Reading:
        rate 1: every layer gets the same. Relu behind BatchNorm explodes by pi / (pi - 1) = 1.467 per layer at its
        initial weights, whatever these are.

    Cost:
        Reads what the others read.

    Blind spots:
        One line for all layers: a gradient that grows in the first half and falls in the second looks steady.
        Pooling between stages is taken for a layer like any other. Left out for networks with fewer than two hidden
        layers.

    Source:
        Yang et al. 2019, arXiv:1902.08129, for batch norm; the fit is Ours.
    """

    name = "gradient_growth"
    unit = "factor per layer; its negative logarithm"
    needs = frozenset({"gradients"})
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return rate and slope, of the whole network."""
        gradients = list(seen.preactivation_gradients.values())
        if len(gradients) < 2:
            return {}
        log_L = torch.stack([2 * torch.linalg.vector_norm(g.double()).log() for g in gradients])
        depth_L = torch.arange(len(gradients), dtype=log_L.dtype, device=log_L.device)
        centered_L = depth_L - depth_L.mean()
        slope = (centered_L * log_L).sum() / centered_L.square().sum()
        return {"network/rate": torch.exp(-slope), "network/slope": slope}
