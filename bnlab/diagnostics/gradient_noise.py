"""How much the gradients of mini-batches differ from each other, where this is defined.

With a norm that mixes the samples of a batch, no sample has a gradient of its own, and batches of different sizes have
gradients of different functions. Both diagnostics are left out for such networks.

The estimates: a mini-batch of B images has the mean g_k of their gradients, whose covariance is Sigma / B and
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

SINGLE_GRADIENTS = (
    "gradients of single images, which do not exist with BatchNorm or another norm that mixes the images of a batch"
)
"""Why a diagnostic is undefined in some networks: it needs this."""


class GradientMoments(NamedTuple):
    """Unbiased estimates, by parameter.

    Attributes:
        size: Images per mini-batch, B.
        spread: tr(Sigma) / B: the mean squared distance of a mini-batch's gradient from the true gradient.
        signal: |G|^2; can be below 0 by chance.
    """

    size: int
    spread: Named
    signal: Named


def _batches(seen: Observation) -> list[Batch]:
    """Return the mini-batches of full size; none if single images have no gradient of their own."""
    mixes = any(cast("Norm", norm).mixes_samples for norm in seen.norms.values())
    if mixes or seen.probe is None:
        return []
    batches = seen.probe.training_batches
    return [batch for batch in batches if len(batch.labels) == len(batches[0].labels)]


def _moments(seen: Observation) -> GradientMoments | None:
    """Return estimates over the training batches, None with fewer than two; only one gradient is kept at a time."""

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
                closer = away * (
                    (k - 1) / k
                )  # from the new mean; Welford's method, since |g|^2 - |mean|^2 loses digits
                mean_now = g - closer
                squares[name] = squares.get(name, 0.0) + (away * closer).sum()
                gradients[name] = mean_now
            mean = gradients
        spread = {name: torch.as_tensor(total) / (len(batches) - 1) for name, total in squares.items()}
        signal = {name: g.square().sum() - spread[name] / len(batches) for name, g in mean.items()}
        return GradientMoments(len(batches[0].labels), spread, signal)

    return seen.derived("gradient moments", compute)


class GradientNoiseScale(Diagnostic):
    """The number of images that a batch needs before its gradient is more signal than noise.

        B_simple = tr(Sigma) / |G|^2

    with Sigma the covariance of single images' gradients and G their mean, over all parameters. Both are estimated
    without bias from K mini-batches of B images, with gradients g_k and their mean g:

        tr(Sigma) = B / (K - 1) sum |g_k - g|^2,    |G|^2 = |g|^2 - tr(Sigma) / (K B)

    Unit:
        Images. Infinite if the estimate of |G|^2 is 0 or less: then there are too few images for an estimate.

    Reading:
        Much smaller batches waste steps, much larger ones waste images. It rises while the loss falls.

    Cost:
        A forward and backward pass for each of the training batches (``diagnostics.population_size`` images in all).

    Blind spots:
        Left out, by design, with norms that mix the samples of a batch. A ratio of two estimates is biased, and varies
        strongly near a minimum, where G goes to 0: with K B images, values above about K B cannot be measured. Training
        uses the same images again: G is the gradient on these, not on new ones. Augmentation is not included, and
        dropout makes the same draws for all batches. Adam's steps do not follow G.

    Source:
        McCandlish et al. 2018, arXiv:1812.06162; the estimates are derived in the module's docstring.
    """

    name = "gradient_noise_scale"
    unit = "images"
    cost = "heavy"
    vectorizable = True
    undefined = SINGLE_GRADIENTS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the noise scale, of the whole network."""
        moments = _moments(seen)
        if moments is None:
            return {}
        noise = moments.size * torch.stack(list(moments.spread.values())).sum()
        signal = torch.stack(list(moments.signal.values())).sum()
        return {"network": torch.where(signal <= 0, torch.inf, noise / signal)}  # NaN stays NaN


class GradientSNR(Diagnostic):
    """The ratio of signal to noise in a mini-batch's gradient, layer by layer.

        snr_l = |G_l|^2 / (tr(Sigma_l) / B)

    for the weights of layer l and mini-batches of B images, with the estimates of `gradient_noise_scale`.

    Unit:
        Ratio of squared norms. Below 0 if the estimated signal is below 0, by chance.

    Reading:
        Above 1, the signal in a mini-batch's gradient is larger than the noise. For the network as a whole it would be
        B over the noise scale. Layers with different values need different batch sizes.

    Cost:
        Shared with `gradient_noise_scale`.

    Blind spots:
        Those of `gradient_noise_scale`; but this ratio is more certain, since it divides by the noise, whose estimate
        is good. NaN for a layer without a gradient (a dead layer). Left out, by design, with norms that mix the samples
        of a batch.

    Source:
        Ours, from McCandlish et al. 2018, arXiv:1812.06162.
    """

    name = "gradient_snr"
    unit = "squared signal over squared noise"
    cost = "heavy"
    vectorizable = True
    undefined = SINGLE_GRADIENTS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the ratio per layer."""
        moments = _moments(seen)
        if moments is None:
            return {}
        return {role: moments.signal[name] / moments.spread[name] for role, name in seen.names.items()}
