"""Sorting and bounding the values of units, held against NumPy."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from torch.func import vmap

from bnlab.diagnostics.by_unit import MOST_PER_UNIT, bounded
from bnlab.diagnostics.sorting import sorted_rows


def random(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@folded("dtype", [torch.float16, torch.float32, torch.float64])
@folded("shape", [(5, 100), (1, 1), (3, 0), (2, 3, 7)])
def test_rows_are_sorted_and_the_input_is_left_alone(shape, dtype):
    x = random(*shape, dtype=dtype)
    before = x.clone()
    found = sorted_rows(x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), np.sort(before.numpy(), axis=-1))
    assert torch.equal(x, before)


def test_rows_that_do_not_lie_together_are_sorted_too():
    x = random(6, 4)
    assert torch.equal(sorted_rows(x.T), sorted_rows(x.T.contiguous()))
    assert torch.equal(sorted_rows(x[:, ::2]), sorted_rows(x[:, ::2].contiguous()))


def test_nan_comes_last():
    assert math.isnan(sorted_rows(torch.tensor([[math.nan, 1.0, math.inf, -math.inf]]))[0, -1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_many_are_sorted_at_once(axis):
    x = random(3, 4, 5)
    expected = torch.stack([sorted_rows(part) for part in x.unbind(axis)])
    assert torch.equal(vmap(sorted_rows, in_dims=axis)(x), expected)


def test_what_is_sorted_has_no_gradient_and_needs_none():
    assert not sorted_rows(random(3, 4).requires_grad_()).requires_grad


@folded("channels_last", [False, True])
@folded("shape", [(300, 2, 8, 8), (7, 3, 5, 5), (4100, 3), (30, 4), (700, 2, 12)])
def test_what_is_looked_at_is_every_so_manyth_value_of_a_unit(shape, channels_last):
    x = random(*shape)
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    every = np.moveaxis(x.numpy(), 1, 0).reshape(shape[1], -1)
    stride = math.ceil(every.shape[1] / MOST_PER_UNIT)
    while math.gcd(stride, math.prod(shape[2:])) > 1:  # or some positions would never be looked at
        stride += 1
    found = bounded(x)
    assert found.shape[1] <= MOST_PER_UNIT
    np.testing.assert_array_equal(found.numpy(), every[:, ::stride])
    stacked = torch.stack([x, x + 1, 2 * x])
    assert torch.equal(vmap(bounded)(stacked), torch.stack([bounded(part) for part in stacked]))
