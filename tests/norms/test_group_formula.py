"""The formula of the norms inside one sample and its gradient, compared with autograd and float64."""

import itertools

import numpy as np
import pytest
import torch
from folded import folded
from pairs import every_pair
from torch.func import grad, vmap

from bnlab.norms import group_formula, moments
from bnlab.norms.group_formula import normalize_groups, normalize_groups_by_autograd

EPS = 1e-2
SHAPES = [(3, 4), (2, 4, 3), (2, 4, 2, 2)]


def draw(*shape, dtype=torch.float64, requires_grad=True, seed=0):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return values.requires_grad_(requires_grad)


def parameters(weight=True, bias=True, num_channels=4):
    weight_C = (1 + draw(num_channels).detach() / 4).requires_grad_() if weight else None
    return weight_C, draw(num_channels, seed=1) if bias else None


SETTINGS = {
    "num_groups": [2, 1, 4],
    "shape": SHAPES,
    "with_parameters": [(True, True), (True, False), (False, True), (False, False)],
    "centered": [True, False],
}


@pytest.mark.parametrize("setting", every_pair(SETTINGS), ids=lambda setting: "-".join(map(str, setting.values())))
def test_gradients_are_right_to_float64(setting):
    def call(x, w, b):
        return normalize_groups(x, w, b, setting["num_groups"], EPS, centered=setting["centered"])

    assert torch.autograd.gradcheck(call, (draw(*setting["shape"]), *parameters(*setting["with_parameters"])))


@pytest.mark.slow_but(4)
@pytest.mark.parametrize("setting", every_pair(SETTINGS), ids=lambda setting: "-".join(map(str, setting.values())))
def test_second_derivatives_are_right_to_float64(setting):
    def call(x, w, b):
        return normalize_groups(x, w, b, setting["num_groups"], EPS, centered=setting["centered"])

    assert torch.autograd.gradgradcheck(call, (draw(*setting["shape"]), *parameters(*setting["with_parameters"])))


def values_and_gradients(function, x, weight, bias, num_groups, centered):
    inputs = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in (x, weight, bias)]
    y = function(*inputs, num_groups, EPS, centered=centered)
    cotangent = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, cotangent)]


