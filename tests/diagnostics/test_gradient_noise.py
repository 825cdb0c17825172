"""The noise of gradients, held against NumPy on stored gradients and against a distribution that is known."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from watched import images, in_float64, measured, network, probe

from bnlab.diagnostics.building import build_diagnostics
from bnlab.diagnostics.diagnostic import Batch, Observation, ProbeBatch
from bnlab.diagnostics.gradient_noise import GradientNoiseScale, GradientSNR
from bnlab.diagnostics.measuring import measure_all
from bnlab.norms.names import NORMS

MIX = ["batch", "batch_torch", "ghost", "l1_batch"]
NEED_IMAGES = {"frn", "instance", "instance_torch", "switchable"}
OPTIONS = {name: {"num_groups": 2} for name in ("group", "group_torch", "weight_standardization")}


def batches(num_batches, size, seed=0):
    labels = torch.randint(5, (num_batches * size,), generator=torch.Generator().manual_seed(seed))
    every = images(num_batches * size, seed)
    return tuple(Batch(every[i::num_batches], labels[i::num_batches]) for i in range(num_batches))


def both(net, cut):
    return (measured(name, net, probe(training_batches=cut)) for name in ("gradient_noise_scale", "gradient_snr"))


def stored_gradients(net, cut):
    """Return, per parameter, the gradient of each mini-batch, (K, values), in float64."""
    wide = net.double().train()
    parameters = dict(wide.named_parameters())
    found = {name: [] for name in parameters}
    for batch in cut:
        loss = F.cross_entropy(wide(batch.inputs.double()), batch.labels)
        for name, g in zip(found, torch.autograd.grad(loss, list(parameters.values())), strict=True):
            found[name].append(g.flatten().numpy())
    return {name: np.array(rows) for name, rows in found.items()}


def mccandlish(rows, size):
    """Return |G|^2 and tr(Sigma) from gradients of small batches and of all of them as a big one, as in the paper."""
    small, big = size, size * len(rows)
    g_small, g_big = (rows**2).sum(1).mean(), (rows.mean(0) ** 2).sum()
    return (big * g_big - small * g_small) / (big - small), (g_small - g_big) / (1 / small - 1 / big)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["none", "layer", "rms", "weight_standardization"])
@pytest.mark.parametrize("placement", ["before", "after"])
def test_scale_and_ratio_are_numpys(model, norm, placement):
    cut, net = batches(6, 10), network(model, norm=norm, placement=placement, **OPTIONS.get(norm, {}))
    scale, ratios = both(net, cut)
    rows = stored_gradients(net, cut)
    signal, noise = mccandlish(np.concatenate(list(rows.values()), 1), 10)
    assert scale == {"network": pytest.approx(noise / signal, rel=1e-3)}
    names = {id(value): name for name, value in net.named_parameters()}
    expected = {}
    for role, weight in net.weights.items():
        signal, noise = mccandlish(rows[names[id(weight)]], 10)
        expected[role] = signal / (noise / 10)
    assert ratios == pytest.approx(expected, rel=1e-3)


class Averaging:
    """Passes through a model whose loss is linear in its one parameter: an image's gradient is the image."""

    def gradient(self, inputs, _):
        return {"w": inputs.mean(0)}, None


def seen_as_gradients(rows_KBD):
    cut = tuple(Batch(rows, torch.zeros(len(rows))) for rows in rows_KBD)
    return Observation(
        {}, {}, {}, "relu", names={"x": "w"}, passes=Averaging(), probe=ProbeBatch(None, None, "relu", cut)
    )


def estimates(seen):
    """Return tr(Sigma) and |G|^2 out of the two diagnostics, for two mini-batches or more of equal size."""
    size, num_batches = len(seen.probe.training_batches[0].labels), len(seen.probe.training_batches)
    snr = GradientSNR().measure(seen)["x"].item()
    mean = torch.stack([batch.inputs.mean(0) for batch in seen.probe.training_batches]).mean(0)
    spread = mean.square().sum().item() / (snr + 1 / num_batches)  # snr = |g|^2 / spread - 1 / K
    return spread * size, snr * spread


