"""Dynamic erf, against float64 SciPy."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from bnlab.errors import ConfigError
from bnlab.norms.derf import DynamicErf


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 6), (5, 4, 3, 2)])
@pytest.mark.parametrize(("alpha_init", "shift_init"), [(0.5, 0.0), (2.0, -0.75)])
def test_output_is_the_formula_in_float64_and_gradients_are_right(shape, alpha_init, shift_init):
    norm = DynamicErf(4, alpha_init=alpha_init, shift_init=shift_init).double()
    x = (2 * draw(*shape)).requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(draw(4, seed=1))
        norm.bias.copy_(draw(4, seed=2))
    wide = (1, -1) + (1,) * (len(shape) - 2)
    weight, bias = (p.detach().numpy().reshape(wide) for p in (norm.weight, norm.bias))
    xs, y = x.detach().numpy(), norm(x)
    inside = alpha_init * xs + shift_init
    np.testing.assert_allclose(y.detach(), weight * erf(inside) + bias, rtol=1e-12, atol=1e-14)
    of_x, of_alpha, of_shift = torch.autograd.grad(y.sum(), (x, norm.alpha, norm.shift))
    slope = weight * 2 / np.sqrt(np.pi) * np.exp(-(inside**2))
    np.testing.assert_allclose(of_x, alpha_init * slope, rtol=1e-11, atol=2e-15)
    np.testing.assert_allclose(of_alpha, (xs * slope).sum(), rtol=1e-11)
    np.testing.assert_allclose(of_shift, slope.sum(), rtol=1e-11)


def test_it_starts_as_the_paper_says():
    norm = DynamicErf(4)
    assert (norm.alpha.item(), norm.shift.item()) == (0.5, 0.0)
    assert norm.alpha.shape == norm.shift.shape == ()
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


def test_it_takes_no_statistics():
    """Every output depends on its own input alone."""
    norm, x = DynamicErf(3), draw(2, 3, 2).float()
    jacobian = torch.autograd.functional.jacobian(norm, x).reshape(12, 12)
    assert torch.equal(jacobian, torch.diag(jacobian.diag()))
    assert (jacobian.diag() > 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"alpha_init": value} for value in (0, -1, float("inf"), "large")),
        {"shift_init": float("nan")},
        {"shift_init": "0"},
    ],
)
def test_names_the_setting_that_is_wrong(wrong):
    with pytest.raises(ConfigError, match=rf"norm\.{next(iter(wrong))} must be"):
        DynamicErf(4, **wrong)
