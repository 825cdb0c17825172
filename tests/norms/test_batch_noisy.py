"""The noise after BatchNorm: its distribution, its control, and the modes without noise."""

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_noisy import NoisyBatchNorm
from bnlab.norms.catalog import build_norm

ONE_IN_A_MILLION = 2.7  # Kolmogorov: P(sqrt(n) * distance > 2.7) is about 2 exp(-2 * 2.7^2) = 9e-7


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distance_from(cdf, values):
    """Return sqrt(n) times the largest distance of the values' distribution from another (Kolmogorov, Smirnov)."""
    share = cdf(np.sort(np.asarray(values), axis=None))
    steps = np.arange(len(share) + 1) / len(share)
    return np.sqrt(len(share)) * max(np.max(share - steps[:-1]), np.max(steps[1:] - share))


def uniform(low, high):
    return lambda values: np.clip((values - low) / (high - low), 0, 1)


def normal(mean, deviation):
    return np.vectorize(lambda value: (1 + math.erf((value - mean) / deviation / math.sqrt(2))) / 2)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def noise_of(norm, shape):
    """Return m and s of one forward pass: what 0 and, with the same draws, 1 are mapped to."""
    state = torch.get_rng_state()
    m = norm(torch.zeros(shape, dtype=torch.float64))
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    s = norm(torch.ones(shape, dtype=torch.float64)) - m
    torch.set_rng_state(after)
    return m.numpy(), s.numpy()


@pytest.mark.parametrize("shape", [(400, 50), (40, 50, 5, 2)])
def test_noise_of_one_element_is_uniform_and_normal_around_the_layers_means(shape):
    m, s = noise_of(NoisyBatchNorm(50, normalize=False), shape)
    mu, sigma = (m.min() + m.max()) / 2, s.mean()
    assert abs(mu) < 0.5
    assert 1 < sigma < 1.25
    assert distance_from(uniform(mu - 0.1, mu + 0.1), m) < ONE_IN_A_MILLION
    assert distance_from(normal(sigma, 0.1), s) < ONE_IN_A_MILLION
    assert abs(np.corrcoef(m.ravel(), s.ravel())[0, 1]) < 0.03


@pytest.mark.slow
def test_means_are_drawn_anew_at_every_step_and_are_uniform():
    norm = NoisyBatchNorm(4, normalize=False, shift_spread=0, scale_spread=0)
    draws = [noise_of(norm, (3, 4)) for _ in range(2000)]
    assert all(np.ptp(m) == 0 and np.ptp(s) < 1e-12 for m, s in draws)  # one for the whole layer
    mu, sigma = ([pair[i].flat[0] for pair in draws] for i in (0, 1))
    assert distance_from(uniform(-0.5, 0.5), mu) < ONE_IN_A_MILLION
    assert distance_from(uniform(1.0, 1.25), sigma) < ONE_IN_A_MILLION


def test_the_distance_finds_a_distribution_that_is_a_little_off():
    values = torch.rand(20_000, generator=torch.Generator().manual_seed(0)).numpy()
    assert distance_from(uniform(0, 1), values) < ONE_IN_A_MILLION
    assert distance_from(uniform(0, 1.05), values) > ONE_IN_A_MILLION
    assert distance_from(normal(0.5, 12**-0.5), values) > ONE_IN_A_MILLION


def test_means_may_be_drawn_per_channel():
    m, s = noise_of(
        NoisyBatchNorm(1000, normalize=False, shift_spread=0, scale_spread=0, noise_per="channel"), (3, 1000, 2)
    )
    assert np.ptp(m, axis=(0, 2)).max() == 0
    assert distance_from(uniform(-0.5, 0.5), m[0, :, 0]) < ONE_IN_A_MILLION
    assert distance_from(uniform(1.0, 1.25), s[0, :, 0]) < ONE_IN_A_MILLION


