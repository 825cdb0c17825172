"""Parts of a layer's values, and means by unit, held against NumPy on all values at once."""

import math

import numpy as np
import pytest
import torch
from folded import folded
from hypothesis import given, settings
from hypothesis import strategies as st
from watched import by_unit, seen

import bnlab.diagnostics.by_unit as module
from bnlab.diagnostics.by_unit import bounded, means_by_unit, zero_or_nan

SMALL = settings(max_examples=150, deadline=None, database=None)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@SMALL
@given(num_images=st.integers(1, 40), height=st.integers(1, 9), width=st.integers(1, 9), most=st.integers(1, 200))
def test_a_part_is_bounded_and_sees_each_position_equally_often(num_images, height, width, most):
    position = torch.arange(float(height * width)).view(1, 1, height, width).expand(num_images, 2, -1, -1)
    part = bounded(position, most)
    assert part.shape[0] == 2
    assert 1 <= part.shape[1] <= most
    times = np.bincount(part[0].int().numpy(), minlength=height * width)
    assert times.max() - times.min() <= 1


@pytest.mark.parametrize(("num_images", "side"), [(256, 32), (1000, 8), (1000, 28), (1000, 32)])
def test_the_border_of_a_real_image_is_no_more_than_its_share(num_images, side):
    """A stride of 64 over 32x32 pixels would see the left edge alone."""
    column = torch.arange(float(side)).expand(num_images, 1, side, side)
    part = bounded(column)
    assert (part == 0).float().mean().item() == pytest.approx(1 / side, rel=0.02)
    assert part.mean().item() == pytest.approx((side - 1) / 2, rel=0.01)


@pytest.mark.slow
@SMALL
@given(num_images=st.integers(1, 12), positions=st.integers(1, 5), most=st.integers(1, 80))
def test_a_part_is_of_the_units_own_values_at_the_same_places(num_images, positions, most):
    x = torch.arange(float(num_images * 3 * positions)).view(num_images, 3, positions)
    part = bounded(x, most)
    every = torch.from_numpy(by_unit(x.numpy()))
    assert torch.equal(part - part[0], (every[:, :1] - every[0, :1]).expand_as(part))
    assert np.isin(part.numpy()[0], every.numpy()[0]).all()


def test_what_is_small_is_looked_at_in_full_however_it_lies_in_memory():
    x = drawn(7, 3, 4, 5)
    np.testing.assert_array_equal(bounded(x).numpy(), by_unit(x.numpy()))
    np.testing.assert_array_equal(bounded(x.to(memory_format=torch.channels_last)).numpy(), by_unit(x.numpy()))


@folded("shape", [(7, 3), (7, 3, 4), (7, 3, 4, 5), (1, 1)])
@folded("part", [1, 50, 10**6])
def test_means_by_unit_are_numpys_whatever_the_parts(shape, part, monkeypatch):
    monkeypatch.setattr(module, "PART", part)
    x, y = drawn(*shape), drawn(*shape, seed=1)
    sizes = []

    def of(x, y):
        sizes.append(x.numel())
        return x * y, x.exp()

    product_U, exp_U = means_by_unit(of, x, y)
    assert max(sizes) <= max(part, x[0].numel())
    wide_x, wide_y = (by_unit(value.double().numpy()) for value in (x, y))
    np.testing.assert_allclose(product_U.numpy(), (wide_x * wide_y).mean(1), atol=1e-6)
    np.testing.assert_allclose(exp_U.numpy(), np.exp(wide_x).mean(1), rtol=1e-6)


def test_a_share_of_many_values_is_not_rounded():
    """2**24 + 1 ones are as many as 2**24 to a float32 that counts one by one."""
    x = torch.ones(2**15 + 1, 1, 2**9)
    x[0, 0, 0] = 0.0
    (ones_U,) = means_by_unit(lambda x: (x,), x)
    assert ones_U.item() * x.numel() == pytest.approx(x.numel() - 1, abs=1e-6)


@pytest.mark.parametrize(("odd", "shows"), [(math.nan, True), (math.inf, True), (-math.inf, True), (1e20, False)])
def test_whether_all_is_finite_is_known(odd, shows):
    a = drawn(6, 2, 3, 3).relu()
    a[3, 1, 2, 0] = odd
    look = seen("relu", a)
    look.activations["x"] = a
    assert math.isnan(zero_or_nan(look)["x"].item()) is shows
    assert shows or zero_or_nan(look)["x"].item() == 0
