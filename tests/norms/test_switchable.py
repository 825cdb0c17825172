"""Switchable normalization: its kinds of statistics against the three norms, its mixture, its running statistics."""

import numpy as np
import pytest
import torch
from folded import folded
from torch.func import functional_call

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.group import InstanceNorm, LayerNorm
from bnlab.norms.switchable import SwitchableNorm

SHAPES = [(5, 4), (5, 4, 6), (5, 4, 3, 2), (5, 4, 1, 1)]
ALONE = 100.0


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(**options):
    norm = SwitchableNorm(4, **options).double()
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1))
    return norm


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def numpy_switchable(norm, x, of_batch=None):
    """Mix the statistics as np.mean and np.var give them, axis by axis."""
    values, space = x.detach().numpy(), tuple(range(2, x.dim()))
    wide = (1, -1) + (1,) * len(space)
    weight, bias = (p.detach().numpy().reshape(wide) for p in (norm.weight, norm.bias))
    mixed = []
    for i, (moment, logits) in enumerate([(np.mean, norm.mean_logits), (np.var, norm.var_logits)]):
        batch = moment(values, (0, *space), keepdims=True) if of_batch is None else of_batch[i].numpy().reshape(wide)
        kinds = [moment(values, (1, *space), keepdims=True), batch]
        logits = logits.detach().numpy()[1:]
        if np.prod(values.shape[2:]) > 1:
            kinds, logits = [moment(values, space, keepdims=True), *kinds], [norm_logit(norm, i), *logits]
        mixed.append(sum(share * kind for share, kind in zip(softmax(np.array(logits)), kinds, strict=True)))
    return weight * (values - mixed[0]) / np.sqrt(mixed[1] + norm.eps) + bias


def norm_logit(norm, i):
    return (norm.mean_logits, norm.var_logits)[i][0].item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_output_is_the_mixture_in_float64(shape, eps):
    norm, x = build(eps=eps), 2 * draw(*shape) + 1
    np.testing.assert_allclose(norm(x).detach(), numpy_switchable(norm, x), rtol=1e-10, atol=1e-11)
    expected = numpy_switchable(norm, x, of_batch=(norm.running_mean, norm.running_var))
    np.testing.assert_allclose(norm.eval()(x).detach(), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("kind", "alone"), [(0, InstanceNorm), (1, LayerNorm), (2, BatchNorm)])
def test_with_all_weight_on_one_kind_it_is_that_norm(kind, alone):
    norm, x = SwitchableNorm(4).double(), 3 * draw(5, 4, 3, 2) + 1
    with torch.no_grad():
        norm.mean_logits[kind] = norm.var_logits[kind] = ALONE
    theirs = alone(4).double()
    torch.testing.assert_close(norm(x), theirs(x))
    torch.testing.assert_close(norm.eval()(x), theirs.eval()(x))


@folded("shape", [(5, 4), (5, 4, 3, 2)])
@folded("momentum", [0.9, 0.25, 0.0, 1.0, None])
def test_running_statistics_move_as_batch_norms_do(shape, momentum):
    """Momentum is the share of the old value, and the stored variance is the biased one, as for BatchNorm."""
    norm, theirs = build(momentum=momentum), BatchNorm(4, momentum=momentum).double()
    for step in range(3):
        x = draw(*shape, seed=step) * (step + 1) + step
        norm(x), theirs(x)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(getattr(norm, name), buffer)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm.eval()(x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradients_are_right_to_float64(shape, training, check):
    norm = build(eps=0.1, momentum=1.0).train(training)
    parameters = dict(norm.named_parameters())

    def call(x, *values):
        return functional_call(norm, dict(zip(parameters, values, strict=True)), (x,))

    assert check(call, (draw(*shape).requires_grad_(), *parameters.values()))


def test_buffers_carry_no_graph():
    norm = build()
    norm(draw(5, 4, 3).requires_grad_())
    assert not any(buffer.requires_grad for buffer in norm.buffers())


def test_without_space_the_instances_share_gets_no_gradient():
    norm = build()
    norm(draw(5, 4)).square().sum().backward()
    for logits in (norm.mean_logits, norm.var_logits):
        assert logits.grad[0] == 0
        assert logits.grad[1:].abs().min() > 0


def test_a_large_offset_costs_no_accuracy():
    """E[x^2] - E[x]^2, as in the authors' code, would lose all digits of the variance here."""
    x = (draw(8, 4, 6) + 1e4).float()
    norm = SwitchableNorm(4)
    y = norm(x)
    np.testing.assert_allclose(y.detach(), numpy_switchable(norm, x.double()), rtol=0, atol=5 * 2.0**-10)


def test_mixture_starts_even_and_sums_to_1():
    torch.testing.assert_close(SwitchableNorm(4).mixture()["mean"], torch.full((3,), 1 / 3))
    for shares in build().mixture().values():
        torch.testing.assert_close(shares.sum(), torch.tensor(1.0).double())


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1)])
def test_one_value_per_channel_is_refused_in_training_mode_only(shape):
    with pytest.raises(ConfigError, match="more than one value per channel"):
        SwitchableNorm(4)(torch.ones(shape))
    assert SwitchableNorm(4).eval()(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("options", [{"eps": 0}, {"momentum": 1.5}, {"momentum": "0.9"}])
def test_names_the_setting_that_is_wrong(options):
    with pytest.raises(ConfigError, match=rf"norm\.{next(iter(options))} must be"):
        SwitchableNorm(4, **options)
