"""Means and variances per channel, and the checks of their inputs."""

import numpy as np
import pytest
import torch
from folded import folded

from bnlab.errors import ConfigError
from bnlab.norms import moments
from bnlab.norms.batch_backward import sum_of_squares
from bnlab.norms.moments import (
    channel_moments,
    check_input,
    chunks,
    scale_and_shift,
    update_running,
    wide_dtype,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


SHAPES = [(7, 3), (5, 3, 4), (5, 3, 4, 2), (3, 3, 2, 4, 5), (1, 3, 6)]


def numpy_moments(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    rows = np.moveaxis(x.detach().double().numpy(), 1, -1).reshape(-1, x.shape[1])
    return rows.mean(0), rows.var(0)


@folded("shape", SHAPES)
@folded("chunk_elements", [1 << 18, 10])
def test_moments_are_numpys_whether_or_not_the_input_is_cut(shape, chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 5
    mean, var = channel_moments(x)
    expected_mean, expected_var = numpy_moments(x)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-13)
    np.testing.assert_allclose(var, expected_var, rtol=1e-12)


def test_moments_of_an_input_that_is_cut_in_earnest_are_numpys():
    x = torch.randn(33, 8, 33, 33)
    assert len(chunks(x)) > 1
    mean, var = channel_moments(x)
    expected_mean, expected_var = numpy_moments(x)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    np.testing.assert_allclose(var, expected_var, rtol=1e-5)


@pytest.mark.parametrize("chunk_elements", [1 << 18, 500])
def test_a_large_offset_does_not_eat_the_variance(chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = torch.randn(64, 3, 8) + 1e4
    _, var = channel_moments(x)
    np.testing.assert_allclose(var, numpy_moments(x)[1], rtol=2e-3)


def test_chunks_are_the_whole_input_in_order_and_the_last_may_be_smaller(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", 24)
    x = torch.arange(7 * 2 * 4).view(7, 2, 4)
    pieces = chunks(x)
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert torch.equal(torch.cat(pieces), x)


def test_a_sample_larger_than_a_chunk_is_not_cut(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", 4)
    assert [piece.shape for piece in chunks(torch.zeros(2, 3, 5))] == [(1, 3, 5), (1, 3, 5)]
    assert len(chunks(torch.zeros(1, 3, 5))) == 1
    assert len(chunks(torch.zeros(0, 3, 5))) == 1


@pytest.mark.parametrize(
    ("given", "wide"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_statistics_are_float32_or_wider(given, wide):
    assert wide_dtype(given) is wide
    mean, var = channel_moments(torch.ones(2, 3, dtype=given))
    assert mean.dtype is var.dtype is wide


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk_elements", [1 << 18, 30])
def test_scaling_a_narrow_input_rounds_once(dtype, chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x, scale, shift = torch.randn(7, 3, 5).to(dtype), torch.randn(3), torch.randn(3)
    exact = x.double() * scale.double().view(1, 3, 1) + shift.double().view(1, 3, 1)
    y = scale_and_shift(x, scale, shift)
    assert y.dtype is dtype
    # half a unit in the last place, plus what float32 lost before, which shows where the two terms cancel
    half_ulp = torch.finfo(dtype).eps / 2
    assert ((y.double() - exact).abs() <= exact.abs() * half_ulp * 1.01 + 1e-6).all()


def test_running_average_keeps_its_share_of_the_old_value():
    running, value = torch.tensor([1.0, -2.0]), torch.tensor([5.0, 4.0])
    update_running(running, value, 0.75)
    assert running.tolist() == [2.0, -0.5]


def test_running_average_is_kept_out_of_the_graph():
    running, value = torch.zeros(2), torch.ones(2, requires_grad=True)
    update_running(running, value * 2, 0.5)
    assert not running.requires_grad
    assert running.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(3,), (3, 4), (), (2, 4, 3)])
def test_input_of_the_wrong_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(ConfigError, match=r"a norm of 3 channels takes \(N, 3\) or \(N, 3, \*spatial\), got \("):
        check_input(torch.zeros(shape), 3)


def test_whole_numbers_are_refused_since_the_output_would_be_cut_to_them():
    with pytest.raises(ConfigError, match="floating-point"):
        check_input(torch.ones(2, 3, dtype=torch.int64), 3)


@pytest.mark.parametrize("num_positions", [1, 1 << 14, (1 << 14) + 1])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_sum_of_squares_is_exact_to_float32_for_images_of_any_size(num_positions, offset):
    x = torch.randn(3, 2, num_positions) + offset
    expected = x.double().square().sum((0, 2))
    torch.testing.assert_close(sum_of_squares(x, None).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 1.0])
def test_running_average_is_the_same_stacked_and_in_any_type(kept):
    running, value = torch.randn(2, 3), torch.randn(2, 3)
    expected = kept * running.double() + (1 - kept) * value.double()

    def update(running, value):
        running = running.clone()
        update_running(running, value, kept)
        return running

    torch.testing.assert_close(update(running, value).double(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.func.vmap(update)(running, value).double(), expected, rtol=1e-6, atol=1e-7)
    narrow = update(running.bfloat16(), value)
    assert narrow.dtype is torch.bfloat16
    torch.testing.assert_close(narrow.double(), expected, rtol=2e-2, atol=2e-2)
