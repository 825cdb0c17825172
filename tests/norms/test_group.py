"""Norms that use one sample only, compared with float64 NumPy and against torch's own layers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from bnlab.errors import ConfigError
from bnlab.norms.group import GroupNorm, InstanceNorm, LayerNorm, RMSNorm

NORMS = {
    "group": lambda **options: GroupNorm(4, num_groups=2, **options),
    "layer": lambda **options: LayerNorm(4, **options),
    "instance": lambda **options: InstanceNorm(4, **options),
    "rms": lambda **options: RMSNorm(4, **options),
}
SHAPES = [(5, 4), (5, 4, 6), (5, 4, 3, 2), (2, 4, 2, 3, 2)]
CASES = [(name, shape) for name in NORMS for shape in SHAPES if not (name == "instance" and len(shape) == 2)]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shuffled(norm):
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i + 1) + 0.5)
    return norm


def numpy_norm(name, norm, x):
    """Normalize one sample at a time in float64, as the docstrings write it."""
    per_channel = (-1,) + (1,) * (x.dim() - 2)
    samples = []
    for sample in x.detach().double().numpy():
        if name == "rms":
            y = sample / np.sqrt((sample**2).mean() + norm.eps)
        else:
            groups = np.split(sample, {"group": 2, "layer": 1, "instance": 4}[name])
            y = np.concatenate([(g - g.mean()) / np.sqrt(g.var() + norm.eps) for g in groups])
        if norm.weight is not None:
            y = y * norm.weight.detach().double().numpy().reshape(per_channel)
        if getattr(norm, "bias", None) is not None:
            y = y + norm.bias.detach().double().numpy().reshape(per_channel)
        samples.append(y)
    return np.stack(samples)


@folded(("name", "shape"), CASES)
@pytest.mark.parametrize("affine", [True, False])
@folded("eps", [1e-5, 0.3])
def test_output_is_the_formula_in_float64(name, shape, affine, eps):
    norm, x = shuffled(NORMS[name](affine=affine, eps=eps).double()), 2 * draw(*shape) + 1
    y = norm(x)
    assert y.shape == x.shape
    np.testing.assert_allclose(y.detach(), numpy_norm(name, norm, x), rtol=1e-11, atol=1e-12)
    assert torch.equal(norm.eval()(x), y)
    assert list(norm.buffers()) == []


@folded(("name", "shape"), CASES)
@folded("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_output_has_the_inputs_type_and_is_close_to_float64(name, shape, dtype):
    norm, x = shuffled(NORMS[name]()), (2 * draw(*shape) + 1).to(dtype)
    y = norm(x)
    assert y.dtype is dtype
    error = torch.finfo(dtype).eps
    np.testing.assert_allclose(y.detach().double(), numpy_norm(name, norm, x), rtol=2 * error, atol=4 * error)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradient_is_right_to_float64(name, check):
    norm = shuffled(NORMS[name](eps=1e-2).double())
    parameters = dict(norm.named_parameters())

    def call(x, *values):
        return functional_call(norm, dict(zip(parameters, values, strict=True)), (x,))

    assert check(call, (draw(2, 4, 3).requires_grad_(), *parameters.values()))


@pytest.mark.parametrize("name", NORMS)
def test_output_does_not_depend_on_neighbors(name):
    norm, x = NORMS[name](), draw(5, 4, 3, 2, dtype=torch.float32)
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]))


@pytest.mark.parametrize(
    ("name", "build_theirs", "shape"),
    [
        ("group", lambda: nn.GroupNorm(2, 4), (5, 4)),
        ("group", lambda: nn.GroupNorm(2, 4), (5, 4, 3, 2)),
        ("layer", lambda: nn.LayerNorm(4), (5, 4)),
        ("instance", lambda: nn.InstanceNorm2d(4, affine=True), (5, 4, 3, 2)),
        ("rms", lambda: nn.RMSNorm(4, eps=1e-5), (5, 4)),
    ],
)
def test_does_what_torchs_layer_does(name, build_theirs, shape):
    ours, theirs = shuffled(NORMS[name]()), build_theirs()
    theirs.load_state_dict(ours.state_dict())
    seen = []
    for norm in (ours, theirs):
        x = draw(*shape, dtype=torch.float32).requires_grad_()
        y = norm(x)
        y.sin().sum().backward()
        seen.append([y, x.grad, *(p.grad for p in norm.parameters())])
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "theirs"), [("layer", F.layer_norm), ("rms", F.rms_norm)])
def test_on_images_layer_and_rms_reduce_over_channels_and_space(name, theirs):
    """With one scale and shift per channel; torch has one per position."""
    norm, x = shuffled(NORMS[name]()), draw(5, 4, 3, 2, dtype=torch.float32)
    expected = theirs(x, (4, 3, 2), eps=1e-5) * norm.weight.view(1, 4, 1, 1)
    expected = expected + norm.bias.view(1, 4, 1, 1) if name == "layer" else expected
    torch.testing.assert_close(norm(x), expected)
    assert norm.weight.shape == (4,)


def test_layer_and_rms_before_a_linear_map_are_scale_invariant_only_as_a_whole():
    """Gradient and weights are orthogonal over the whole matrix, not row by row as under BatchNorm."""
    for norm in (LayerNorm(4, eps=1e-12).double(), RMSNorm(4, eps=1e-12).double()):
        weight, x = draw(4, 5).requires_grad_(), draw(16, 5, seed=1)
        loss = F.cross_entropy(norm(F.linear(x, weight)), torch.arange(16) % 4)
        (gradient,) = torch.autograd.grad(loss, weight)
        assert (weight * gradient).sum().abs() < 1e-9
        assert (weight * gradient).sum(1).abs().max() > 1e-3


def test_rms_keeps_the_mean_and_layer_removes_it():
    x = draw(5, 4) + 10
    assert (RMSNorm(4).double()(x).mean(1) > 0.9).all()
    assert LayerNorm(4).double()(x).mean(1).abs().max() < 1e-9


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 1, 1)])
def test_instance_is_refused_where_a_channel_has_one_value(shape):
    with pytest.raises(ConfigError, match=r"more than one position per channel.*its own mean.*norm=layer"):
        InstanceNorm(4)(torch.ones(shape))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1, 1)])
def test_groups_of_one_value_are_refused(shape):
    with pytest.raises(ConfigError, match="one value per group"):
        GroupNorm(4, num_groups=4)(torch.ones(shape))
    assert GroupNorm(4, num_groups=4)(torch.ones(5, 4, 2)).shape == (5, 4, 2)
    assert GroupNorm(4, num_groups=2)(torch.ones(shape)).shape == shape


@pytest.mark.parametrize(
    ("num_channels", "num_groups", "nearest"),
    [(64, 24, "16, 32"), (64, 3, "2, 4"), (7, 4, "1, 7"), (6, 100, "3, 6"), (4, 0, "1, 2"), (1, 4, "1")],
)
def test_number_of_groups_that_does_not_divide_names_the_nearest_that_do(num_channels, num_groups, nearest):
    law = (
        f"norm.num_groups must divide num_channels: {num_channels} channels, {num_groups} groups. "
        f"Nearest divisors: {nearest}."
    )
    with pytest.raises(ConfigError) as caught:
        GroupNorm(num_channels, num_groups=num_groups)
    assert str(caught.value) == law


@pytest.mark.parametrize("num_groups", [2.5, "two", True, None])
def test_number_of_groups_must_be_a_whole_number(num_groups):
    with pytest.raises(ConfigError, match=r"norm\.num_groups must be a whole number, got"):
        GroupNorm(10, num_groups=num_groups)


@folded("name", NORMS)
@folded("eps", [0, -1e-5, float("nan"), "small", True])
def test_eps_that_is_not_above_0_is_refused(name, eps):
    with pytest.raises(ConfigError, match=r"norm\.eps must be a number above 0"):
        NORMS[name](eps=eps)


@pytest.mark.parametrize("name", NORMS)
def test_affine_must_be_a_switch(name):
    with pytest.raises(ConfigError, match=r"norm\.affine must be true or false, got off"):
        NORMS[name](affine="off")


@folded("name", NORMS)
@folded("shape", [(4,), (5, 3), (5, 3, 4), (5, 1, 4, 4)])
def test_a_wrong_shape_is_refused(name, shape):
    with pytest.raises(ConfigError, match="a norm of 4 channels takes"):
        NORMS[name]()(torch.ones(shape))


@pytest.mark.parametrize("name", NORMS)
def test_whole_numbers_are_refused(name):
    with pytest.raises(ConfigError, match="floating-point"):
        NORMS[name]()(torch.ones(2, 4, 3, dtype=torch.int64))


@pytest.mark.parametrize("name", NORMS)
def test_an_empty_batch_passes(name):
    assert NORMS[name]()(torch.empty(0, 4, 3)).shape == (0, 4, 3)


@pytest.mark.parametrize("name", NORMS)
def test_channels_last_images_give_the_same_values(name):
    norm, x = shuffled(NORMS[name]()), draw(3, 4, 5, 5, dtype=torch.float32)
    torch.testing.assert_close(norm(x.to(memory_format=torch.channels_last)), norm(x))


@pytest.mark.parametrize("name", NORMS)
def test_stacked_layers_under_vmap_are_the_separate_layers(name):
    norms = [NORMS[name]().double() for _ in range(3)]
    for i, norm in enumerate(norms):
        with torch.no_grad():
            norm.weight.copy_(draw(4, seed=i))
    parameters, _ = stack_module_state(norms)
    x = draw(3, 5, 4, 2)

    def loss(parameters, x):
        return functional_call(norms[0], parameters, (x,)).sin().sum()

    gradients = vmap(grad(loss))({name: value.detach() for name, value in parameters.items()}, x)
    for i, norm in enumerate(norms):
        norm(x[i]).sin().sum().backward()
        for role, parameter in norm.named_parameters():
            torch.testing.assert_close(gradients[role][i], parameter.grad)


def test_says_what_a_model_asks_of_a_norm():
    assert [norm.subtracts_mean for norm in (GroupNorm, LayerNorm, InstanceNorm, RMSNorm)] == [True, True, True, False]
    assert not any(norm.keeps_running_statistics for norm in (GroupNorm, LayerNorm, InstanceNorm, RMSNorm))
