"""What batch normalization must compute before a release: gates H1 and H2, in float64.

The definitions and identities, and what follows from them for the weights before the layer. What LayerNorm gives for
the same laws stands beside them: it keeps some and breaks others, so that a law that holds of anything would show.
"""

import pytest
import torch
from gate_sweeps import SEEDS, told
from torch import nn

from bnlab.conformance.laws import check_named
from bnlab.norms.batch import BatchNorm
from bnlab.studies.definitions import LAWS, deviations

pytestmark = [pytest.mark.slow, pytest.mark.science]


@pytest.mark.parametrize("name", [name for name in LAWS if name != "undone_on_another_batch"])
def test_h1_each_definition_holds(name):
    found = deviations(name, SEEDS)
    told(f"H1 {name}", deviation=found)
    assert max(found) < 1e-5


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_h1_gradients_are_those_of_finite_differences(shape, training):
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        norm = BatchNorm(3).double().train(training)
        x, weight, bias = (
            torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True) for size in (shape, 3, 3)
        )

        def outputs(x, weight, bias, norm=norm):
            return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

        assert torch.autograd.gradcheck(outputs, (x, weight, bias), rtol=1e-5, atol=1e-8)


def test_h1_the_layer_keeps_every_law_of_bnlab_check():
    report = check_named("batch")
    assert report.failures == {}
    assert sum(verdict.status == "holds" for verdict in report.verdicts.values()) > 20


def slopes_before(norm: nn.Module, seed: int, scale: float = 1.0):
    """Return outputs, weights (a unit per row), and gradients of weights and bias, of a linear layer before a norm."""
    generator = torch.Generator().manual_seed(seed)
    x, linear = torch.randn(64, 20, generator=generator, dtype=torch.float64), nn.Linear(20, 30).double()
    with torch.no_grad():
        linear.weight.copy_(scale * torch.randn(30, 20, generator=generator, dtype=torch.float64))
        linear.bias.copy_(torch.randn(30, generator=generator, dtype=torch.float64))
    y = norm(linear(x))
    (y.tanh() * torch.randn(64, 30, generator=generator, dtype=torch.float64)).sum().backward()
    return y.detach(), linear.weight.detach(), linear.weight.grad, linear.bias.grad


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def laws_of(norm: nn.Module, seed: int, scale: float = 7.0):
    """Return by how much weights before a norm break three laws: scale, orthogonality for each unit, and the bias's."""
    y, weights, slopes, bias_slope = slopes_before(norm, seed)
    scaled_y, _, scaled_slopes, _ = slopes_before(norm, seed, scale)
    along = (weights * slopes).sum(1) / (weights.norm(dim=1) * slopes.norm(dim=1))
    return {
        "outputs": relative(scaled_y, y),
        "slopes": relative(scale * scaled_slopes, slopes),
        "along": float(along.abs().max()),
        "bias": float(bias_slope.norm() / slopes.norm()),
    }


def test_h2_the_scale_of_weights_and_the_bias_before_the_layer_have_no_effect():
    found = [laws_of(BatchNorm(30).double(), seed) for seed in SEEDS]
    told("H2", **{name: [one[name] for one in found] for name in found[0]})
    assert max(value for one in found for value in one.values()) < 1e-4


def test_h2_layer_norm_breaks_these_laws():
    found = [laws_of(nn.LayerNorm(30).double(), seed) for seed in SEEDS]
    told("H2 LayerNorm", **{name: [one[name] for one in found] for name in found[0]})
    assert min(min(one["along"], one["bias"]) for one in found) > 1e-3
