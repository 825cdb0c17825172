"""Torch's own kernels as arms agree with bnlab's norms from scratch: values, gradients, errors."""

import copy

import pytest
import torch
from folded import folded

from bnlab.errors import ConfigError
from bnlab.norms.catalog import build_norm

ARMS = {"layer": {}, "group": {"num_groups": 2}, "instance": {}, "rms": {}}
SHAPES = [(5, 6), (5, 6, 7), (5, 6, 4, 3), (2, 6, 2, 3, 2)]
CASES = [(name, shape) for name in ARMS for shape in SHAPES if not (name == "instance" and len(shape) == 2)]


def pair(name, **options):
    ours, theirs = (build_norm(n, 6, **ARMS[name], **options) for n in (name, f"{name}_torch"))
    with torch.no_grad():
        for i, parameter in enumerate(ours.parameters()):
            parameter.copy_(1 + draw(*parameter.shape, seed=i + 1) / 2)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def values_and_gradients(norm, x):
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = norm(leaf)
    gradients = torch.autograd.grad(y, [leaf, *norm.parameters()], y.detach().double().cos().to(y.dtype))
    return [y.detach(), *gradients]


@folded(("name", "shape"), CASES)
@folded("affine", [True, False])
@folded("eps", [1e-5, 0.3])
def test_torchs_kernel_and_ours_agree_in_value_and_gradient(name, shape, affine, eps):
    ours, theirs = pair(name, affine=affine, eps=eps)
    x = (2 * draw(*shape) + 1).double()
    seen = [values_and_gradients(norm.double(), x) for norm in (ours, theirs)]
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@folded(("name", "shape"), CASES)
@folded("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_they_agree_in_narrow_types_to_two_roundings(name, shape, dtype):
    ours, theirs = pair(name)
    x = (2 * draw(*shape) + 1).to(dtype)
    a, b = ours(x), theirs(x)
    assert a.dtype is b.dtype is dtype
    torch.testing.assert_close(a, b, rtol=2 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", ARMS)
def test_images_with_their_channels_last_give_the_same_values(name):
    ours, theirs = pair(name)
    x = draw(5, 6, 4, 4)
    seen = [values_and_gradients(norm, x.to(memory_format=torch.channels_last)) for norm in (ours, theirs)]
    for a, b, c in zip(*seen, values_and_gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(b, c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ARMS)
def test_what_they_declare_and_learn_is_the_same(name):
    ours, theirs = pair(name)
    for declaration in ("keeps_running_statistics", "subtracts_mean", "mixes_samples", "formula", "invariances"):
        assert getattr(ours, declaration) == getattr(theirs, declaration)
    assert {name: p.shape for name, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}
    assert repr(theirs).startswith("Torch")


@folded("name", ARMS)
@folded("shape", [(4,), (5, 3), (5, 3, 4)])
def test_a_wrong_shape_is_refused_by_both(name, shape):
    for norm in pair(name):
        with pytest.raises(ConfigError, match="a norm of 6 channels takes"):
            norm(torch.ones(shape))


def test_one_value_per_statistic_is_refused_by_torchs_arms_too():
    """Torch itself would return the bias, whatever the input."""
    with pytest.raises(ConfigError, match="one value per group"):
        build_norm("group_torch", 6, num_groups=6)(torch.ones(5, 6))
    with pytest.raises(ConfigError, match="more than one position per channel"):
        build_norm("instance_torch", 6)(torch.ones(5, 6, 1, 1))


@folded("mean", [30, 1000, 10000])
@folded("shape", [(5, 6, 4, 4), (2, 6, 2, 3, 2)])
@folded("name", ["layer", "group", "instance"])
def test_with_means_far_from_0_neither_layout_costs_digits(name, shape, mean):
    _, theirs = pair(name)
    x = draw(*shape) + mean
    expected = copy.deepcopy(theirs).double()(x.double())
    for layout in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
        y = theirs(layout)
        assert y.stride() == layout.stride()
        assert (y - expected).abs().max() < 1e-6 * mean


def test_torchs_batch_norm_gets_an_input_far_from_0_with_the_channels_first():
    """With the channels last, torch 2.14 adds up a mean value by value in float32 on a CPU."""
    x = (torch.randn(128, 8, 32, 32, generator=torch.Generator().manual_seed(0)) + 1e4).to(
        memory_format=torch.channels_last
    )
    norm, exact = build_norm("batch_torch", 8), torch.nn.BatchNorm2d(8).double()
    y, expected = norm(x), exact(x.double())
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert float((y - expected).detach().abs().max()) < 0.01
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=1e-4, atol=0)
    error = float((torch.nn.BatchNorm2d(8)(x) - expected).detach().abs().max())
    assert error > 0.01, "torch has mended it: the copy in norms/torch_layers can go"
