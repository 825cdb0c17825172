"""Batch renormalization, compared with Algorithm 1 in float64 NumPy, BatchNorm, and its own eval mode."""

import copy

import numpy as np
import pytest
import torch

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_renorm import BatchRenorm

AT_ONCE = {"warmup_steps": 0, "r_ramp_steps": 0, "d_ramp_steps": 0}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1) + 0.5)
    return norm


def algorithm_1(x, weight, bias, mu, sigma, r_max, d_max, eps):
    """Write the paper's lines down for (N, C), in NumPy; return y, mean, var, r and d."""
    mean = x.mean(0)
    var = ((x - mean) ** 2).mean(0)
    std = np.sqrt(eps + var)
    r = np.minimum(np.maximum(std / sigma, 1 / r_max), r_max)
    d = np.minimum(np.maximum((mean - mu) / sigma, -d_max), d_max)
    return weight * ((x - mean) / std * r + d) + bias, mean, var, r, d


def paper_limits(step, r_max=3.0, d_max=5.0):
    """Read the paper's section 4.1 as points of a line: (5k, 1) to (40k, 3), and (5k, 0) to (25k, 5)."""
    return np.interp(step, [5000, 40000], [1, r_max]), np.interp(step, [5000, 25000], [0, d_max])


def test_training_output_is_algorithm_1_over_steps():
    norm = shuffled(BatchRenorm(3, r_max=1.5, d_max=0.4, **AT_ONCE).double())
    mu, var_run = np.zeros(3), np.ones(3)
    weight, bias = (p.detach().numpy() for p in norm.parameters())
    clipped = set()
    for step in range(20):
        x = (1 + step / 10) * draw(8, 3, seed=step) + 1
        y, mean, var, r, d = algorithm_1(x.numpy(), weight, bias, mu, np.sqrt(var_run + 1e-5), 1.5, 0.4, 1e-5)
        np.testing.assert_allclose(norm(x).detach(), y, rtol=1e-11, atol=1e-12)
        mu, var_run = 0.9 * mu + 0.1 * mean, 0.9 * var_run + 0.1 * var
        clipped |= {"r high"} if (r == 1.5).any() else set()
        clipped |= {"d high"} if (d == 0.4).any() else set()
        clipped |= {"free"} if ((r < 1.5) & (r > 1 / 1.5) & (abs(d) < 0.4)).any() else set()
    assert clipped == {"r high", "d high", "free"}
    np.testing.assert_allclose(norm.running_mean, mu, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, var_run, rtol=1e-12)


def test_the_lower_limit_of_r_is_one_over_the_upper():
    norm = BatchRenorm(1, r_max=4.0, d_max=0.0, **AT_ONCE).double()
    norm.running_var.fill_(1e6)
    x = draw(50, 1)
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() / 4
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_the_warm_up_it_is_batch_norm_to_the_last_bit(shape, dtype):
    """Outputs, gradients and buffers, also with running statistics far from the batch's; not after the warm-up."""
    ours, batch = shuffled(BatchRenorm(3, warmup_steps=3, r_ramp_steps=0, d_ramp_steps=0)), BatchNorm(3)
    batch.load_state_dict(ours.state_dict())
    for step in range(4):
        x = (5 * draw(*shape, seed=step) + 9).to(dtype)
        seen = []
        for norm in (ours, batch):
            leaf = x.clone().requires_grad_()
            norm.zero_grad()
            y = norm(leaf)
            y.backward(draw(*shape, seed=50).to(dtype))
            seen.append([y.detach(), leaf.grad, *(p.grad for p in norm.parameters()), *norm.buffers()])
        equal = [torch.equal(a, b) for a, b in zip(*seen, strict=True)]
        assert equal[0] is equal[1] is equal[2] is (step < 3)
        assert all(equal[4:])  # the running statistics are BatchNorm's for ever


def test_statistics_that_overflow_spoil_nothing_that_batch_norm_survives():
    """At 1e30 the variance is infinite in float32, and r would be inf / inf from the second batch on."""
    ours, batch, x = BatchRenorm(3), BatchNorm(3), 1e30 * draw(6, 3).float()
    for _ in range(3):
        y = ours(x)
        assert torch.equal(y, batch(x))
        assert y.isfinite().all()
    assert ours.running_var.isinf().all()


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
def test_without_limits_training_output_is_eval_output_with_the_statistics_from_before(shape):
    norm = shuffled(BatchRenorm(3, r_max=1e12, d_max=1e12, **AT_ONCE).double())
    for step in range(3):
        x = 2 * draw(*shape, seed=step) + 3
        expected = copy.deepcopy(norm).eval()(x)
        torch.testing.assert_close(norm(x), expected, rtol=1e-10, atol=1e-11)


