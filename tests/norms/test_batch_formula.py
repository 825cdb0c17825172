"""The formula of batch normalization and its gradient, compared with autograd and float64."""

import numpy as np
import pytest
import torch
from folded import folded

from bnlab.norms import batch_backward, batch_formula, moments
from bnlab.norms.batch_formula import (
    normalize_batch,
    normalize_batch_by_autograd,
    normalize_batch_for_compilers,
)
from bnlab.norms.moments import channels_are_innermost, channels_at_once, chunks

EPS = 1e-3


def draw(*shape, dtype=torch.float64, requires_grad=True):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype).requires_grad_(requires_grad)


def parameters(affine, bias, num_channels=3):
    weight = (1 + draw(num_channels).detach() / 4).requires_grad_() if affine else None
    return weight, draw(num_channels) if affine and bias else None


@pytest.mark.slow_but(10)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("function", [normalize_batch, normalize_batch_for_compilers])
def test_gradients_of_output_mean_and_variance_are_right_to_float64(shape, affine, bias, check, function):
    """The loss uses all three outputs, so that a mean or variance without a gradient fails."""
    assert check(lambda x, w, b: function(x, w, b, EPS), (draw(*shape), *parameters(affine, bias)))


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, False)])
def test_gradients_are_right_when_the_samples_are_cut_unevenly(check, affine, bias, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", 12)
    x = draw(5, 2, 3).detach().movedim(2, 1).requires_grad_()  # (N, C, S) with the channels innermost
    assert channels_are_innermost(x)
    assert [len(piece) for piece in chunks(x)] == [2, 2, 1]
    assert check(lambda x, w, b: normalize_batch(x, w, b, EPS), (x, *parameters(affine, bias)))


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, False)])
def test_gradients_are_right_when_the_channels_are_cut_unevenly(check, affine, bias, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", 20)
    x = draw(5, 3, 2)
    assert not channels_are_innermost(x)
    assert channels_at_once(x) == 2
    assert check(lambda x, w, b: normalize_batch(x, w, b, EPS), (x, *parameters(affine, bias)))


@folded("chunk_elements", [1 << 18, 20])
@folded("innermost", [True, False])
@folded("changed", [("x", "weight", "bias"), ("x",), ("weight",), ("bias",)])
def test_forward_mode_differentiation_is_that_of_the_readable_formula(chunk_elements, innermost, changed, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = draw(5, 2, 3).detach().movedim(2, 1) if innermost else draw(5, 3, 2).detach()
    at = dict(zip(("x", "weight", "bias"), (x, *(t.detach() for t in parameters(True, True))), strict=True))
    directions = tuple(torch.cos(1.7 * at[name]) for name in changed)

    def derivative(function):
        def of_the_changed(*values):
            return function(*{**at, **dict(zip(changed, values, strict=True))}.values(), EPS)

        return torch.func.jvp(of_the_changed, tuple(at[name] for name in changed), directions)[1]

    for a, b in zip(derivative(normalize_batch), derivative(normalize_batch_by_autograd), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_forward_over_reverse_and_vmap_of_forward_are_those_of_the_readable_formula():
    weight, bias = (t.detach() for t in parameters(True, True))
    x_RNCS = draw(4, 5, 3, 2).detach()

    def outcomes(function):
        def scalar(x):
            return (function(x, weight, bias, EPS)[0] ** 3).sum()

        def along_itself(x):
            return torch.func.jvp(lambda z: function(z, weight, bias, EPS)[0], (x,), (x.sin(),))[1]

        return torch.func.hessian(scalar)(x_RNCS[0]), torch.func.vmap(along_itself)(x_RNCS)

    for function in (normalize_batch, normalize_batch_for_compilers):
        for a, b in zip(outcomes(function), outcomes(normalize_batch_by_autograd), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("stacked", ["x", "weight", "bias", "grad"])
@pytest.mark.parametrize("innermost", [True, False])
def test_any_one_of_the_tensors_may_be_stacked_under_vmap(stacked, innermost, monkeypatch):
    """Results are copied into an empty tensor, which must have the replicas' axis too."""
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", 20)
    x = draw(5, 2, 3).detach().movedim(2, 1) if innermost else draw(5, 3, 2).detach()
    tensors = {"x": x, "weight": draw(3).detach(), "bias": draw(3).detach(), "grad": torch.cos(x)}

    def step(x, weight, bias, grad):
        y, pull_back = torch.func.vjp(lambda *a: normalize_batch(*a, EPS)[0], x, weight, bias)
        return (y, *pull_back(grad))

    many = torch.stack([tensors[stacked], 2 * tensors[stacked] + 1])
    in_dims = tuple(0 if name == stacked else None for name in tensors)
    together = torch.func.vmap(step, in_dims)(*{**tensors, stacked: many}.values())
    for replica in range(2):
        alone = step(*{**tensors, stacked: many[replica]}.values())
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[replica] if a.dim() > b.dim() else a, b, rtol=1e-10, atol=1e-12)


def test_mean_and_variance_are_differentiable_outputs():
    x = draw(6, 3)
    _, mean, var = normalize_batch(x, None, None, EPS)
    (of_mean,) = torch.autograd.grad(mean[1], x, retain_graph=True)
    assert torch.equal(of_mean, torch.tensor([0.0, 1.0, 0.0]).expand(6, 3).double() / 6)
    (of_var,) = torch.autograd.grad(var.sum(), x)
    torch.testing.assert_close(of_var, 2 * (x - x.mean(0)).detach() / 6)


def values_and_gradients(function, x, weight, bias):
    inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y, mean, var = function(*inputs, EPS)
    cotangent = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    scalar = (y * cotangent).sum() + (mean * mean.detach().sin()).sum() + var.sqrt().sum()
    return [y, mean, var, *torch.autograd.grad(scalar, inputs)]


@pytest.mark.parametrize(
    ("shape", "chunk_elements"), [((6, 3), 1 << 18), ((7, 3, 5, 4), 130), ((70, 3, 40, 40), 1 << 18)]
)
@pytest.mark.parametrize("function", [normalize_batch, normalize_batch_for_compilers])
def test_fast_formula_is_the_readable_one_in_value_and_gradient(shape, chunk_elements, function, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x, (weight, bias) = draw(*shape) * 2 + 1, parameters(True, True)
    fast = values_and_gradients(function, x, weight, bias)
    readable = values_and_gradients(normalize_batch_by_autograd, x, weight, bias)
    for a, b in zip(fast, readable, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def numpy_normalize(x, weight, bias, eps):
    """Normalize in float64; gradients of sum(y * g) by the closed form, written with g and xhat."""
    x, weight, bias = (np.asarray(t.detach().double()) for t in (x, weight, bias))
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    wide = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    xhat = (x - mean) / np.sqrt(var + eps)

    def gradient(g):
        g = np.asarray(g.double())
        inner = g - g.mean(axes, keepdims=True) - xhat * (g * xhat).mean(axes, keepdims=True)
        return weight.reshape(wide) / np.sqrt(var + eps) * inner, (g * xhat).sum(axes), g.sum(axes)

    return weight.reshape(wide) * xhat + bias.reshape(wide), mean.ravel(), var.ravel(), gradient


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk_elements", [1 << 18, 200])
def test_narrow_inputs_are_within_one_rounding_of_float64(dtype, chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = (3 * draw(9, 4, 5, 5).detach() + 2).to(dtype).requires_grad_()
    weight, bias = parameters(True, True, 4)
    weight, bias = (t.detach().float().requires_grad_() for t in (weight, bias))
    y, mean, var = normalize_batch(x, weight, bias, EPS)
    expected, expected_mean, expected_var, gradient = numpy_normalize(x, weight, bias, EPS)
    one_rounding = {"rtol": torch.finfo(dtype).eps / 2 * 1.01, "atol": 2e-6}
    assert y.dtype is dtype
    assert mean.dtype is var.dtype is torch.float32
    np.testing.assert_allclose(y.detach().double(), expected, **one_rounding)
    np.testing.assert_allclose(mean.detach(), expected_mean, rtol=1e-5)
    np.testing.assert_allclose(var.detach(), expected_var, rtol=1e-5)
    g = torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape).to(dtype)
    dx, dweight, dbias = torch.autograd.grad(y, (x, weight, bias), g)
    expected_dx, expected_dweight, expected_dbias = gradient(g)
    np.testing.assert_allclose(dx.double(), expected_dx, **one_rounding)
    np.testing.assert_allclose(dweight, expected_dweight, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dbias, expected_dbias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [normalize_batch, normalize_batch_for_compilers])
@pytest.mark.parametrize("first_samples_apart", [0, 100])
def test_a_large_offset_costs_a_few_roundings_of_the_input_and_no_more(function, first_samples_apart):
    """At 1e4 float32 numbers are 1/1024 apart. E[x^2] - E[x]^2 would be off by several times the variance."""
    noise = draw(256, 3, 4, dtype=torch.float32, requires_grad=False)
    noise[:16] += first_samples_apart  # a compiler's formula takes differences from the mean of these
    x = (noise + 1e4).requires_grad_()
    weight, bias = torch.ones(3), torch.zeros(3)
    y, _, var = function(x, weight, bias, 1e-5)
    expected, _, expected_var, gradient = numpy_normalize(x, weight, bias, 1e-5)
    spacing = 2.0**-10
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=6 * spacing)
    np.testing.assert_allclose(var.detach(), expected_var, rtol=1e-4)
    g = torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape)
    (dx,) = torch.autograd.grad(y, x, g)
    np.testing.assert_allclose(dx, gradient(g)[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("chunk_elements", [1 << 18, 64])
def test_layout_of_the_input_changes_no_value_and_is_kept(dtype, chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = draw(6, 3, 4, 4).detach().to(dtype)
    weight, bias = (t.detach() for t in parameters(True, True))
    if dtype is torch.bfloat16:
        weight, bias = weight.float(), bias.float()
    results = []
    channels_last = x.to(memory_format=torch.channels_last)
    strided = x.repeat_interleave(2, -1)[..., ::2]
    assert not strided.is_contiguous()
    for layout in (x, channels_last, strided):
        leaf = layout.detach().requires_grad_()
        y, _, _ = normalize_batch(leaf, weight, bias, EPS)
        (dx,) = torch.autograd.grad(y.double().square().sum() + y.double().sin().sum(), leaf)
        results.append((y.detach(), dx))
    for y, dx in results[1:]:
        torch.testing.assert_close(y, results[0][0])
        torch.testing.assert_close(dx, results[0][1])
    assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    assert results[1][1].is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_that_is_one_number_expanded_is_taken():
    x = draw(5, 3, 2, 2)
    y, _, _ = normalize_batch(x, *parameters(True, True), EPS)
    (dx,) = torch.autograd.grad(y.sum(), x)  # sum's gradient has strides of 0
    torch.testing.assert_close(dx, torch.zeros_like(dx), atol=1e-13, rtol=0)


@pytest.mark.parametrize("value", [0.1, 1e4])
def test_a_channel_of_one_value_has_variance_0_for_compilers_too(value):
    x = torch.full((60, 1, 7), value)
    y, mean, var = normalize_batch_for_compilers(x, None, None, 1e-5)
    assert (var >= 0).all()
    torch.testing.assert_close(var, torch.zeros(1), rtol=0, atol=1e-12 * value**2)
    torch.testing.assert_close(mean, torch.tensor([value]), rtol=1e-6, atol=0)
    torch.testing.assert_close(y, torch.zeros_like(y), rtol=0, atol=1e-3 * value)


def test_backward_does_not_walk_through_the_readable_formula(monkeypatch):
    """Else the test that compares both ways would compare one with itself."""

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(batch_formula, "normalize_batch_by_autograd", refuse)
    normalize_batch(draw(4, 3), None, None, EPS)[0].square().sum().backward()


def in_layout(x, layout):
    return x.to(memory_format=torch.channels_last) if layout == "channels_last" else x


@pytest.fixture(params=[1 << 18, 200], ids=["whole", "pieces"])
def _in_place(request, monkeypatch):
    """Small inputs are treated as large ones: with buffers that operations write into."""
    monkeypatch.setattr(batch_backward, "SMALL", 0)
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", request.param)


@pytest.mark.usefixtures("_in_place")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operations_in_place_give_the_gradients_of_float64_and_leave_their_inputs_alone(layout, dtype):
    x = in_layout((2 * draw(9, 4, 5, 5).detach() + 1).to(dtype), layout).requires_grad_()
    weight, bias = (t.detach().float().requires_grad_() for t in parameters(True, True, 4))
    y, _, _ = normalize_batch(x, weight, bias, EPS)
    g = in_layout(torch.cos(draw(9, 4, 5, 5).detach()).to(dtype), layout)
    before = x.detach().clone(), g.clone()
    first = torch.autograd.grad(y, (x, weight, bias), g, retain_graph=True)
    again = torch.autograd.grad(y, (x, weight, bias), g)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected_y, _, _ = normalize_batch_by_autograd(*exact, EPS)
    expected = torch.autograd.grad(expected_y, exact, g.double())
    half_ulp = torch.finfo(dtype).eps / 2 * 1.01
    for a, b in zip((y, first[0]), (expected_y, expected[0]), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=half_ulp, atol=3e-6)
        assert a.stride() == x.stride()
    for a, b in zip(first[1:], expected[1:], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(x, before[0])
    assert torch.equal(g, before[1])


@pytest.mark.usefixtures("_in_place")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_large_offset_costs_a_few_roundings_in_pieces_too(layout):
    noise = draw(64, 3, 4, 4, dtype=torch.float32, requires_grad=False)
    x = in_layout(noise + 1e4, layout).requires_grad_()
    weight, bias = torch.ones(3), torch.zeros(3)
    y, _, var = normalize_batch(x, weight, bias, 1e-5)
    expected, _, expected_var, gradient = numpy_normalize(x, weight, bias, 1e-5)
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=6 * 2.0**-10)
    np.testing.assert_allclose(var.detach(), expected_var, rtol=1e-4)
    g = torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape)
    (dx,) = torch.autograd.grad(y, x, g)
    np.testing.assert_allclose(dx, gradient(g)[0], rtol=0, atol=1e-3)


@pytest.mark.usefixtures("_in_place")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_many_gradients_at_once_are_those_one_by_one(layout):
    """The forward is then outside vmap and the backward within: nothing may be written in place there."""
    x, (weight, bias) = in_layout(draw(5, 3, 4, 4).detach(), layout).requires_grad_(), parameters(True, True)
    y, _, _ = normalize_batch(x, weight, bias, EPS)
    many = torch.stack([torch.cos(y.detach()), torch.sin(y.detach())])
    together = torch.autograd.grad(y, (x, weight, bias), many, is_grads_batched=True, retain_graph=True)
    for index, g in enumerate(many):
        alone = torch.autograd.grad(y, (x, weight, bias), g, retain_graph=True)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[index], b, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("_in_place")
def test_the_next_batch_does_not_change_the_results_of_the_last():
    x = draw(9, 4, 5, 5, dtype=torch.float32)
    y, mean, var = normalize_batch(x, None, None, EPS)
    kept = [t.detach().clone() for t in (y, mean, var)]
    normalize_batch(2 * x + 1, None, None, EPS)
    assert all(torch.equal(a, b) for a, b in zip((y, mean, var), kept, strict=True))


@pytest.mark.usefixtures("_in_place")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_comes_next_may_change_the_output_in_place(layout, dtype):
    x = in_layout(draw(9, 4, 5, 5).detach().to(dtype), layout).requires_grad_()
    y, _, _ = normalize_batch(x, None, None, EPS)
    y.relu_().sum().backward()
    assert x.grad is not None


@pytest.mark.usefixtures("_in_place")
def test_forward_mode_without_torch_func_is_that_of_the_readable_formula():
    x, (weight, bias) = draw(5, 3, 4, 4).detach(), (t.detach() for t in parameters(True, True))
    outcomes = []
    for function in (normalize_batch, normalize_batch_by_autograd):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, x.sin())
            y, _, _ = function(dual, weight, bias, EPS)
            outcomes.append(torch.autograd.forward_ad.unpack_dual(y).tangent)
    torch.testing.assert_close(*outcomes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_sums_in_two_steps_have_the_right_gradients(check):
    """For a compiler, where channels are innermost."""
    x = draw(3, 2, 2, 3).detach().movedim(3, 1).requires_grad_()
    assert channels_are_innermost(x)
    assert check(lambda x, w, b: normalize_batch_for_compilers(x, w, b, EPS), (x, *parameters(True, True)))
