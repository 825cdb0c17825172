"""Tests of all norms outside the batch family: types, layouts, devices, stacking, copying, compiling."""

import copy
import pickle

import pytest
import torch
from folded import folded
from torch.func import functional_call, grad, stack_module_state, vmap

from bnlab.errors import ConfigError
from bnlab.norms.catalog import build_norm

ARMS = {
    "group": {},
    "layer": {},
    "instance": {},
    "rms": {},
    "group_torch": {},
    "layer_torch": {},
    "instance_torch": {},
    "rms_torch": {},
    "frn": {},
    "frn learned": {"learnable_eps": True, "eps": 0.1},
    "frn plain": {"tlu": False},
    "derf": {},
    "derf shifted": {"shift_init": 0.5},
    "dyt": {},
    "switchable": {},
    "switchable plain average": {"momentum": None},
    "weight_standardization": {},
    "scaled_weight_standardization": {},
}
NEED_SPACE = {"instance", "instance_torch", "frn", "frn plain"}
OURS = [arm for arm in ARMS if "torch" not in arm]
SHAPES = [(5, 8), (5, 8, 6), (5, 8, 3, 2), (2, 8, 2, 3, 2)]
CASES = [(arm, shape) for arm in ARMS for shape in SHAPES if len(shape) > 2 or arm not in NEED_SPACE]


def build(arm, seed=None):
    norm = build_norm(arm.split()[0], 8, **ARMS[arm])
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters() if seed is not None else ()):
            parameter.copy_(1 + draw(*parameter.shape, seed=10 * seed + i) / 3)
    return norm


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@folded(("arm", "shape"), CASES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_output_has_the_inputs_type_and_is_one_rounding_from_float64(arm, shape, training, dtype):
    norm, x = build(arm, seed=1).train(training), (2 * draw(*shape) + 1).to(dtype)
    y, expected = norm(x), copy.deepcopy(norm).double()(x.double())
    assert y.dtype is dtype
    assert y.shape == x.shape
    roundings = 2 if "torch" in arm else 0.51
    error = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=roundings * error + 3e-6, atol=roundings * error / 8 + 3e-6)
    if training:
        (gradient,) = torch.autograd.grad(norm(leaf := x.clone().requires_grad_()).sum(), leaf)
        assert gradient.dtype is dtype


@folded("arm", ARMS)
def test_large_values_in_half_precision_do_not_overflow(arm):
    """Their squares would: 300^2 is above float16's largest number."""
    y = build(arm)((300 * draw(5, 8, 3, 3)).half())
    assert y.isfinite().all()
    assert y.abs().max() > 0


@pytest.mark.parametrize(("arm", "shape"), CASES)
@folded("training", [True, False])
def test_it_needs_no_numbers(arm, shape, training):
    with torch.device("meta"):
        y = build(arm).train(training)(torch.empty(shape))
    assert (y.device.type, y.shape) == ("meta", shape)


@folded("arm", OURS)
@folded("dtype", [torch.float32, torch.bfloat16])
def test_an_image_with_its_channels_last_keeps_them_there(arm, dtype):
    norm, x = build(arm, seed=1), draw(5, 8, 4, 4).to(dtype)
    last = x.to(memory_format=torch.channels_last).requires_grad_()
    y = norm(last)
    torch.testing.assert_close(y, norm(x))
    assert y.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(y.float().sin().sum(), last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@folded("arm", ARMS)
@folded("copied", [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))])
def test_a_copy_does_the_same_and_is_its_own(arm, copied):
    norm, x = build(arm, seed=1), draw(5, 8, 3, 3)
    norm(x)
    twin = copied(norm)
    assert torch.equal(twin.eval()(x), norm.eval()(x))
    for name in ("replaces_activation", "subtracts_mean", "keeps_running_statistics"):
        assert getattr(twin, name) == getattr(norm, name)
    assert (twin.weight_parametrization is None) == (norm.weight_parametrization is None)
    assert not {id(t) for t in twin.state_dict(keep_vars=True).values()} & {
        id(t) for t in norm.state_dict(keep_vars=True).values()
    }


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("training", [True, False])
def test_compiled_in_one_graph_it_is_the_same(arm, training):
    norm, x = build(arm, seed=1).train(training), draw(5, 8, 3, 3)
    twin = copy.deepcopy(norm)
    torch.testing.assert_close(torch.compile(twin, fullgraph=True, backend="eager")(x), norm(x))
    torch.testing.assert_close(twin.state_dict(), norm.state_dict())


