"""Tests of all relatives of BatchNorm: shapes, types, modes, copies, stacks and gradients.

Each one's own formula is held against NumPy in a file of its own.
"""

import copy
import pickle

import numpy as np
import pytest
import torch
from folded import folded
from pairs import every_pair
from torch.func import functional_call, grad, stack_module_state, vmap

from bnlab.errors import ConfigError
from bnlab.norms.catalog import build_norm

RENORM_IN_FULL = {"warmup_steps": 1, "r_ramp_steps": 3, "d_ramp_steps": 2, "r_max": 1.2, "d_max": 0.3}
NORMS = {
    "batch_center_only": {},
    "batch_scale_only": {},
    "batch_bias_only": {"scale": 0.5},
    "l1_batch": {},
    "batch_renorm": RENORM_IN_FULL,
    "ghost": {"ghost_size": 4},
    "batch_population": {},
    "batch_noisy": {},
}
TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def build(name, **options):
    return build_norm(name, 3, **{**NORMS[name], **options})


def shuffled(norm, seed=1):
    """Set parameters and running statistics to values other than 1 and 0, at which mistakes would not show."""
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + i) + 0.5)
        for i, (name, buffer) in enumerate(norm.named_buffers()):
            if name.startswith("running"):
                buffer.copy_(draw(*buffer.shape, seed=seed + 10 + i).abs() + 0.5)
    return norm


def seeded(norm, x):
    torch.manual_seed(0)
    return norm(x)


MODES_SHAPES_AND_TYPES = {
    "shape": [(9, 3), (9, 3, 5), (9, 3, 4, 5), (9, 3, 2, 3, 2)],
    "dtype": TYPES,
    "training": [True, False],
}


@pytest.mark.parametrize("name", NORMS)
@folded(
    ("training", "shape", "dtype"),
    [(case["training"], case["shape"], case["dtype"]) for case in every_pair(MODES_SHAPES_AND_TYPES)],
)
def test_any_shape_and_type_gives_the_float64_result_in_the_inputs_type(name, shape, training, dtype):
    x = (2 * draw(*shape) + 1).to(dtype)
    norm = shuffled(build(name)).train(training)
    wide, norm = copy.deepcopy(norm).double(), norm.double() if dtype is torch.float64 else norm
    y, expected = seeded(norm, x), seeded(wide, x.double())
    assert y.dtype is dtype
    assert y.shape == x.shape
    error = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=1.5 * error, atol=4 * max(error / 4, 1e-7))
    for name_of, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer.double(), wide.get_buffer(name_of).double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_statistics_of_half_precision_do_not_overflow(name):
    x = (300 * draw(64, 3)).to(torch.float16)  # squares reach 1e6; float16 ends at 65504
    norm = build(name)
    assert norm(x).isfinite().all()
    assert all(buffer.isfinite().all() for buffer in norm.buffers())
    reference = build(name).double()
    reference(x.double())
    for name_of, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer.double(), reference.get_buffer(name_of).double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("momentum", [0.9, None])
def test_running_statistics_converge_to_the_batchs_and_eval_mode_uses_them(name, momentum):
    """After many steps on the same batch, eval mode gives the output of training mode (ghosts must be equal)."""
    x = 2 * draw(4, 3, 5) + 3
    x = torch.cat([x, x]) if name == "ghost" else x
    options = {"normalize": True, "shift_spread": 0, "scale_spread": 0} if name == "batch_noisy" else {}
    norm = shuffled(build(name, momentum=momentum, **options).double())
    for _ in range(400):
        norm(x)
    if name == "batch_noisy":
        norm.shift_range, norm.scale_max = 0, 1
    training = norm(x)
    torch.testing.assert_close(norm.eval()(x), training, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NORMS)
def test_eval_output_does_not_depend_on_neighbors_and_moves_no_buffer(name):
    norm, x = shuffled(build(name)), draw(8, 3, 4, dtype=torch.float32)
    norm(x)
    norm.eval()
    before = copy.deepcopy(norm.state_dict())
    assert torch.equal(norm(x)[:1], norm(x[:1]))
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())


@pytest.mark.parametrize("name", NORMS)
def test_declares_whether_training_output_depends_on_neighbors(name):
    norm, x = shuffled(build(name)), draw(8, 3, dtype=torch.float32)
    other = torch.cat([x[:1], 3 * draw(7, 3, dtype=torch.float32, seed=5) + 1])
    first, second = (seeded(copy.deepcopy(norm), batch)[:1] for batch in (x, other))
    assert norm.mixes_samples == (not torch.allclose(first, second, atol=1e-3))