@pytest.mark.slow
def test_both_estimates_are_unbiased():
    generator = torch.Generator().manual_seed(0)
    traces, squares = [], []
    for _ in range(2000):
        rows = 0.5 + 2 * torch.randn((5, 8, 3), generator=generator, dtype=torch.float64)
        trace, square = estimates(seen_as_gradients(rows))
        traces.append(trace)
        squares.append(square)
    for found, truth in ((traces, 3 * 2.0**2), (squares, 3 * 0.5**2)):
        error = np.std(found) / math.sqrt(len(found))
        assert abs(np.mean(found) - truth) < 4 * error
        assert 4 * error < 0.15 * truth  # or anything would pass


@pytest.mark.parametrize("size", [4, 40])
def test_the_noise_scale_is_that_of_the_images_whatever_the_mini_batch(size):
    rows = 1 + 3 * torch.randn((40_000, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = GradientNoiseScale().measure(seen_as_gradients(rows.view(-1, size, 5)))["network"].item()
    assert found == pytest.approx(9.0, rel=0.05)


def test_a_small_noise_on_a_large_gradient_keeps_its_digits():
    """In float32, where a difference of squares would have none."""
    rows = 1000 + 1e-2 * torch.randn((200, 1, 50), generator=torch.Generator().manual_seed(0))
    truth = rows.double().var(0).sum().item()
    found = GradientNoiseScale().measure(seen_as_gradients(rows))["network"].item()
    assert found == pytest.approx(truth / rows.double().mean(0).square().sum().item(), rel=0.05)


def test_a_signal_that_cannot_be_told_from_noise_needs_infinitely_many_images():
    rows = torch.tensor([[[1.0, 2.0]], [[-1.0, -2.0]]])
    assert GradientNoiseScale().measure(seen_as_gradients(rows))["network"].item() == math.inf
    assert GradientSNR().measure(seen_as_gradients(rows))["x"].item() == -0.5


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_gradients_do_not_look_healthy(broken):
    rows = torch.ones(3, 2, 2)
    rows[1, 0, 0] = broken
    assert math.isnan(GradientNoiseScale().measure(seen_as_gradients(rows))["network"].item())
    assert math.isnan(GradientSNR().measure(seen_as_gradients(rows))["x"].item())


def test_a_last_batch_that_is_smaller_is_left_out():
    net, cut = network(norm="layer"), batches(4, 10)
    short = Batch(cut[0].inputs[:3], cut[0].labels[:3])
    assert list(both(net, (*cut, short))) == list(both(net, cut))


@pytest.mark.parametrize(("norm", "placement"), [(norm, "before") for norm in MIX] + [("batch", "input")])
def test_it_is_left_out_where_a_sample_has_no_gradient_of_its_own(norm, placement):
    scale, ratios = both(network(norm=norm, placement=placement), batches(4, 10))
    assert scale == ratios == {}


@pytest.mark.slow_but(9)
@pytest.mark.parametrize("norm", NORMS)
def test_a_batchs_gradient_is_the_mean_of_its_parts_wherever_it_is_measured(norm):
    """That is what the estimates rest on: a norm that mixes samples breaks it, and must say so."""
    model = "cnn" if norm in NEED_IMAGES else "mlp"
    with in_float64():
        net, (batch,) = network(model, norm=norm, **OPTIONS.get(norm, {})).train(), batches(1, 8)

        def gradient(inputs, labels):
            torch.manual_seed(0)
            fresh = copy.deepcopy(net)  # whose running statistics no other batch has moved
            loss = F.cross_entropy(fresh(inputs), labels)
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(fresh.weights.values()))])

        if any(one.mixes_samples for one in net.norms.values()):
            assert list(both(net, batches(3, 8))) == [{}, {}]
        else:
            parts = [gradient(*part) for part in zip(batch.inputs.split(2), batch.labels.split(2), strict=True)]
            torch.testing.assert_close(gradient(*batch), torch.stack(parts).mean(0))
            assert all(both(net, batches(3, 8)))


@pytest.mark.parametrize("count", [0, 1])
def test_one_batch_says_nothing_of_noise(count):
    scale, ratios = both(network(norm="none"), batches(1, 10)[:count])
    assert scale == ratios == {}


def test_the_passes_are_made_once_for_both():
    net, calls = network(norm="none"), []
    net.register_forward_hook(lambda *_: calls.append(1))
    batch = probe(training_batches=batches(6, 10))
    measure_all(build_diagnostics(["gradient_noise_scale", "gradient_snr"]), net, net, batch)
    assert len(calls) == 6 + 1  # and one over the probe batch, which all diagnostics share
