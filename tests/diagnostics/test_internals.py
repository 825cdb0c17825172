"""A norm's own numbers, held against NumPy; the noise of statistics, against the noise of independent values."""

import numpy as np
import pytest
import torch
from watched import images, measured, network, probe

from bnlab.diagnostics.diagnostic import Batch


def randomized(norm="batch", model="mlp"):
    net = network(model, norm=norm)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.norms.values():
            for value in layer.parameters():
                value.copy_(torch.randn(value.shape, generator=generator))
    return net


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["batch", "layer", "batch_torch"])
def test_scale_and_shift_are_numpys(model, norm):
    net = randomized(norm, model)
    scale, shift = measured("norm_scale", net, probe()), measured("norm_shift", net, probe())
    for role, layer in net.norms.items():
        gamma, beta = np.abs(layer.weight.detach().double().numpy()), layer.bias.detach().double().numpy()
        for found, expected in ((scale, gamma), (shift, beta)):
            assert found[f"{role}/mean"] == pytest.approx(expected.mean(), abs=1e-6)
            for percent in (15, 50, 85):
                assert found[f"{role}/q{percent}"] == pytest.approx(np.percentile(expected, percent), abs=1e-6)


def test_a_norm_without_such_parameters_is_left_out():
    net = network(norm="rms")
    assert measured("norm_shift", net, probe()) == {}
    assert set(measured("norm_scale", net, probe())) == {
        f"{r}/{f}" for r in net.norms for f in ("mean", "q15", "q50", "q85")
    }
    assert measured("norm_scale", network(norm="none"), probe()) == {}


def test_channels_near_zero_are_counted_by_the_size_of_their_scale():
    net = network()
    with torch.no_grad():
        net.norms["hidden2"].weight[:3] = torch.tensor([0.0, -0.005, 0.0099])
        net.norms["hidden2"].weight[3] = -0.02
    found = measured("near_zero_channels", net, probe())
    assert found == {"hidden1": 0, "hidden2": pytest.approx(3 / 12), "hidden3": 0}


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_noise_of_batch_statistics_is_numpys(model):
    cut = tuple(Batch(images(20, i), torch.arange(20) % 5) for i in range(6))
    net = network(model)
    found = measured("batch_statistics_noise", net, probe(training_batches=cut))
    seen = {role: [] for role in net.norms}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, role=role: seen[role].append(args[0].detach().double().numpy()))
        for role, layer in net.norms.items()
    ]
    for batch in cut:
        net.train()(batch.inputs)
    for hook in hooks:
        hook.remove()
    for role, inputs in seen.items():
        units = [np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) for x in inputs]
        everything = np.concatenate(units, 1)
        means, variances = np.array([x.mean(1) for x in units]), np.array([x.var(1) for x in units])
        expected = (means.std(0, ddof=1) / np.sqrt(everything.var(1) + 1e-5)).mean()
        assert found[f"{role}/mean"] == pytest.approx(expected, rel=1e-3)
        assert found[f"{role}/variance"] == pytest.approx(np.log(variances + 1e-5).std(0, ddof=1).mean(), rel=1e-3)


def test_of_independent_values_it_is_one_over_the_root_of_their_number():
    cut = tuple(Batch(images(50, i), torch.arange(50) % 5) for i in range(200))
    found = measured("batch_statistics_noise", network(depth=1), probe(training_batches=cut))
    assert found["hidden1/mean"] == pytest.approx(50**-0.5, rel=0.05)
    assert found["hidden1/variance"] == pytest.approx((2 / 50) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("norm", "options"), [("ghost", {"ghost_size": 10}), ("batch_devices", {"num_devices": 5})])
def test_of_ghosts_and_devices_it_is_that_of_a_part(norm, options):
    cut = tuple(Batch(images(50, i), torch.arange(50) % 5) for i in range(100))
    found = measured("batch_statistics_noise", network(depth=1, norm=norm, **options), probe(training_batches=cut))
    assert found["hidden1/mean"] == pytest.approx(10**-0.5, rel=0.05)


@pytest.mark.parametrize("norm", ["l1_batch", "batch_center_only", "batch_scale_only", "batch_torch", "switchable"])
def test_whatever_a_norm_keeps_its_inputs_are_as_noisy(norm):
    cut = tuple(Batch(images(20, i), torch.arange(20) % 5) for i in range(6))
    ours, plain = (
        measured("batch_statistics_noise", network(depth=1, norm=n), probe(training_batches=cut))
        for n in (norm, "batch")
    )
    assert ours == pytest.approx(plain, rel=1e-4)


def test_one_batch_has_no_noise_to_speak_of():
    assert (
        measured(
            "batch_statistics_noise", network(), probe(training_batches=(Batch(images(20), torch.arange(20) % 5),))
        )
        == {}
    )


@pytest.mark.parametrize("name", ["norm_scale", "near_zero_channels", "norm_shift"])
def test_a_parameter_that_is_no_number_shows(name):
    net = network()
    with torch.no_grad():
        net.norms["hidden1"].weight[0] = torch.nan
        net.norms["hidden1"].bias[0] = torch.nan
    found = measured(name, net, probe())
    assert all(np.isnan(value) == key.startswith("hidden1") for key, value in found.items())
