"""How much the gradient of one mini-batch differs from that of another: where that is defined.

Under a norm that mixes the samples of a batch no sample has a gradient of its own, and a mini-batch's gradient is of
another function for each size. Both are left out there.

Shape letters: K mini-batches of B images each.
"""

from typing import cast

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named
from bnlab.norms.norm import Norm


def _is_defined(seen: Observation) -> bool:
    enough = seen.probe is not None and len(seen.probe.training_batches) > 1
    return enough and not any(cast("Norm", norm).mixes_samples for norm in seen.norms.values())


def _moments(seen: Observation) -> dict[str, tuple[Tensor, Tensor]]:
    """Return, per layer, unbiased estimates of the trace of an image's gradient covariance, and of |G|^2."""

    def compute(seen: Observation) -> dict[str, tuple[Tensor, Tensor]]:
        assert seen.probe is not None
        assert seen.passes is not None
        batches = seen.probe.training_batches
        num_batches, size = len(batches), len(batches[0].labels)
        total: Named = {}
        squares: Named = {}
        for batch in batches:
            gradients, _ = seen.passes.gradient(batch.inputs, batch.labels)
            for role, name in seen.names.items():
                g = gradients[name].double()
                total[role] = total[role] + g if role in total else g
                squares[role] = squares.get(role, 0.0) + g.square().sum()
        found = {}
        for role, sum_of_all in total.items():
            mean_square = (sum_of_all / num_batches).square().sum()
            spread = (squares[role] - num_batches * mean_square) / (num_batches - 1)  # of a mini-batch's gradient
            found[role] = (spread * size, mean_square - spread / num_batches)
        return found

    return seen.derived("gradient moments", compute)


class GradientNoiseScale(Diagnostic):
    """How many images a batch needs before its gradient is more signal than noise.

        B_simple = tr(Sigma) / |G|^2

    with Sigma the covariance of one image's gradient and G their mean, over the weights of all layers. Estimated
    without bias from K mini-batches of B images each and their gradients g_k, of mean g:

        tr(Sigma) = B / (K - 1) sum |g_k - g|^2,    |G|^2 = |g|^2 - tr(Sigma) / (K B)

    Unit:
        Images. Negative where the noise hides |G|^2: there are too few images to say.

    Reading:
        Batches far below it waste steps, far above it waste images.

    Cost:
        A forward and backward pass for each of the training batches.

    Blind spots:
        A ratio of two estimates: it is biased, and wild near a minimum, where G goes to 0. Left out, by design, with
        norms that mix the samples of a batch.

    Source:
        McCandlish et al. 2018, arXiv:1812.06162, section 2.2 and appendix A.
    """

    name = "gradient_noise_scale"
    unit = "images"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the noise scale, of the whole network."""
        if not _is_defined(seen):
            return {}
        noise, signal = zip(*_moments(seen).values(), strict=True)
        return {"network": torch.stack(noise).sum() / torch.stack(signal).sum()}


class GradientSNR(Diagnostic):
    """How much of a mini-batch's gradient is signal, layer by layer.

        snr_l = |G_l|^2 / (tr(Sigma_l) / B)

    with the estimates of `gradient_noise_scale`, layer by layer, and B the size of a mini-batch.

    Unit:
        Ratio of squared norms. Negative where the noise hides the signal.

    Reading:
        Above 1, a step goes more along the gradient than across it.

    Cost:
        Shared with `gradient_noise_scale`.

    Blind spots:
        Those of `gradient_noise_scale`.

    Source:
        Ours, from McCandlish et al. 2018.
    """

    name = "gradient_snr"
    unit = "squared signal over squared noise"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        if not _is_defined(seen):
            return {}
        assert seen.probe is not None
        size = len(seen.probe.training_batches[0].labels)
        return {role: signal / (noise / size) for role, (noise, signal) in _moments(seen).items()}
