"""BatchNorm with a part left out, compared with float64 NumPy."""

import numpy as np
import pytest
import torch
from folded import folded

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_ablations import BatchBiasOnly, BatchCenterOnly, BatchScaleOnly, L1BatchNorm

SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 5)]
NORMS = [BatchCenterOnly, BatchScaleOnly, BatchBiasOnly, L1BatchNorm]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1) + 0.5)
    return norm


def rows_of(x):
    """Return (m, C): every value of a channel in one column. The axes are moved by NumPy, not by bnlab."""
    return np.moveaxis(x.detach().double().numpy(), 1, -1).reshape(-1, x.shape[1])


def statistics_of(rows):
    mean = rows.sum(0) / len(rows)
    return {
        "running_mean": mean,
        "running_var": (rows**2).sum(0) / len(rows) - mean**2,
        "running_deviation": 1.2533141373155003 * abs(rows - mean).sum(0) / len(rows),
    }


def normalized(norm, rows, found, eps):
    """Return the docstrings' formulas, in NumPy."""
    if isinstance(norm, BatchCenterOnly):
        return rows - found["running_mean"]
    if isinstance(norm, BatchScaleOnly):
        return rows / np.sqrt(found["running_var"] + eps)
    if isinstance(norm, BatchBiasOnly):
        return (rows - found["running_mean"]) / np.sqrt(found["running_var"] + eps)
    return (rows - found["running_mean"]) / np.sqrt(found["running_deviation"] ** 2 + eps)


def build(norm_class, eps):
    return norm_class(3) if norm_class is BatchCenterOnly else norm_class(3, eps=eps)


@folded("norm_class", NORMS)
@folded("shape", SHAPES)
@folded("eps", [1e-5, 0.3])
def test_training_output_is_the_formula_and_statistics_move_by_their_share(norm_class, shape, eps):
    norm = shuffled(build(norm_class, eps).double())
    running = {"running_mean": np.zeros(3), "running_var": np.ones(3), "running_deviation": np.ones(3)}
    for step in range(3):
        x = 2 * draw(*shape, seed=step) + 1 + step
        found = statistics_of(rows_of(x))
        expected = norm.weight.detach().numpy() * normalized(norm, rows_of(x), found, eps) + norm.bias.detach().numpy()
        y = norm(x)
        assert y.shape == x.shape
        np.testing.assert_allclose(rows_of(y), expected, rtol=1e-10, atol=1e-12)
        running = {key: 0.9 * running[key] + 0.1 * found[key] for key in running}
    names = [key for key, _ in norm.named_buffers() if key.startswith("running")]
    assert names
    for key in names:
        np.testing.assert_allclose(norm.get_buffer(key), running[key], rtol=1e-12)
    assert norm.num_batches_tracked == 3
    expected = norm.weight.detach().numpy() * normalized(norm, rows_of(x), running, eps) + norm.bias.detach().numpy()
    np.testing.assert_allclose(rows_of(norm.eval()(x)), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_class", NORMS)
def test_keeps_no_other_statistics_than_it_uses(norm_class):
    kept = {
        BatchCenterOnly: ["running_mean"],
        BatchScaleOnly: ["running_var"],
        BatchBiasOnly: ["running_mean", "running_var"],
        L1BatchNorm: ["running_mean", "running_deviation"],
    }
    names = [name for name, _ in norm_class(3).named_buffers() if name.startswith("running")]
    assert names == kept[norm_class]


@pytest.mark.parametrize("norm_class", NORMS)
def test_without_momentum_running_statistics_are_the_plain_average_over_batches(norm_class):
    norm, batches = norm_class(3, momentum=None).double(), draw(7, 8, 3) + 2
    for x in batches:
        norm(x)
    each = [statistics_of(rows_of(x)) for x in batches]
    for name, buffer in norm.named_buffers():
        if name.startswith("running"):
            np.testing.assert_allclose(buffer, np.mean([found[name] for found in each], axis=0), rtol=1e-12)


def test_centering_and_then_scaling_is_batch_norm_with_its_gradient():
    x, cotangent = draw(8, 3, 4) + 5, draw(8, 3, 4, seed=9)
    whole = shuffled(BatchNorm(3).double())
    center, scale = BatchCenterOnly(3, affine=False).double(), BatchScaleOnly(3).double()
    scale.load_state_dict({**scale.state_dict(), "weight": whole.weight.detach(), "bias": whole.bias.detach()})
    seen = []
    for function in (whole, lambda x: scale(center(x))):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        seen.append((y, *torch.autograd.grad(y, leaf, cotangent)))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-10, atol=1e-12)


def test_centering_leaves_the_scale_and_scaling_leaves_the_mean():
    x = 3 * draw(1000, 2) + 30
    centered, scaled = (norm.double()(x).detach() for norm in (BatchCenterOnly(2), BatchScaleOnly(2)))
    torch.testing.assert_close(centered.std(0), x.std(0))
    torch.testing.assert_close(centered.mean(0), torch.zeros(2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.mean(0), x.mean(0) / x.std(0, correction=0), rtol=1e-5, atol=0)


def test_a_deviation_of_normal_values_is_their_standard_deviation():
    x = 3 * draw(200_000, 1)
    norm = L1BatchNorm(1, momentum=0.0).double()
    assert abs(norm(x).std().item() - 1) < 0.01
    torch.testing.assert_close(norm.running_deviation, x.std(0), rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        (torch.linspace(-1, 1, 20_001, dtype=torch.float64), 0.921),
        (torch.tensor([-1.0, 1.0]).double(), 0.798),
        (torch.cat([torch.zeros(990), torch.ones(10)]).double(), 4.01),
    ],
    ids=["uniform", "signs", "sparse"],
)
def test_the_card_of_l1_says_how_wide_other_values_come_out(values, spread):
    y = L1BatchNorm(1, eps=1e-12).double()(values.unsqueeze(1))
    assert y.std(correction=0).item() == pytest.approx(spread, abs=0.005)


def test_frozen_scale_is_no_parameter_and_batch_norms_otherwise():
    frozen, learned, x = BatchBiasOnly(3, scale=0.25), BatchNorm(3), draw(6, 3, 4, dtype=torch.float32)
    assert [name for name, _ in frozen.named_parameters()] == ["bias"]
    learned.load_state_dict(frozen.state_dict())  # under BatchNorm's names
    assert torch.equal(frozen(x), learned(x))
    assert torch.equal(learned.weight, torch.full((3,), 0.25))
    frozen(x).square().sum().backward()
    torch.optim.SGD(frozen.parameters(), lr=0.1, weight_decay=0.1).step()
    assert torch.equal(frozen.weight, torch.full((3,), 0.25))
    assert frozen.bias.abs().min() > 0
    torch.testing.assert_close(frozen.eval().to_torch()(x[..., None]), frozen(x)[..., None])


@pytest.mark.parametrize("scale", [0, -1, float("nan"), "one", True])
def test_a_frozen_scale_must_be_above_0(scale):
    with pytest.raises(ConfigError, match=r"norm\.scale must be a number above 0, got"):
        BatchBiasOnly(3, scale=scale)
