"""The direction in which LayerNorm's output never changes, and RMSNorm's does, as laws that a study can ask.

Each draws a random batch and layer, and measures by numpy the variance of the output along 1/gamma, as a multiple of
its mean variance over all directions. The exact values are 0 and about 1.

Shape letters: N batch, C channels.
"""

from collections.abc import Callable

import numpy as np

from bnlab.studies.definition_cases import Array, tensor_of


def share_along_inverse_gamma(y_NC: Array, gamma_C: Array) -> float:
    """Return the variance along 1/gamma as a multiple of the mean variance over all directions.

    Args:
        y_NC: Outputs of a norm.
        gamma_C: Its scale, nowhere 0.
    """
    u_C = (1 / gamma_C) / np.linalg.norm(1 / gamma_C)
    return float((y_NC @ u_C).var() / y_NC.var(0).mean())


def _share(norm: str, rng: np.random.Generator, offset: float) -> float:
    from bnlab.norms.catalog import build_norm  # noqa: PLC0415  (studies are listed without torch)

    num_channels = int(rng.integers(4, 64))
    gamma_C = rng.choice([-1, 1], num_channels) * rng.uniform(0.5, 2, num_channels)
    scale = 10 ** rng.uniform(-2, 2)
    x_NC = scale * (rng.normal(size=(256, num_channels)) + offset * rng.normal(size=(256, 1)))
    layer = build_norm(norm, num_channels, eps=1e-5).double()
    layer.load_state_dict({**layer.state_dict(), "weight": tensor_of(gamma_C)})
    y_NC = layer(tensor_of(x_NC)).detach().numpy()
    return share_along_inverse_gamma(y_NC, gamma_C)


def _of_layer_norm(rng: np.random.Generator) -> float:
    """The mean of a sample is subtracted, however far from 0 it is: sum over C of (y - beta) / gamma = 0."""
    return _share("layer", rng, offset=10.0)


def _of_rms_norm(rng: np.random.Generator) -> float:
    """Nothing is subtracted. Inputs are centered around 0: far from 0, a division by their size takes the mean too."""
    return _share("rms", rng, offset=0.0)


DIRECTION_LAWS: dict[str, Callable[[np.random.Generator], float]] = {
    "variance_along_inverse_gamma_of_layer": _of_layer_norm,
    "variance_along_inverse_gamma_of_rms": _of_rms_norm,
}
"""By the name that a study's condition has; the last word is the norm."""