@pytest.mark.parametrize("name", NORMS)
def test_declares_what_leaves_its_training_output_unchanged(name):
    x, shift, scale = draw(8, 3, 5), draw(1, 3, 1, seed=2), draw(1, 3, 1, seed=3).exp()
    options = {} if name == "batch_center_only" else {"eps": 1e-12}
    if name == "batch_renorm":
        options |= {"r_max": 9.0, "d_max": 9.0, "r_ramp_steps": 0, "d_ramp_steps": 0}
    norms = [shuffled(build(name, **options).double()) for _ in range(3)]
    for norm in norms:  # its warm-up, where it still is BatchNorm
        norm(x)
    y, of_shifted, of_scaled = (seeded(n, z) for n, z in zip(norms, (x, x + shift, x * scale), strict=True))
    close = {"rtol": 1e-6, "atol": 1e-6}
    assert ("channel_shift" in norms[0].invariances) == torch.allclose(of_shifted, y, **close)
    assert ("channel_scale" in norms[0].invariances) == torch.allclose(of_scaled, y, **close)
    assert norms[0].formula is None


@pytest.mark.slow_but(8)
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradient_is_right_to_float64(name, training, check):
    """By finite differences; r and d of batch_renorm are constants to the gradient and get a test of their own."""
    options = {"warmup_steps": 10**6} if name == "batch_renorm" else {}
    norm = shuffled(build(name, **({} if name == "batch_center_only" else {"eps": 1e-3}), **options).double())
    norm.train(training)
    parameters, state = dict(norm.named_parameters()), copy.deepcopy(dict(norm.named_buffers()))

    def call(x, *values):
        torch.manual_seed(0)
        buffers = {name_of: buffer.clone() for name_of, buffer in state.items()}
        return functional_call(norm, {**dict(zip(parameters, values, strict=True)), **buffers}, (x,))

    assert check(call, (draw(5, 3, 2).requires_grad_(), *parameters.values()))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(9, 3), (9, 3, 4, 4)])
@pytest.mark.parametrize("momentum", [0.9, None])
def test_stacked_layers_under_vmap_are_the_separate_layers(name, shape, momentum):
    """Outputs, buffers and gradients, over steps; with noise of no spread, which would differ between the two."""
    noiseless = {"shift_range": 0, "scale_max": 1, "shift_spread": 0, "scale_spread": 0}
    options = noiseless if name == "batch_noisy" else {}
    norms = [shuffled(build(name, momentum=momentum, **options).double(), seed=30 * i) for i in range(3)]
    parameters, buffers = stack_module_state([copy.deepcopy(norm) for norm in norms])
    parameters = {key: value.detach() for key, value in parameters.items()}

    def loss(parameters, buffers, x):
        y = functional_call(norms[0], (parameters, buffers), (x,))
        return (y * y.detach().sin()).sum(), y

    for step in range(3):
        x = draw(3, *shape, seed=20 + step)
        gradients, y = vmap(grad(loss, has_aux=True), randomness="different")(parameters, buffers, x)
        for i, norm in enumerate(norms):
            norm.zero_grad()
            expected = norm(x[i])
            (expected * expected.detach().sin()).sum().backward()
            torch.testing.assert_close(y[i], expected.detach())
            for key, parameter in norm.named_parameters():
                torch.testing.assert_close(gradients[key][i], parameter.grad)
            for key, buffer in norm.named_buffers():
                torch.testing.assert_close(buffers[key][i], buffer)
    assert buffers["num_batches_tracked"].tolist() == [3, 3, 3]


@folded("name", NORMS)
@folded("training", [True, False])
@folded("shape", [(9, 3), (9, 3, 4, 4)])
def test_runs_where_there_are_no_numbers(name, training, shape):
    with torch.device("meta"):
        norm = build(name).train(training)
        y = norm(torch.empty(shape, dtype=torch.bfloat16))
    assert (y.shape, y.dtype, y.device.type) == (shape, torch.bfloat16, "meta")


