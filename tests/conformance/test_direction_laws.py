"""The dead direction of LayerNorm, which RMSNorm has not (arXiv:2606.19491)."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlab.conformance.direction_laws import share_of_variance
from bnlab.conformance.laws import check, check_named

LAW = "dead direction"


class Uncentered(nn.Module):
    """Called a LayerNorm, but nothing is subtracted."""

    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        return torch.nn.functional.rms_norm(x, x.shape[1:], eps=1e-5) * self.weight


class Centered(nn.Module):
    """Called an RMSNorm, but the mean of a sample is subtracted."""

    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        return torch.nn.functional.layer_norm(x, x.shape[1:], eps=1e-5) * self.weight


@pytest.mark.parametrize("name", ["layer", "layer_torch", "group", "rms", "rms_torch", "batch"])
def test_norms_of_the_catalog_have_it_or_not_as_they_declare(name):
    assert check_named(name, only=[LAW]).verdicts[LAW].status == "holds"


@pytest.mark.parametrize("name", ["instance", "dyt", "derf"])
def test_where_it_has_no_meaning_it_does_not_apply(name):
    assert check_named(name, only=[LAW]).verdicts[LAW].status == "does not apply"


@pytest.mark.parametrize(
    ("layer", "like", "cause"), [(Uncentered, "layer", "change along"), (Centered, "rms", "never")]
)
def test_a_layer_that_is_not_what_it_is_called_is_found(layer, like, cause):
    verdict = check(layer, "own", like, [LAW]).verdicts[LAW]
    assert verdict.status == "does not hold"
    assert cause in verdict.cause
    assert verdict.example is not None


def test_it_is_the_only_direction_without_variance_by_numpys_eigenvalues():
    generator = np.random.default_rng(0)
    x, weight, bias = generator.normal(size=(400, 6)), generator.uniform(0.5, 2, 6), generator.normal(size=6)
    centered = x - x.mean(1, keepdims=True)
    layer = weight * centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5) + bias
    rms = weight * x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) + bias
    values, vectors = np.linalg.eigh(np.cov(layer.T))
    assert values[0] < 1e-14 < 0.01 < values[1]
    direction = (1 / weight) / np.linalg.norm(1 / weight)
    assert abs(vectors[:, 0] @ direction) == pytest.approx(1, abs=1e-9)
    assert np.linalg.eigvalsh(np.cov(rms.T))[0] > 0.01
    shares = [share_of_variance(torch.from_numpy(y), torch.from_numpy(weight)) for y in (layer, rms)]
    expected = [np.var(y @ direction, ddof=1) / np.var(y, axis=0, ddof=1).mean() for y in (layer, rms)]
    assert shares[0] < 1e-20
    assert shares[1] == pytest.approx(expected[1], rel=1e-9)