def test_noise_comes_after_the_learned_scale_and_shift():
    """y = s * BatchNorm(x) + m, with the m and s of an unnormalized layer under the same seed."""
    noisy, batch, x = NoisyBatchNorm(3).double(), BatchNorm(3).double(), draw(8, 3)
    with torch.no_grad():
        noisy.weight.copy_(draw(3, seed=1))
        noisy.bias.copy_(draw(3, seed=2))
    batch.load_state_dict(noisy.state_dict())
    m, s = noise_of(NoisyBatchNorm(3, normalize=False), (8, 3))
    torch.manual_seed(0)
    np.testing.assert_allclose(noisy(x).detach(), s * batch(x).detach().numpy() + m, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(noisy.buffers(), batch.buffers(), strict=True))


def test_eval_mode_is_batch_norms_and_draws_nothing():
    noisy, batch, x = NoisyBatchNorm(3), BatchNorm(3), draw(8, 3, dtype=torch.float32)
    noisy(x)
    batch(x)
    before = torch.get_rng_state()
    assert torch.equal(noisy.eval()(x), batch.eval()(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(NoisyBatchNorm(3, normalize=False).eval()(x), x)


def test_without_spread_and_range_it_is_batch_norm():
    norm = NoisyBatchNorm(3, shift_range=0, scale_max=1, shift_spread=0, scale_spread=0)
    x = draw(8, 3, 4, dtype=torch.float32)
    assert torch.equal(norm(x), BatchNorm(3)(x))


def test_the_same_seed_gives_the_same_noise_and_another_another():
    norm, x = NoisyBatchNorm(3), draw(8, 3, dtype=torch.float32)
    first = norm(x)
    assert not torch.equal(norm(x), first)
    torch.manual_seed(0)
    assert torch.equal(norm(x), first)


def test_the_control_without_normalization_says_that_it_has_nothing_of_batch_norm():
    control, noisy = (build_norm("batch_noisy", 3, normalize=n) for n in (False, True))
    assert list(control.parameters()) == list(control.buffers()) == []
    said = [(n.keeps_running_statistics, n.subtracts_mean, n.mixes_samples, n.invariances) for n in (control, noisy)]
    assert said == [
        (False, False, False, frozenset()),
        (True, True, True, frozenset({"channel_shift", "channel_scale"})),
    ]
    assert control(torch.ones(1, 3)).shape == (1, 3)  # needs no second sample


def test_the_gradient_is_batch_norms_times_the_noise():
    norm, x, cotangent = NoisyBatchNorm(3, normalize=False), draw(8, 3).requires_grad_(), draw(8, 3, seed=1)
    _, s = noise_of(norm, (8, 3))
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad(norm(x), x, cotangent)
    np.testing.assert_allclose(gradient, s * cotangent.numpy(), rtol=1e-12)


@pytest.mark.parametrize("noise_per", ["layer", "channel"])
def test_stacked_replicas_each_draw_noise_of_their_own(noise_per):
    norms = [NoisyBatchNorm(3, noise_per=noise_per, shift_spread=0, scale_spread=0).double() for _ in range(4)]
    state = stack_module_state(norms)
    x = draw(8, 3)
    y = vmap(lambda *s: functional_call(norms[0], s, (x,)), randomness="different")(*state)
    means = y.mean(1).detach().numpy()  # mu of each replica (and channel)
    assert len(np.unique(means.round(9))) == (12 if noise_per == "channel" else 4)


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"scale_max": 0.9}, r"norm\.scale_max must be a number of at least 1, got 0\.9"),
        ({"shift_range": -0.1}, r"norm\.shift_range must be a number of at least 0"),
        ({"scale_spread": "some"}, r"norm\.scale_spread must be a number of at least 0, got some"),
        ({"noise_per": "unit"}, r"norm\.noise_per must be layer or channel, got unit"),
        ({"normalize": "no"}, r"norm\.normalize must be true or false, got no"),
    ],
)
def test_names_the_noise_setting_that_is_wrong(options, law):
    with pytest.raises(ConfigError, match=law):
        NoisyBatchNorm(3, **options)
