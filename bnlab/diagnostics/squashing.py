"""Saturation inside norms that squash each value, such as dynamic tanh."""

import functools
from typing import Any, cast

import torch
from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.norms.norm import Norm


class NormSaturation(Diagnostic):
    """How much of a norm's own squashing function is flat, in norms that have one in place of statistics.

        dyt   share of |alpha x| > 2            derf  share of |alpha x + shift| > 1.628

    over all images, channels and positions. Both bounds are where the slope has fallen to 7% of its largest:
    1 / cosh(2)^2 = exp(-1.628^2) = 0.071. So the two can be compared.

    Not in ``diagnostics=full``, which would give every run with it another id: ``diagnostics.names=[norm_saturation]``
    measures it.

    Unit:
        Share, 0 to 1. NaN as soon as one argument is NaN or infinite.

    Reading:
        Near 0, dyt is linear and does nothing but scale; near 1, it has become a sign, and hardly any gradient passes.
        By arXiv:2604.23434 it is what limits the model: a help with few data, a harm with many.

    Cost:
        One forward pass on the probe batch.

    Blind spots:
        The activation behind the norm may be flat too: `saturation` sees that. A large weight of the norm makes up for
        a small slope.

    Source:
        The share of |alpha x| > 2: arXiv:2604.23434. The bound for derf is Ours.
    """

    name = "norm_saturation"
    unit = "share of values"
    cost = "extra"
    vectorizable = True
    undefined = "norms that squash each value by a function of their own, such as dyt and derf"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per norm that squashes."""
        declared = {role: cast("Norm", norm) for role, norm in seen.norms.items()}
        squashing = {role: norm for role, norm in declared.items() if norm.flat_beyond is not None}
        if not squashing or seen.passes is None or seen.probe is None:
            return {}
        found: dict[str, Tensor] = {}
        hooks = [
            norm.register_forward_pre_hook(functools.partial(_keep_share, found, role))
            for role, norm in squashing.items()
        ]
        try:
            seen.passes.logits(seen.probe.inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def _keep_share(found: dict[str, Tensor], role: str, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Keep the flat share of a norm's input; its parameters are those of the pass while it runs."""
    argument = cast("Any", norm).argument(inputs[0]).detach()
    odd = torch.where(argument.isfinite().all(), 0.0, torch.nan)
    found[role] = (argument.abs() > cast("Norm", norm).flat_beyond).to(argument.dtype).mean() + odd
