"""The residual stream: what a network with shortcuts carries on from unit to unit.

Shape letters: L places in the stream.
"""

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.distributions import unit_moments
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.slopes import slope_of


class StreamVariance(Diagnostic):
    """The variance of the residual stream behind each unit, and how it grows with depth.

        var_l = mean of (x_l - mean_l)^2 over N, U and S,    x_0 the input of the first unit, x_l the output of unit l
        rate = exp(slope of log var_l over l),    power = slope of log var_l over log(l + 1),    l = 0..L

    Both slopes are by least squares over all places.

    Unit:
        Squared units of the stream. ``rate``: factor per unit. ``power``: exponent.

    Reading:
        If each branch adds the same variance, var_l = 1 + l, and power is 1: linear growth. If each branch adds as much
        as it got, var_l = 2^l, rate is 2, and power rises with depth. Power 0 and rate 1: the stream keeps its
        variance. Where variance has grown, a branch of fixed size changes the stream by a small share.

    Cost:
        One forward pass on the probe batch.

    Blind spots:
        A rate is near 1 for any power law in a deep network: read power too. Where the number of channels changes
        (the stages of model=resnet), the stream begins anew, and one line through all units describes none of them. It
        does not tell differences between images from differences between units.

    Source:
        The question: Kim et al. 2025, arXiv:2502.02732; Sun et al. 2025, arXiv:2502.05795. Linear growth: De & Smith
        2020, arXiv:2002.10444. The two fits are Ours.
    """

    name = "stream_variance"
    unit = "squared units of the stream; factor per unit; exponent"
    cost = "extra"
    needs = frozenset({"streams"})
    vectorizable = True
    undefined = "residual units, as model=resnet and model=residual_mlp have"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the variance per unit, and rate and power of the whole network."""
        if not seen.streams:
            return {}
        variances: Named = {}
        for role, x in seen.streams.items():
            mean_U, var_U = unit_moments(x)
            variances[role] = var_U.mean() + mean_U.var(correction=0)
        log_L = torch.stack(list(variances.values())).log()
        depth_L = torch.arange(len(log_L), dtype=log_L.dtype, device=log_L.device)
        growth = {"network/rate": slope_of(log_L, depth_L).exp(), "network/power": slope_of(log_L, (depth_L + 1).log())}
        return variances | growth