@folded("num_groups", [1, 3, 6])
@folded("centered", [True, False])
@folded(("shape", "chunk_elements"), [((7, 6), 1 << 18), ((7, 6, 5, 4), 1 << 18), ((7, 6, 5, 4), 250), ((5, 6, 3), 1)])
@folded("layout", [torch.contiguous_format, torch.channels_last])
def test_fast_formula_is_the_readable_one_in_value_and_gradient(
    num_groups, centered, shape, chunk_elements, layout, monkeypatch
):
    """Also if the batch is divided into pieces, of equal size or not."""
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = 2 * draw(*shape).detach() + 1
    x = x.to(memory_format=layout) if x.dim() == 4 else x
    weight, bias = parameters(num_channels=6)
    fast = values_and_gradients(normalize_groups, x, weight, bias, num_groups, centered)
    readable = values_and_gradients(normalize_groups_by_autograd, x, weight, bias, num_groups, centered)
    for a, b in zip(fast, readable, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def numpy_normalize(x, weight, bias, num_groups, g):
    """Normalize one group of one sample at a time in float64; the gradients by the closed form with g and xhat."""
    x, weight, bias, g = (t.detach().double().numpy() for t in (x, weight, bias, g))
    y, dx, dweight, dbias = np.empty_like(x), np.empty_like(x), np.zeros_like(weight), np.zeros_like(bias)
    per_group = x.shape[1] // num_groups
    for n, first in itertools.product(range(len(x)), range(0, x.shape[1], per_group)):
        channels = slice(first, first + per_group)
        w, b = (value[channels].reshape(-1, *(1,) * (x.ndim - 2)) for value in (weight, bias))
        piece, piece_g = x[n, channels], g[n, channels]
        std = np.sqrt(piece.var() + EPS)
        xhat = (piece - piece.mean()) / std
        y[n, channels] = w * xhat + b
        wg = w * piece_g
        dx[n, channels] = (wg - wg.mean() - xhat * (wg * xhat).mean()) / std
        space = tuple(range(1, piece.ndim))
        dweight[channels] += (piece_g * xhat).sum(space)
        dbias[channels] += piece_g.sum(space)
    return y, dx, dweight, dbias


@folded("dtype", [torch.bfloat16, torch.float16])
@folded("num_groups", [1, 2, 4])
@folded("chunk_elements", [1 << 18, 300])
def test_narrow_inputs_are_within_one_rounding_of_float64(dtype, num_groups, chunk_elements, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = (3 * draw(5, 4, 5, 5).detach() + 2).to(dtype).requires_grad_()
    weight, bias = (t.detach().float().requires_grad_() for t in parameters())
    y = normalize_groups(x, weight, bias, num_groups, EPS)
    g = torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape).to(dtype)
    gradients = torch.autograd.grad(y, (x, weight, bias), g)
    expected, expected_dx, *expected_of_parameters = numpy_normalize(x, weight, bias, num_groups, g)
    one_rounding = {"rtol": torch.finfo(dtype).eps / 2 * 1.01, "atol": 2e-6}
    assert y.dtype is gradients[0].dtype is dtype
    np.testing.assert_allclose(y.detach().double(), expected, **one_rounding)
    np.testing.assert_allclose(gradients[0].double(), expected_dx, **one_rounding)
    for ours, theirs in zip(gradients[1:], expected_of_parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_a_large_offset_costs_no_more_than_the_inputs_own_spacing(num_groups):
    """At 1e4 float32 numbers are 1/1024 apart. E[x^2] - E[x]^2 would be off by several times the variance."""
    x = (draw(16, 4, 12, dtype=torch.float32, requires_grad=False) + 1e4).requires_grad_()
    weight, bias = torch.ones(4), torch.zeros(4)
    y = normalize_groups(x, weight, bias, num_groups, EPS)
    g = torch.sin(torch.arange(y.numel(), dtype=torch.float32)).view(y.shape)
    (dx,) = torch.autograd.grad(y, x, g)
    expected, expected_dx, *_ = numpy_normalize(x, weight, bias, num_groups, g)
    np.testing.assert_allclose(y.detach(), expected, rtol=0, atol=3 * 2.0**-10)
    np.testing.assert_allclose(dx, expected_dx, rtol=0, atol=3 * 2.0**-10)


@folded("dtype", [torch.float32, torch.bfloat16])
@folded("num_groups", [1, 2, 4])
@folded("chunk_elements", [1 << 18, 100])
@folded("dims", [4, 5])
def test_layout_of_the_input_is_kept_and_changes_no_value(dtype, num_groups, chunk_elements, dims, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ELEMENTS", chunk_elements)
    x = draw(6, 4, *(3,) * (dims - 2)).detach().to(dtype)
    layout = torch.channels_last if dims == 4 else torch.channels_last_3d
    weight, bias = (t.detach().float() for t in parameters())
    strided = x.repeat_interleave(2, -1)[..., ::2]
    assert not strided.is_contiguous()
    results = []
    for image in (x, x.to(memory_format=layout), strided):
        leaf = image.detach().requires_grad_()
        y = normalize_groups(leaf, weight, bias, num_groups, EPS)
        (dx,) = torch.autograd.grad(y, leaf, y.detach().sin())
        results.append((y.detach(), dx))
    for y, dx in results[1:]:
        torch.testing.assert_close(y, results[0][0])
        torch.testing.assert_close(dx, results[0][1])
    assert results[0][0].is_contiguous()
    assert results[1][0].is_contiguous(memory_format=layout)
    assert results[1][1].is_contiguous(memory_format=layout)


def test_a_gradient_that_is_one_number_expanded_is_taken():
    x = draw(5, 4, 2, 2)
    (dx,) = torch.autograd.grad(normalize_groups(x, None, None, 2, EPS).sum(), x)  # sum's gradient has strides of 0
    torch.testing.assert_close(dx, torch.zeros_like(dx), atol=1e-13, rtol=0)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3, 3), (3, 4, 0)])
