"""Ghost batch normalization, compared with BatchNorm on each ghost by itself, and against float64 NumPy."""

import numpy as np
import pytest
import torch
from folded import folded

from bnlab.errors import ConfigError
from bnlab.norms import ghost
from bnlab.norms.batch import BatchNorm
from bnlab.norms.ghost import GhostBatchNorm, ghost_sizes
from bnlab.norms.group import InstanceNorm


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1) + 0.5)
    return norm


@pytest.fixture(params=["side by side", "one by one"])
def way(request, monkeypatch):
    """Normalize all ghosts at once, as for small inputs, or one by one, as for large ones."""
    if request.param == "one by one":
        monkeypatch.setattr(ghost, "CHUNK_ELEMENTS", 0)


@pytest.mark.usefixtures("way")
@folded("shape", [(12, 3), (12, 3, 5), (12, 3, 2, 4)])
@folded(("size", "sizes"), [(4, [4, 4, 4]), (5, [5, 5, 2]), (7, [7, 5]), (3, [3] * 4), (11, None), (2, [2] * 6)])
@pytest.mark.parametrize("affine", [True, False])
def test_each_ghost_is_normalized_as_batch_norm_would_alone(shape, size, sizes, affine):
    """Outputs, gradients, and running statistics: the average of the ghosts' moments, once per batch."""
    sizes = sizes or ([12] if len(shape) == 2 else [11, 1])  # one sample left over joins the others on (N, C)
    norm = shuffled(GhostBatchNorm(3, ghost_size=size, affine=affine).double())
    mean, var = np.zeros(3), np.ones(3)
    for step in range(2):
        x = (2 * draw(*shape, seed=step) + 1).requires_grad_()
        cotangent = draw(*shape, seed=50)
        alone = BatchNorm(3, affine=affine).double()
        alone.load_state_dict(norm.state_dict())
        expected = torch.cat([alone(piece) for piece in x.split(sizes)])
        wanted = torch.autograd.grad(expected, (x, *alone.parameters()), cotangent)
        y = norm(x)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(torch.autograd.grad(y, (x, *norm.parameters()), cotangent), wanted)
        pieces = [np.moveaxis(p.detach().numpy(), 1, -1).reshape(-1, 3) for p in x.split(sizes)]
        mean = 0.9 * mean + 0.1 * np.average([p.mean(0) for p in pieces], axis=0, weights=sizes)
        var = 0.9 * var + 0.1 * np.average([p.var(0) for p in pieces], axis=0, weights=sizes)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-12)
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
@pytest.mark.parametrize("size", [6, 7, 1000])
def test_a_ghost_as_large_as_the_batch_is_batch_norm_to_the_last_bit(shape, size):
    ours, batch = shuffled(GhostBatchNorm(3, ghost_size=size)), BatchNorm(3)
    batch.load_state_dict(ours.state_dict())
    x = draw(*shape, dtype=torch.float32)
    assert torch.equal(ours(x), batch(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), batch.buffers(), strict=True))
    assert torch.equal(ours.eval()(x), batch.eval()(x))


@pytest.mark.usefixtures("way")
def test_one_sample_per_ghost_is_instance_norm_on_images_and_refused_without_space():
    norm, x = GhostBatchNorm(3, ghost_size=1).double(), draw(5, 3, 4, 4)
    torch.testing.assert_close(norm(x), InstanceNorm(3).double()(x))
    with pytest.raises(ConfigError, match="more than one value per channel"):
        norm(draw(5, 3))
    assert norm.num_batches_tracked == 1


@folded("num_samples", range(2, 40))
@folded("ghost_size", [2, 3, 7, 16])
@pytest.mark.parametrize("num_positions", [1, 4])
def test_ghosts_share_out_every_sample_and_none_has_one_value(num_samples, ghost_size, num_positions):
    if num_samples <= ghost_size:
        return
    sizes = ghost_sizes(num_samples, ghost_size, num_positions)
    assert sum(sizes) == num_samples
    assert min(sizes) * num_positions > 1
    assert set(sizes[:-1]) <= {ghost_size}
    assert sizes[-1] <= ghost_size + (num_positions == 1)


def test_the_variance_between_ghosts_is_left_out_of_the_running_variance():
    """As the docstring says: half of the population's variance at 2 values per ghost and channel."""
    norm = GhostBatchNorm(1, ghost_size=2, momentum=0.0).double()
    norm(3 * draw(100_000, 1))
    assert norm.running_var.item() == pytest.approx(9 / 2, rel=0.02)


def test_ghosts_of_two_are_reduced_to_signs():
    y = GhostBatchNorm(4, ghost_size=2, eps=1e-12).double()(draw(20, 4))
    torch.testing.assert_close(y.abs(), torch.ones_like(y))


def test_small_and_large_batches_take_different_ways(monkeypatch):
    """Else the two ways above would be the same."""
    calls = []
    whole = ghost.normalize_batch
    monkeypatch.setattr(ghost, "normalize_batch", lambda x, *rest: calls.append(x.shape[:2]) or whole(x, *rest))
    GhostBatchNorm(3, ghost_size=4)(draw(12, 3))
    monkeypatch.setattr(ghost, "CHUNK_ELEMENTS", 0)
    GhostBatchNorm(3, ghost_size=4)(draw(12, 3))
    assert calls == [(4, 9), (4, 3), (4, 3), (4, 3)]


def test_large_images_in_channels_last_keep_their_layout(monkeypatch):
    monkeypatch.setattr(ghost, "CHUNK_ELEMENTS", 0)
    x = draw(6, 3, 5, 5).to(memory_format=torch.channels_last)
    assert GhostBatchNorm(3, ghost_size=2)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [0, -2, 2.5, "four", True])
def test_ghost_size_must_be_a_whole_number(size):
    with pytest.raises(ConfigError, match=r"norm\.ghost_size must be a whole number of at least 1, got"):
        GhostBatchNorm(3, ghost_size=size)