def test_no_gradient_passes_through_r_and_d():
    """With r and d as plain numbers, autograd through Algorithm 1 gives the layer's gradient."""
    norm = shuffled(BatchRenorm(3, r_max=1.5, d_max=0.4, **AT_ONCE).double())
    norm.running_var.copy_(torch.tensor([0.5, 2.0, 1.0]))
    weight, bias = norm.parameters()
    x, cotangent = draw(8, 3) + 0.2, draw(8, 3, seed=9)
    sigma = np.sqrt(norm.running_var.numpy() + 1e-5)
    *_, r, d = algorithm_1(x.numpy(), 1, 0, norm.running_mean.numpy(), sigma, 1.5, 0.4, 1e-5)
    assert ((r < 1.5) & (r > 1 / 1.5)).any()  # free ones, which a gradient could pass through
    leaf = x.clone().requires_grad_()
    xhat = (leaf - leaf.mean(0)) / (leaf.var(0, correction=0) + 1e-5).sqrt()
    y = weight * (xhat * torch.from_numpy(r) + torch.from_numpy(d)) + bias
    expected = torch.autograd.grad(y, (leaf, weight, bias), cotangent)
    leaf = x.clone().requires_grad_()
    found = torch.autograd.grad(norm(leaf), (leaf, weight, bias), cotangent)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("step", [0, 4999, 5000, 5001, 15000, 25000, 30000, 40000, 10**6])
def test_limits_open_as_the_paper_says(step):
    norm = BatchRenorm(1, warmup_steps=5000, r_ramp_steps=35000, d_ramp_steps=20000)
    limits = norm.limits(torch.tensor(step), torch.float64)
    np.testing.assert_allclose([limit.item() for limit in limits], paper_limits(step), rtol=1e-12)


@pytest.mark.parametrize("step", [0, 49, 50, 51, 250, 400, 10_000])
def test_default_schedule_is_the_papers_at_a_hundredth_of_its_length(step):
    limits = BatchRenorm(1).limits(torch.tensor(step))
    np.testing.assert_allclose([limit.item() for limit in limits], paper_limits(100 * step), rtol=1e-6)


def test_the_schedule_goes_on_from_a_saved_state():
    norm, x = BatchRenorm(1, warmup_steps=5, r_ramp_steps=4, d_ramp_steps=4), draw(4, 1).float()
    for _ in range(7):
        norm(x)
    twin, fresh = (BatchRenorm(1, warmup_steps=5, r_ramp_steps=4, d_ramp_steps=4) for _ in range(2))
    twin.load_state_dict(norm.state_dict())
    fresh.load_state_dict({**norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    assert torch.equal(twin(3 * x + 1), norm(3 * x + 1))
    assert not torch.allclose(fresh(5 * x), norm(5 * x), atol=0.1)


def test_with_several_updates_per_batch_the_schedule_counts_batches():
    norm = BatchRenorm(2, warmup_steps=2, r_ramp_steps=0, d_ramp_steps=0, momentum=0.5)
    plain = BatchNorm(2, momentum=0.5)
    norm.divide_updates(3)
    generator = torch.Generator().manual_seed(0)
    for batch in range(3):
        for _ in range(3):
            x = 4 + 3 * torch.randn(6, 2, generator=generator)
            assert torch.equal(norm(x), plain(x)) == (batch < 2)


def test_stacked_replicas_may_stand_at_different_steps():
    norm = BatchRenorm(2, warmup_steps=10, r_ramp_steps=0, d_ramp_steps=0).double()
    _, buffers = torch.func.stack_module_state([norm, norm])
    buffers["num_batches_tracked"] = torch.tensor([0, 10])
    buffers["running_var"] = torch.full((2, 2), 4.0).double()
    x = draw(6, 2)

    def call(buffers):
        return torch.func.functional_call(norm, buffers, (x,))

    warming, opened = torch.func.vmap(call)(buffers)
    torch.testing.assert_close(warming, BatchNorm(2).double()(x))
    norm.num_batches_tracked.fill_(10)
    norm.running_var.fill_(4.0)
    torch.testing.assert_close(opened, norm(x))
    assert (warming - opened).abs().max() > 0.1


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"r_max": 0.5}, r"norm\.r_max must be a number of at least 1, got 0\.5"),
        ({"d_max": -1}, r"norm\.d_max must be a number of at least 0, got -1"),
        ({"r_max": float("inf")}, r"norm\.r_max must be"),
        ({"warmup_steps": -1}, r"norm\.warmup_steps must be a whole number of at least 0, got -1"),
        ({"r_ramp_steps": 2.5}, r"norm\.r_ramp_steps must be a whole number"),
        ({"d_ramp_steps": True}, r"norm\.d_ramp_steps must be a whole number"),
    ],
)
def test_names_the_schedule_setting_that_is_wrong(options, law):
    with pytest.raises(ConfigError, match=law):
        BatchRenorm(3, **options)