SLOW_TO_COMPILE = {"batch_bias_only", "batch_population", "batch_renorm", "ghost", "l1_batch"}
"""Norms whose training mode takes half a second or more to compile."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param(name, training, marks=[pytest.mark.slow] if training and name in SLOW_TO_COMPILE else [])
        for training in (True, False)
        for name in NORMS
    ],
)
def test_compiled_it_gives_the_same_values_gradients_and_statistics(name, training):
    """Over several steps, since a graph might read a buffer after its update. Without the code generator: aot_eager.

    Those that train by running statistics break the graph in two to be right; they are refused by fullgraph=True.
    """
    torch._dynamo.reset()
    noiseless = {"shift_spread": 0, "scale_spread": 0, "shift_range": 0, "scale_max": 1}
    plain = shuffled(build(name, **(noiseless if name == "batch_noisy" else {}))).train(training)
    in_two = training and name in {"batch_renorm", "batch_population"}
    twin = copy.deepcopy(plain)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=not in_two)
    for step in range(5):
        x = 2 * draw(9, 3, 4, dtype=torch.float32, seed=step)
        seen = []
        for norm in (plain, compiled):
            leaf = x.clone().requires_grad_()
            norm.zero_grad()
            y = norm(leaf)
            (y * y.detach().sin()).sum().backward()
            seen.append([y.detach(), leaf.grad, *(p.grad for p in norm.parameters()), *norm.buffers()])
        for a, b in zip(*seen, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@folded("name", NORMS)
@folded("duplicate", [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))])
def test_a_copy_goes_on_alike_and_apart(name, duplicate):
    norm, x = shuffled(build(name)), draw(9, 3, dtype=torch.float32)
    norm(x)
    twin = duplicate(norm)
    assert torch.equal(seeded(norm, x), seeded(twin, x))
    twin(x)
    assert twin.num_batches_tracked == norm.num_batches_tracked + 1


@pytest.mark.parametrize("name", NORMS)
def test_a_state_dict_carries_everything(name):
    norm, x = shuffled(build(name)), draw(9, 3, dtype=torch.float32)
    norm(x)
    twin = build(name)
    twin.load_state_dict(norm.state_dict())
    assert torch.equal(seeded(norm, x), seeded(twin, x))
    assert torch.equal(norm.eval()(x), twin.eval()(x))


@pytest.mark.parametrize("name", ["batch_bias_only", "batch_renorm", "ghost", "batch_population", "batch_noisy"])
def test_tracking_can_be_paused_as_batch_norms_can(name):
    norm, x = shuffled(build(name)), draw(9, 3, dtype=torch.float32)
    norm(x)
    before = copy.deepcopy(norm.state_dict())
    norm.track_running_stats = False
    paused = seeded(norm, x)
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    norm.track_running_stats = True
    assert torch.equal(seeded(norm, x), paused)
    assert not torch.equal(norm.running_mean, before["running_mean"])


@folded("name", NORMS)
@folded("training", [True, False])
@folded("shape", [(0, 3), (0, 3, 4, 4), (20, 3, 0)])
def test_an_empty_batch_passes_with_zero_gradients(name, training, shape):
    norm = shuffled(build(name)).train(training)
    before = copy.deepcopy(norm.state_dict())
    y = norm(torch.empty(shape))
    y.sum().backward()
    assert y.shape == shape
    assert all(torch.equal(p.grad, torch.zeros(3)) for p in norm.parameters())
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items() if key.startswith("running"))


@folded("name", NORMS)
@folded("shape", [(1, 3), (1, 3, 1, 1)])
def test_exactly_one_value_per_channel_is_refused_in_training(name, shape):
    norm = build(name)
    with pytest.raises(ConfigError, match="more than one value per channel"):
        norm(torch.ones(shape))
    assert norm.num_batches_tracked == 0
    assert norm.eval()(torch.ones(shape)).shape == shape


@folded("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
@folded("shape", [(3,), (9, 2), (9, 5, 3), (), (9, 1, 3, 3)])
def test_a_wrong_shape_is_refused_and_moves_nothing(name, training, shape):
    norm = build(name).train(training)
    with pytest.raises(ConfigError, match="3 channels"):
        norm(torch.ones(shape))
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("name", NORMS)
def test_whole_numbers_are_refused(name):
    with pytest.raises(ConfigError, match="floating-point"):
        build(name)(torch.ones(9, 3, dtype=torch.int64))


@folded("name", NORMS)
@folded(
    ("option", "value", "law"),
    [
        ("momentum", 1.5, r"norm\.momentum must be in \[0, 1\], got 1\.5"),
        ("eps", 0, r"norm\.eps must be a number above 0, got 0"),
        ("affine", "maybe", r"norm\.affine must be true or false, got maybe"),
    ],
)
def test_names_the_setting_that_is_wrong(name, option, value, law):
    if (name, option) in {("batch_center_only", "eps"), ("batch_bias_only", "affine")}:
        law = f"has no option '{option}'"
    with pytest.raises(ConfigError, match=law):
        build(name, **{option: value})


@pytest.mark.parametrize("name", NORMS)
def test_channels_last_images_give_the_same_values(name):
    norm, x = shuffled(build(name)), draw(9, 3, 4, 5, dtype=torch.float32)
    if name == "batch_noisy":  # the noise is laid out as the input is
        norm.shift_spread = norm.scale_spread = 0
    by_rows = seeded(copy.deepcopy(norm), x)
    torch.testing.assert_close(seeded(norm, x.to(memory_format=torch.channels_last)), by_rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NORMS if name not in {"batch_bias_only"}])
def test_without_affine_there_is_nothing_to_learn_and_the_rest_stays(name):
    plain, fresh, x = build(name, affine=False), build(name), draw(9, 3, 4, dtype=torch.float32)
    assert list(plain.parameters()) == []
    torch.testing.assert_close(seeded(plain, x), seeded(fresh, x), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(plain.num_batches_tracked, 1)
