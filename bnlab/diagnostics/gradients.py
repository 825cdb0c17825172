"""What the gradients do on their way back."""

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation


class GradientNorm(Diagnostic):
    """How large the gradient of each layer's weights is.

        norm_l = || dL/dW_l ||_F,    L = mean cross-entropy over the probe batch

    Read it across layers: a ratio first/last far below 1 is a vanishing gradient, far above 1 an exploding one.

    Unit:
        Loss per unit of weight.

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
