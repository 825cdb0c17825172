"""Norms of the weights: the parametrization, and the gain that corrects for an activation."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from scipy import integrate, special

from bnlab.errors import ConfigError
from bnlab.norms.catalog import build_norm
from bnlab.norms.group import GroupNorm
from bnlab.norms.weight_standardization import (
    ScaledWeightStandardization,
    WeightStandardization,
    variance_gain,
)

WEIGHTS = [(6, 10), (6, 3, 3, 3)]
FUNCTIONS = {
    "none": lambda z: z,
    "sigmoid": lambda z: special.expit(z),
    "tanh": lambda z: np.tanh(z),
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * special.expit(z),
}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(weight):
    return weight.detach().double().numpy().reshape(len(weight), -1)


@pytest.mark.parametrize("shape", WEIGHTS)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_standardized_weights_are_the_formula_in_float64(shape, eps):
    weight = 0.3 * draw(*shape) + 2
    standardized = WeightStandardization(6, num_groups=2, eps=eps).weight_parametrization()(weight)
    w = rows(weight)
    expected = (w - w.mean(1, keepdims=True)) / np.sqrt(w.var(1, keepdims=True) + eps)
    assert standardized.shape == shape
    np.testing.assert_allclose(rows(standardized), expected, rtol=1e-11, atol=1e-12)


@folded("shape", WEIGHTS)
@folded("activation", FUNCTIONS)
def test_scaled_weights_are_the_formula_in_float64(shape, activation):
    standardize = ScaledWeightStandardization(6, activation=activation).weight_parametrization().double()
    with torch.no_grad():
        standardize.gain.copy_(draw(6, seed=1))
    w = rows(weight := 0.3 * draw(*shape) + 2)
    expected = (w - w.mean(1, keepdims=True)) / (w.std(1, keepdims=True) * math.sqrt(w.shape[1]))
    expected *= variance_gain(activation) * standardize.gain.detach().numpy()[:, None]
    np.testing.assert_allclose(rows(standardize(weight)), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("arm", ["weight_standardization", "scaled_weight_standardization"])
@pytest.mark.parametrize("shape", WEIGHTS)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradients_of_the_weights_are_right_to_float64(arm, shape, check):
    standardize = build_norm(arm, 6, **({"num_groups": 2} if arm[0] == "w" else {})).weight_parametrization().double()
    assert check(standardize, draw(*shape).requires_grad_())


@pytest.mark.parametrize("arm", ["weight_standardization", "scaled_weight_standardization"])
def test_scale_and_offset_of_an_outputs_weights_do_not_matter(arm):
    standardize, weight = build_norm(arm, 4).weight_parametrization(), draw(4, 3, 3, 3).float()
    moved = weight * torch.tensor([1.0, 2.0, 5.0, 10.0]).view(4, 1, 1, 1) + 3
    torch.testing.assert_close(standardize(moved), standardize(weight), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arm", ["weight_standardization", "scaled_weight_standardization"])
def test_equal_weights_give_0_and_a_finite_gradient(arm):
    weight = torch.full((4, 5), 0.7, requires_grad=True)
    out = build_norm(arm, 4).weight_parametrization()(weight)
    assert out.abs().max() < 1e-3
    (gradient,) = torch.autograd.grad((out * draw(4, 5).float()).sum(), weight)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("arm", ["weight_standardization", "scaled_weight_standardization"])
def test_narrow_weights_are_standardized_in_float32(arm, dtype):
    standardize, weight = build_norm(arm, 4).weight_parametrization(), (0.01 * draw(4, 50) + 1).to(dtype)
    out, expected = standardize(weight), standardize(weight.double())
    assert out.dtype is dtype
    torch.testing.assert_close(out.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gain_is_that_of_adaptive_quadrature(activation):
    def moment(power):
        def integrand(z):
            return FUNCTIONS[activation](z) ** power * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return sum(integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in [(-20, 0), (0, 20)])

    assert math.isclose(variance_gain(activation), 1 / math.sqrt(moment(2) - moment(1) ** 2), rel_tol=1e-9)


def test_gain_of_relu_is_the_papers():
    assert math.isclose(variance_gain("relu"), math.sqrt(2 / (1 - 1 / math.pi)), rel_tol=1e-12)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_behind_the_activation_a_linear_map_keeps_variance_1(activation):
    """By simulation: weights of mean 0 and the gain correct mean and variance for the activation."""
    a = torch.from_numpy(FUNCTIONS[activation](draw(4000, 300).numpy()))
    standardize = ScaledWeightStandardization(200, activation=activation).weight_parametrization().double()
    outputs = a @ standardize(draw(200, 300, seed=1)).T
    assert abs(outputs.var(0).mean().item() - 1) < 0.02  # 800,000 values, of which 200 x 4,000 / 4,000 independent
    assert abs(outputs.mean().item()) < 0.02 * variance_gain(activation)


def test_scaled_standardization_leaves_activations_alone():
    x = draw(5, 4, 3, 3)
    assert ScaledWeightStandardization(4)(x) is x
    assert list(ScaledWeightStandardization(4).parameters()) == []


def test_outputs_of_weight_standardization_are_normalized_as_by_group_norm():
    x = draw(5, 4, 3, 3).float()
    assert torch.equal(WeightStandardization(4, num_groups=2)(x), GroupNorm(4, num_groups=2)(x))


@pytest.mark.parametrize(
    ("arm", "options", "law"),
    [
        ("weight_standardization", {"num_groups": 3}, r"norm\.num_groups must divide num_channels: 4 channels"),
        ("weight_standardization", {"eps": 0}, r"norm\.eps must be"),
        ("scaled_weight_standardization", {"activation": "swish"}, r"norm\.activation must be .*silu, got swish"),
        ("scaled_weight_standardization", {"eps": -1}, r"norm\.eps must be"),
    ],
)
def test_names_the_setting_that_is_wrong(arm, options, law):
    with pytest.raises(ConfigError, match=law):
        build_norm(arm, 4, **options)
