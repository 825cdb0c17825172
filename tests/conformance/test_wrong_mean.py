"""A mean over the wrong axes, with a variance over the right ones, is named; and what is named comes first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnlab.conformance.inputs import random_input
from bnlab.conformance.laws import check
from bnlab.conformance.variants import FormulaInputs, Variant, output_of

SEPARATE = (
    "the mean is taken over the wrong axes: over the batch axis alone; the variance is taken over the right ones, "
    "about their own mean"
)
TOGETHER = "the mean is taken over the wrong axes: over the batch axis alone"


class _WithAffine(nn.Module):
    def __init__(self, num_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def _scaled(self, x: Tensor, var: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * torch.rsqrt(var + self.eps) * self.weight.view(shape) + self.bias.view(shape)


class MeanOfTheBatch(_WithAffine):
    """A LayerNorm whose mean is that of the batch at each place."""

    def forward(self, x: Tensor) -> Tensor:
        var = x.var(tuple(range(1, x.dim())), unbiased=False, keepdim=True)
        return self._scaled(x - x.mean(0, keepdim=True), var)


class MeanOfTheBatchInBoth(_WithAffine):
    """The same mean in the variance too."""

    def forward(self, x: Tensor) -> Tensor:
        left = x - x.mean(0, keepdim=True)
        return self._scaled(left, left.square().mean(tuple(range(1, x.dim())), keepdim=True))


class MeanOfTheBatchUnscaled(MeanOfTheBatch):
    """And the bias is forgotten."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - self.bias.view((1, -1) + (1,) * (x.dim() - 2))


@pytest.mark.slow_but(1)
@pytest.mark.parametrize(("layer", "cause"), [(MeanOfTheBatch, SEPARATE), (MeanOfTheBatchInBoth, TOGETHER)])
def test_a_mean_over_the_batch_axis_is_named(layer: type[nn.Module], cause: str) -> None:
    verdict = check(layer, "own", "layer", only=["training output"]).verdicts["training output"]
    assert (verdict.status, verdict.cause) == ("does not hold", cause)


@pytest.mark.slow
def test_so_is_one_beside_another_fault() -> None:
    verdict = check(MeanOfTheBatchUnscaled, "own", "layer", only=["training output"]).verdicts["training output"]
    assert SEPARATE in verdict.cause
    assert "the shift is forgotten" in verdict.cause


@pytest.mark.parametrize("spread", ["biased", "about center"])
def test_its_formula_is_numpys(spread: Any) -> None:
    x = random_input((5, 4, 3, 2)).numpy()
    left = x - x.mean(0, keepdims=True)
    var = x.var((1, 2, 3), keepdims=True) if spread == "biased" else np.square(left).mean((1, 2, 3), keepdims=True)
    given = FormulaInputs(torch.from_numpy(x), None, None, 1e-3, 1, {})
    came = output_of(Variant(over="sample", mean_over="position", spread=spread), given)
    np.testing.assert_allclose(came.numpy(), left / np.sqrt(var + 1e-3), rtol=1e-11, atol=1e-12)


UNEXPLAINED = '''
import torch
from torch import nn


class Cubed(nn.Module):
    """A layer that nothing explains, and that depends on its neighbors."""

    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - x.mean(0, keepdim=True)) ** 3 * self.weight.view(shape)
'''


@pytest.mark.slow
def test_what_nothing_explains_comes_last(
    bnlab_says: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "cubed_layer.py").write_text(UNEXPLAINED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = bnlab_says("check", "cubed_layer:Cubed", "--like", "layer").out
    causes = [line.partition("likely cause: ")[2] for line in out.splitlines() if "likely cause: " in line]
    is_unknown = [cause.startswith("no known cause") for cause in causes]
    assert any(is_unknown)
    assert is_unknown == sorted(is_unknown)