def test_nothing_passes_and_its_gradients_are_0(shape):
    x, (weight, bias) = draw(*shape), parameters()
    y = normalize_groups(x, weight, bias, 2, EPS)
    assert y.shape == x.shape
    of_parameters = torch.autograd.grad(y.sum(), (weight, bias))
    assert not any(gradient.any() for gradient in of_parameters)


@pytest.mark.parametrize("of", ["weight", "bias", "x", "all"])
@pytest.mark.parametrize("centered", [True, False])
def test_a_stack_of_any_of_its_inputs_under_vmap_is_the_separate_calls(of, centered):
    """Layers that share their input, or only their scale: tensors that are not stacked have no replica axis."""
    stacked = {"x": draw(3, 2, 4, 5), "weight": draw(3, 4, seed=1), "bias": draw(3, 4, seed=2)}
    inputs = [value.detach() if of in {name, "all"} else value[0].detach() for name, value in stacked.items()]
    in_dims = tuple(0 if of in {name, "all"} else None for name in stacked)

    def loss(x, weight, bias):
        return normalize_groups(x, weight, bias, 2, EPS, centered=centered).sin().sum()

    together = vmap(grad(loss, (0, 1, 2)), in_dims=in_dims)(*inputs)
    for i in range(3):
        each = [value[i] if dim == 0 else value for value, dim in zip(inputs, in_dims, strict=True)]
        for a, b in zip(together, grad(loss, (0, 1, 2))(*each), strict=True):
            torch.testing.assert_close(a[i], b)


@folded("changed", [("x", "weight", "bias"), ("x",), ("weight",), ("bias",)])
@folded(("shape", "num_groups"), [((5, 4), 2), ((3, 4, 2, 3), 1), ((3, 4, 2, 3), 2), ((3, 4, 5), 4)])
@folded("centered", [True, False])
def test_forward_mode_differentiation_is_that_of_the_readable_formula(changed, shape, num_groups, centered):
    at = {"x": draw(*shape).detach(), **dict(zip(("weight", "bias"), parameters(), strict=True))}
    at = {name: value.detach() for name, value in at.items()}
    directions = tuple(torch.cos(1.7 * at[name]) for name in changed)

    def derivative(function):
        def of_the_changed(*values):
            given = {**at, **dict(zip(changed, values, strict=True))}
            return function(*given.values(), num_groups, EPS, centered=centered)

        return torch.func.jvp(of_the_changed, tuple(at[name] for name in changed), directions)[1]

    torch.testing.assert_close(
        derivative(normalize_groups), derivative(normalize_groups_by_autograd), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("centered", [True, False])
def test_forward_over_reverse_and_vmap_of_forward_are_those_of_the_readable_formula(centered):
    weight, bias = (t.detach() for t in parameters())
    x_RNCS = draw(4, 3, 4, 2).detach()

    def outcomes(function):
        def call(x):
            return function(x, weight, bias, 2, EPS, centered=centered)

        along_itself = torch.func.vmap(lambda x: torch.func.jvp(call, (x,), (x.sin(),))[1])
        return torch.func.hessian(lambda x: (call(x) ** 3).sum())(x_RNCS[0]), along_itself(x_RNCS)

    for a, b in zip(outcomes(normalize_groups), outcomes(normalize_groups_by_autograd), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_backward_does_not_walk_through_the_readable_formula(monkeypatch):
    """Else the test that compares both ways would compare one with itself."""

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(group_formula, "normalize_groups_by_autograd", refuse)
    normalize_groups(draw(4, 4), None, None, 2, EPS).square().sum().backward()


@pytest.mark.slow
def test_compiled_in_one_graph_it_is_the_same():
    x, (weight, bias) = draw(4, 4, 3, 3), parameters()
    compiled = torch.compile(lambda x: normalize_groups(x, weight, bias, 2, EPS), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), normalize_groups(x, weight, bias, 2, EPS))


def test_it_needs_no_numbers():
    x = torch.empty(2, 4, 3, 3, device="meta", dtype=torch.bfloat16)
    y = normalize_groups(x, None, None, 2, EPS)
    assert (y.device.type, y.shape, y.dtype) == ("meta", x.shape, torch.bfloat16)
