"""The noise of gradients, held against NumPy on stored gradients and against a distribution that is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import Batch
from bnlab.norms.catalog import NORMS

MIX = ["batch", "batch_torch", "ghost", "l1_batch"]


def batches(num_batches, size, seed=0):
    labels = torch.randint(5, (num_batches * size,), generator=torch.Generator().manual_seed(seed))
    every = images(num_batches * size, seed)
    return tuple(Batch(every[i::num_batches], labels[i::num_batches]) for i in range(num_batches))


def stored_gradients(net, cut):
    """Return, per layer, the gradient of each mini-batch, (K, values), in float64."""
    wide = net.double().train()
    found = {role: [] for role in wide.weights}
    for batch in cut:
        loss = F.cross_entropy(wide(batch.inputs.double()), batch.labels)
        for role, g in zip(found, torch.autograd.grad(loss, list(wide.weights.values())), strict=True):
            found[role].append(g.flatten().numpy())
    return {role: np.array(rows) for role, rows in found.items()}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_scale_and_ratio_are_numpys(model, norm):
    cut = batches(6, 10)
    net = network(model, norm=norm)
    scale, ratios = (
        measured(name, net, probe(training_batches=cut)) for name in ("gradient_noise_scale", "gradient_snr")
    )
    noise, signal = {}, {}
    for role, rows in stored_gradients(net, cut).items():
        variance = rows.var(0, ddof=1).sum()  # of a mini-batch's gradient
        noise[role], signal[role] = 10 * variance, (rows.mean(0) ** 2).sum() - variance / 6
    assert scale == {"network": pytest.approx(sum(noise.values()) / sum(signal.values()), rel=1e-3)}
    assert ratios == pytest.approx({role: signal[role] / (noise[role] / 10) for role in noise}, rel=1e-3)


def test_both_estimates_are_unbiased():
    """A linear model under a loss that is linear in it: each image's gradient is the image, of known moments."""
    generator = np.random.default_rng(0)
    mean, deviation, size, count = 0.3, 2.0, 8, 5
    traces, squares = [], []
    for _ in range(4000):
        rows = generator.normal(mean, deviation, (count, size, 3)).mean(1)
        spread = ((rows - rows.mean(0)) ** 2).sum() / (count - 1)
        traces.append(spread * size)
        squares.append((rows.mean(0) ** 2).sum() - spread / count)
    assert np.mean(traces) == pytest.approx(3 * deviation**2, rel=0.02)
    assert np.mean(squares) == pytest.approx(3 * mean**2, rel=0.1)


@pytest.mark.parametrize("norm", MIX)
def test_it_is_left_out_where_a_sample_has_no_gradient_of_its_own(norm):
    net, batch = network(norm=norm), probe(training_batches=batches(4, 10))
    assert measured("gradient_noise_scale", net, batch) == measured("gradient_snr", net, batch) == {}


def test_norms_that_mix_samples_say_so():
    """Of any norm that does not, one sample's output does not move with the others."""
    for norm in NORMS:
        if norm in {"frn", "instance", "instance_torch", "switchable"}:
            continue
        torch.manual_seed(0)
        alone = network(norm=norm, depth=1).train()(images(8))[:4]
        other = images(8)
        other[4:] += 3
        torch.manual_seed(0)
        net = network(norm=norm, depth=1).train()
        moves = not torch.allclose(net(other)[:4], alone, atol=1e-5)
        assert moves <= net.norms["hidden1"].mixes_samples, norm


@pytest.mark.parametrize("count", [0, 1])
def test_one_batch_says_nothing_of_noise(count):
    cut = batches(1, 10)[:count]
    assert measured("gradient_noise_scale", network(norm="none"), probe(training_batches=cut)) == {}
