"""How much the gradient of one mini-batch differs from that of another: where that is defined.

Under a norm that mixes the samples of a batch no sample has a gradient of its own, and a mini-batch's gradient is of
another function for each size. Both diagnostics are left out there.

How they are estimated: a mini-batch of B images has the mean g_k of their gradients, whose covariance is Sigma / B and
whose mean is G. Among K of them, with mean g, sum |g_k - g|^2 / (K - 1) is tr(Sigma) / B on average, and |g|^2 is
|G|^2 + tr(Sigma) / (K B). That is McCandlish's pair of estimates with B_small = B and B_big = K B.

Shape letters: K mini-batches of B images each.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Observation
from bnlab.diagnostics.passes import Named
from bnlab.norms.norm import Norm


class GradientMoments(NamedTuple):
    """Estimates without bias, by parameter.

    Attributes:
        size: B.
        spread: tr(Sigma) / B: how far a mini-batch's gradient is from the mean, squared.
        signal: |G|^2; below 0 where chance has it so.
    """

    size: int
    spread: Named
    signal: Named


def _batches(seen: Observation) -> list[Batch]:
    """Return the mini-batches of full size, or none where single images have no gradient."""
    mixes = any(cast("Norm", norm).mixes_samples for norm in seen.norms.values())
    if mixes or seen.probe is None:
        return []
    batches = seen.probe.training_batches
    return [batch for batch in batches if len(batch.labels) == len(batches[0].labels)]


def _moments(seen: Observation) -> GradientMoments | None:
    """Return estimates over the training batches, or None where there are none; one gradient at a time is kept."""

    def compute(seen: Observation) -> GradientMoments | None:
        batches = _batches(seen)
        if len(batches) < 2:
            return None
        assert seen.passes is not None
        mean: Named = {}
        squares: dict[str, Tensor | float] = {}
        for k, batch in enumerate(batches, 1):
            gradients, _ = seen.passes.gradient(batch.inputs, batch.labels)
            for name, g in gradients.items():
                away = g - mean[name] if mean else g
                closer = away * ((k - 1) / k)  # from the new mean; Welford's way, for |g|^2 - |mean|^2 has few digits
                mean_now = g - closer
                squares[name] = squares.get(name, 0.0) + (away * closer).sum()
                gradients[name] = mean_now
            mean = gradients
        spread = {name: torch.as_tensor(total) / (len(batches) - 1) for name, total in squares.items()}
        signal = {name: g.square().sum() - spread[name] / len(batches) for name, g in mean.items()}
        return GradientMoments(len(batches[0].labels), spread, signal)

    return seen.derived("gradient moments", compute)


class GradientNoiseScale(Diagnostic):
    """How many images a batch needs before its gradient is more signal than noise.

        B_simple = tr(Sigma) / |G|^2

    with Sigma the covariance of one image's gradient and G their mean, over all parameters. Each estimated without bias
    from K mini-batches of B images, of gradients g_k and their mean g:

        tr(Sigma) = B / (K - 1) sum |g_k - g|^2,    |G|^2 = |g|^2 - tr(Sigma) / (K B)

    Unit:
        Images. Infinite where the noise hides |G|^2: there are too few images to say.

    Reading:
        Batches far below it waste steps, far above it waste images. It rises while the loss falls.

    Cost:
        A forward and backward pass for each of the training batches (``diagnostics.population_size`` images in all).

    Blind spots:
        Left out, by design, with norms that mix the samples of a batch. A ratio of two estimates has a bias, and is
        wild near a minimum, where G goes to 0: from K B images nothing above some K B can be told. In training the same
        images are met again: G is the gradient of these, not of new ones. Augmentation is not in it, and dropout draws
        the same for all batches. Adam's steps are not along G.

    Source:
        McCandlish et al. 2018, arXiv:1812.06162; the estimates are derived in the module's docstring.
    """

    name = "gradient_noise_scale"
    unit = "images"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the noise scale, of the whole network."""
        moments = _moments(seen)
        if moments is None:
            return {}
        noise = moments.size * torch.stack(list(moments.spread.values())).sum()
        signal = torch.stack(list(moments.signal.values())).sum()
        return {"network": torch.where(signal <= 0, torch.inf, noise / signal)}  # NaN stays NaN


class GradientSNR(Diagnostic):
    """How much of a mini-batch's gradient is signal, layer by layer.

        snr_l = |G_l|^2 / (tr(Sigma_l) / B)

    for the weights of layer l and mini-batches of B images, with the estimates of `gradient_noise_scale`.

    Unit:
        Ratio of squared norms. Below 0 where the noise hides the signal.

    Reading:
        Above 1, a step goes more along the gradient than across it. For the network as a whole it is B over the noise
        scale. Layers that differ learn from differently many images.

    Cost:
        Shared with `gradient_noise_scale`.

    Blind spots:
        Those of `gradient_noise_scale`; a single layer's value is surer than that ratio, since noise divides, which is
        well known, and not signal. Without a gradient (a dead layer) it is NaN. Left out, by design, with norms that
        mix the samples of a batch.

    Source:
        Ours, from McCandlish et al. 2018, arXiv:1812.06162.
    """

    name = "gradient_snr"
    unit = "squared signal over squared noise"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        moments = _moments(seen)
        if moments is None:
            return {}
        return {role: moments.signal[name] / moments.spread[name] for role, name in seen.names.items()}