@pytest.mark.parametrize(("arm", "shape"), [case for case in CASES if case[1] != (2, 8, 2, 3, 2)])
def test_stacked_layers_under_vmap_are_the_separate_layers_buffers_included(arm, shape):
    norms = [build(arm, seed=seed).double() for seed in range(3)]
    x = draw(3, *shape).double()
    parameters, buffers = stack_module_state(norms)
    parameters = {name: value.detach() for name, value in parameters.items()}
    buffers = {name: value.clone() for name, value in buffers.items()}

    def loss(parameters, buffers, x):
        return functional_call(norms[0], (parameters, buffers), (x,)).sin().sum()

    of_parameters, of_x = vmap(grad(loss, (0, 2)))(parameters, buffers, x)
    for i, norm in enumerate(norms):
        leaf = x[i].clone().requires_grad_()
        norm(leaf).sin().sum().backward()
        torch.testing.assert_close(of_x[i], leaf.grad)
        for name, parameter in norm.named_parameters():
            torch.testing.assert_close(of_parameters[name][i], parameter.grad)
        for name, buffer in norm.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer)


@folded("arm", ARMS)
@folded("training", [True, False])
def test_an_empty_batch_passes_and_leaves_statistics_alone(arm, training):
    norm = build(arm).train(training)
    assert norm(torch.empty(0, 8, 3, 3)).shape == (0, 8, 3, 3)
    for name, buffer in norm.named_buffers():
        if name != "num_batches_tracked":
            assert torch.equal(buffer, build(arm).state_dict()[name])


@folded("arm", ARMS)
@folded("x", [torch.ones(8), torch.ones(5, 3, 3, 3), torch.ones(5, 8, 3, dtype=torch.int64)])
def test_what_is_no_batch_of_8_channels_is_refused(arm, x):
    with pytest.raises(ConfigError, match="a norm"):
        build(arm)(x)


@folded("arm", ARMS)
def test_a_sample_mixes_with_its_neighbors_only_where_that_is_declared(arm):
    norm, x = build(arm), draw(5, 8, 3, 3)
    moved = torch.cat([x[:1], 3 * x[1:] + 1])
    assert torch.allclose(norm(x)[0], norm(moved)[0], atol=1e-5) != norm.mixes_samples
    norm.eval()
    assert torch.allclose(norm(x)[0], norm(moved)[0], atol=1e-5)


@folded("arm", ARMS)
def test_declared_invariances_are_the_ones_that_hold(arm):
    norm, x = build(arm), draw(5, 8, 4, 4) + 0.5
    if arm == "frn learned":
        norm.eps.data.fill_(1e-6)  # they hold but for eps
    changes = {
        "channel_shift": lambda x: x + draw(1, 8, 1, 1, seed=1),
        "channel_scale": lambda x: x * draw(1, 8, 1, 1, seed=1).exp(),
        "sample_shift": lambda x: x + draw(5, 1, 1, 1, seed=1),
        "sample_scale": lambda x: x * draw(5, 1, 1, 1, seed=1).exp(),
    }
    holding = {name for name, change in changes.items() if torch.allclose(norm(change(x)), norm(x), atol=2e-3)}
    assert holding == norm.invariances


@folded("arm", OURS)
def test_forward_mode_differentiation_agrees_with_reverse_mode(arm):
    norm, x = build(arm, seed=1).double(), draw(5, 8, 3).double()
    parameters = {name: p.detach() for name, p in norm.named_parameters()}
    directions = ({name: p.cos() for name, p in parameters.items()}, x.cos())

    def call(parameters, x):
        buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
        return functional_call(norm, {**parameters, **buffers}, (x,))

    y, along = torch.func.jvp(call, (parameters, x), directions)
    _, pull_back = torch.func.vjp(call, parameters, x)
    of_parameters, of_x = pull_back(y.sin())
    products = [(of_parameters[name] * directions[0][name]).sum() for name in parameters]
    torch.testing.assert_close((along * y.sin()).sum(), sum(products) + (of_x * directions[1]).sum())
