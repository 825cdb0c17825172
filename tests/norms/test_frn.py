"""Filter response normalization and its threshold, against float64 NumPy and the paper's formulas."""

import numpy as np
import pytest
import torch
from folded import folded
from torch.func import functional_call

from bnlab.errors import ConfigError
from bnlab.norms.frn import FilterResponseNorm

SHAPES = [(5, 4, 6), (5, 4, 3, 2), (2, 4, 2, 3, 2)]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.double().parameters()):
            parameter.copy_(parameter + draw(*parameter.shape, seed=i + 1) / 3)
    return norm


def numpy_frn(norm, x, eps):
    wide = (1, -1) + (1,) * (x.dim() - 2)
    weight, bias = (p.detach().numpy().reshape(wide) for p in (norm.weight, norm.bias))
    values = x.detach().numpy()
    nu2 = (values**2).mean(tuple(range(2, x.dim())), keepdims=True)
    y = weight * values / np.sqrt(nu2 + abs(eps)) + bias
    return y if norm.tau is None else np.maximum(y, norm.tau.detach().numpy().reshape(wide))


@folded("shape", SHAPES)
@folded("tlu", [True, False])
@folded("eps", [1e-6, 0.3])
@folded("learnable_eps", [True, False])
def test_output_is_the_formula_in_float64(shape, tlu, eps, learnable_eps):
    norm, x = FilterResponseNorm(4, eps=eps, learnable_eps=learnable_eps, tlu=tlu), 2 * draw(*shape) + 1
    norm = shuffled(norm)
    y = norm(x)
    expected = numpy_frn(norm, x, norm.eps.item() if learnable_eps else eps)
    np.testing.assert_allclose(y.detach(), expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(norm.eval()(x), y)


def test_learned_eps_counts_by_its_absolute_value():
    norm, x = FilterResponseNorm(4, eps=0.2, learnable_eps=True).double(), draw(5, 4, 3)
    before = norm(x)
    with torch.no_grad():
        norm.eps.neg_()
    assert torch.equal(norm(x), before)


@pytest.mark.parametrize("options", [{}, {"tlu": False}, {"learnable_eps": True}])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradients_are_right_to_float64(options, check):
    norm = shuffled(FilterResponseNorm(4, eps=0.1, **options))
    parameters = dict(norm.named_parameters())
    assert len(parameters) == 3 + bool(options.get("learnable_eps")) - (options.get("tlu") is False)

    def call(x, *values):
        return functional_call(norm, dict(zip(parameters, values, strict=True)), (x,))

    assert check(call, (draw(2, 4, 3).requires_grad_(), *parameters.values()))


def test_below_the_threshold_only_the_threshold_learns():
    norm, x = FilterResponseNorm(1), torch.tensor([[[1.0, -1.0, -2.0]]], requires_grad=True)
    norm(x)[..., 1:].sum().backward()
    assert norm.tau.grad.item() == 2
    assert not norm.weight.grad.any()
    assert not x.grad.any()


def test_at_the_threshold_too_only_the_threshold_learns():
    norm, x = FilterResponseNorm(1), torch.tensor([[[1.0, 0.0, 0.0]]])
    (norm(x) * torch.tensor([0.0, 1.0, 1.0])).sum().backward()
    assert norm.tau.grad.item() == 2
    assert not norm.bias.grad.any()


def test_at_the_start_it_is_the_relu_of_the_normalized_input():
    x = draw(5, 4, 6).float()
    plain = FilterResponseNorm(4, tlu=False)
    assert torch.equal(FilterResponseNorm(4)(x), plain(x).relu())
    torch.testing.assert_close(plain(x).square().mean(2), torch.ones(5, 4), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1, 1)])
def test_one_position_is_refused_unless_eps_is_learned(shape):
    with pytest.raises(ConfigError, match=r"norm=frn needs more than one position.*divided by itself.*learnable_eps"):
        FilterResponseNorm(4)(torch.ones(shape))
    norm, x = FilterResponseNorm(4, eps=0.5, learnable_eps=True, tlu=False), draw(*shape).float().requires_grad_()
    y = norm(x)
    torch.testing.assert_close(y, x / (x**2 + 0.5).sqrt())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert (gradient > 0).all()


def test_it_says_whether_it_replaces_the_activation():
    assert FilterResponseNorm.replaces_activation
    assert FilterResponseNorm(4).replaces_activation
    assert not FilterResponseNorm(4, tlu=False).replaces_activation


@pytest.mark.parametrize("options", [{"eps": 0}, {"tlu": "off"}, {"learnable_eps": 1}])
def test_names_the_setting_that_is_wrong(options):
    with pytest.raises(ConfigError, match=rf"norm\.{next(iter(options))} must be"):
        FilterResponseNorm(4, **options)
