"""BatchNorm's promises, compared with float64 NumPy and against torch's own layer."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folded import folded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from bnlab.errors import BnlabError, ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.torch_layers import TorchBatchNorm

SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 5), (4, 3, 2, 3, 4)]
TORCH_LAYERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shuffled(norm, seed=1):
    """Set a norm's parameters to values other than 1 and 0, at which mistakes would not show."""
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + i) + 0.5)
    return norm


def rows_of(x):
    """Return (m, C): every value of a channel in one column. The axes are moved by NumPy, not by bnlab."""
    return np.moveaxis(x.detach().double().numpy(), 1, -1).reshape(-1, x.shape[1])


def standardized(x, eps, mean=None, var=None):
    """Return the article's xhat in float64, as rows."""
    rows = rows_of(x)
    mean = rows.sum(0) / len(rows) if mean is None else mean
    var = ((rows - mean) ** 2).sum(0) / len(rows) if var is None else var
    return (rows - mean) / np.sqrt(var + eps)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_training_output_is_the_articles_formula(shape, eps):
    """Biased variance, eps inside the root, one scale and shift per channel, the shape of the input."""
    norm, x = shuffled(BatchNorm(3, eps=eps).double()), 2 * draw(*shape) + 3
    y = norm(x)
    expected = norm.weight.detach().numpy() * standardized(x, eps) + norm.bias.detach().numpy()
    assert y.shape == x.shape
    np.testing.assert_allclose(rows_of(y), expected, rtol=1e-12, atol=1e-13)


def test_eps_inside_the_root_leaves_less_than_unit_variance():
    """The output's variance is var / (var + eps), not 1."""
    x = draw(50, 2)
    var = x.var(0, correction=0)
    torch.testing.assert_close(BatchNorm(2, eps=0.5).double()(x).var(0, correction=0), var / (var + 0.5))


def test_fresh_layer_only_standardizes():
    norm, x = BatchNorm(3).double(), draw(8, 3)
    assert torch.equal(norm.weight, torch.ones(3, dtype=torch.float64))
    assert torch.equal(norm.bias, torch.zeros(3, dtype=torch.float64))
    np.testing.assert_allclose(rows_of(norm(x)), standardized(x, 1e-5), rtol=1e-12)


def test_undoing_the_statistics_is_the_identity_for_that_batch_only():
    """And there only forward: the statistics change with the input, the parameters do not."""
    norm, x, other = BatchNorm(3).double(), (draw(8, 3) * 2 + 1).requires_grad_(), draw(8, 3, seed=5)
    with torch.no_grad():
        norm.weight.copy_((x.var(0, correction=0) + norm.eps).sqrt())
        norm.bias.copy_(x.mean(0))
    torch.testing.assert_close(norm(x), x)
    assert (norm(other) - other).abs().max() > 0.1
    cotangent = draw(8, 3, seed=7)
    (dx,) = torch.autograd.grad(norm(x), x, cotangent)
    assert (dx - cotangent).abs().max() > 0.1


def test_images_are_normalized_as_their_pixels_in_rows():
    """(N, C, H, W) is treated as (N*H*W, C)."""
    images, norm = draw(5, 3, 4, 6), shuffled(BatchNorm(3).double())
    by_rows = copy.deepcopy(norm)
    rows = images.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = by_rows(rows).view(5, 4, 6, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(images), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(norm.running_var, by_rows.running_var, rtol=1e-12, atol=0)


@folded("shape", SHAPES)
@folded("unbiased", [False, True])
@folded("momentum", [0.9, 0.99, 0.0, 1.0])
def test_running_statistics_keep_the_articles_share_of_the_old_value(shape, unbiased, momentum):
    """Momentum is the share of the old value, and the stored variance is the biased one by default."""
    norm = BatchNorm(3, momentum=momentum, unbiased_running_var=unbiased).double()
    mean, var = np.zeros(3), np.ones(3)
    for step in range(3):
        x = 2 * draw(*shape, seed=step) + step
        norm(x)
        rows = rows_of(x)
        mean = momentum * mean + (1 - momentum) * rows.mean(0)
        var = momentum * var + (1 - momentum) * rows.var(0, ddof=1 if unbiased else 0)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-12)
    assert norm.num_batches_tracked == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_momentum_running_statistics_are_the_plain_average_over_batches(dtype):
    norm, batches = BatchNorm(3, momentum=None).to(dtype), draw(7, 8, 3).to(dtype)
    norm.running_mean.fill_(1e6)  # what stood there before counts for nothing
    for x in batches:
        norm(x)
    rtol = 1e-12 if dtype is torch.float64 else 1e-5
    each = batches.double().numpy()
    np.testing.assert_allclose(norm.running_mean, each.mean(1).mean(0), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(norm.running_var, each.var(1).mean(0), rtol=rtol)


@pytest.mark.parametrize("shape", SHAPES)
def test_eval_output_is_the_formula_with_running_statistics(shape):
    norm, x = shuffled(BatchNorm(3).double()), draw(*shape)
    norm.running_mean.copy_(draw(3, seed=8))
    norm.running_var.copy_(draw(3, seed=9).abs() + 0.2)
    xhat = standardized(x, norm.eps, norm.running_mean.numpy(), norm.running_var.numpy())
    expected = norm.weight.detach().numpy() * xhat + norm.bias.detach().numpy()
    np.testing.assert_allclose(rows_of(norm.eval()(x)), expected, rtol=1e-12, atol=1e-13)


def test_eval_mode_touches_no_buffer():
    norm, x = BatchNorm(3), draw(8, 3, dtype=torch.float32)
    norm(x)
    before = copy.deepcopy(norm.state_dict())
    norm.eval()(100 * x)
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_eval_output_does_not_depend_on_neighbors():
    norm, x = BatchNorm(3), draw(8, 3, 4, 4, dtype=torch.float32)
    norm(x)
    norm.eval()
    assert torch.equal(norm(x)[:1], norm(x[:1]))


def test_training_output_does_depend_on_neighbors():
    norm, x = BatchNorm(3), draw(8, 3, dtype=torch.float32)
    assert (norm(x)[:2] - norm(x[:2])).abs().max() > 0.1


def test_a_single_sample_has_no_batch_statistics():
    """Its variance is 0 and the output would be the bias: an error, but not with running statistics."""
    norm = BatchNorm(3)
    with pytest.raises(ConfigError, match="more than one value per channel in training mode"):
        norm(torch.ones(1, 3))
    assert norm.eval()(torch.ones(1, 3)).shape == (1, 3)
    assert norm.train()(torch.ones(1, 3, 2)).shape == (1, 3, 2)


def test_without_running_statistics_eval_mode_uses_the_batchs_own():
    norm, x = shuffled(BatchNorm(3, track_running_stats=False).double()), draw(6, 3)
    assert list(norm.buffers()) == []
    trained = norm(x)
    assert torch.equal(norm.eval()(x), trained)
    with pytest.raises(ConfigError, match="more than one value"):  # as torch's layer does
        norm(x[:1])


def test_affine_and_bias_say_what_is_learned():
    names = {
        (affine, bias): sorted(name for name, _ in BatchNorm(3, affine=affine, bias=bias).named_parameters())
        for affine in (True, False)
        for bias in (True, False)
    }
    assert names == {
        (True, True): ["bias", "weight"],
        (True, False): ["weight"],
        (False, True): [],
        (False, False): [],
    }


@pytest.mark.parametrize("options", [{"affine": False}, {"bias": False}])
def test_without_affine_or_bias_the_rest_of_the_formula_stays(options):
    norm, x = shuffled(BatchNorm(3, **options).double()), draw(6, 3)
    weight = np.ones(3) if norm.weight is None else norm.weight.detach().numpy()
    np.testing.assert_allclose(rows_of(norm(x)), weight * standardized(x, 1e-5), rtol=1e-12)
    for _ in range(400):
        norm(x)
    np.testing.assert_allclose(rows_of(norm.eval()(x)), weight * standardized(x, 1e-5), rtol=1e-9)


def laid_out(x, layout):
    """Return the same values, differently in memory."""
    if layout == "channels innermost":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.repeat_interleave(2, 0)[::2] if layout == "every second" else x


@settings(max_examples=100, deadline=None, database=None)
@given(
    num_samples=st.integers(1, 6),
    num_channels=st.integers(1, 4),
    spatial=st.lists(st.integers(1, 4), max_size=3),
    layout=st.sampled_from(["contiguous", "channels innermost", "every second"]),
    affine=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    eps=st.floats(1e-5, 1.0),
    momentum=st.one_of(st.none(), st.floats(0, 1)),
    seed=st.integers(0, 2**16),
)
def test_any_shape_layout_type_and_option_gives_numpys_result(
    num_samples, num_channels, spatial, layout, affine, bias, dtype, eps, momentum, seed
):
    x = laid_out((3 * draw(num_samples, num_channels, *spatial, seed=seed) + 1).to(dtype), layout)
    norm = BatchNorm(num_channels, eps=eps, momentum=momentum, affine=affine, bias=bias)
    assert (norm.weight is not None, norm.bias is not None) == (affine, affine and bias)
    norm = norm.double() if dtype is torch.float64 else norm
    if x.numel() == num_channels:
        with pytest.raises(ConfigError):
            norm(x)
        return
    y = norm(x)
    assert y.dtype is dtype
    assert y.shape == x.shape
    close = {"rtol": max(torch.finfo(dtype).eps, 1e-6), "atol": max(torch.finfo(dtype).eps / 4, 1e-9)}
    if dtype is not torch.float64:  # xhat's own error, where the variance is near eps: mean / sqrt(eps) roundings
        close["atol"] = max(close["atol"], 2e-3 if eps < 1e-3 else 1e-4)
    np.testing.assert_allclose(rows_of(y), standardized(x, eps), **close)
    kept = 0.0 if momentum is None else momentum
    np.testing.assert_allclose(norm.running_mean, (1 - kept) * rows_of(x).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, kept + (1 - kept) * rows_of(x).var(0), rtol=1e-5, atol=1e-6)


# --- against torch's layer ------------------------------------------------------------------------------------------


def torch_twin(norm, shape, momentum):
    """Return torch's layer with our state: its momentum is the new value's share."""
    twin = TORCH_LAYERS[len(shape)](
        3,
        eps=norm.eps,
        momentum=None if momentum is None else 1 - momentum,
        affine=norm.weight is not None,
        dtype=norm.running_mean.dtype,
    )
    twin.load_state_dict(norm.state_dict())
    return twin


@folded("shape", SHAPES)
@folded("dtype", [torch.float32, torch.float64])
@folded("momentum", [0.9, None])
@folded("affine", [True, False])
def test_does_what_torchs_layer_does_over_several_steps_in_both_modes(shape, dtype, momentum, affine):
    ours = BatchNorm(3, momentum=momentum, affine=affine, unbiased_running_var=True).to(dtype)
    theirs = torch_twin(shuffled(ours), shape, momentum)
    optimizers = [torch.optim.SGD(norm.parameters(), lr=0.1) for norm in (ours, theirs) if affine]
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    for step in range(6):
        training = step % 3 != 2
        x = 2 * draw(*shape, dtype=dtype, seed=step) - 1
        cotangent = draw(*shape, dtype=dtype, seed=100 + step)
        seen = []
        for norm in (ours, theirs):
            leaf = x.clone().requires_grad_()
            norm.train(training).zero_grad()
            y = norm(leaf)
            y.backward(cotangent)
            seen.append([y.detach(), leaf.grad, *(p.grad for p in norm.parameters()), *norm.buffers()])
        for a, b in zip(*seen, strict=True):
            torch.testing.assert_close(a, b, **close)
        for optimizer in optimizers:
            optimizer.step()
    assert ours.num_batches_tracked == 4


@folded("shape", SHAPES)
@folded("momentum", [0.9, 0.25, None])
def test_reference_arm_is_torchs_layer_with_momentum_turned_round(shape, momentum):
    ours = TorchBatchNorm(3, momentum=momentum, eps=1e-3)
    theirs = TORCH_LAYERS[len(shape)](3, momentum=None if momentum is None else 1 - momentum, eps=1e-3)
    for step in range(3):
        x = draw(*shape, dtype=torch.float32, seed=step)
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


@pytest.mark.parametrize(("momentum", "share"), [(0.9, 0.1), (0.99, 0.01), (1.0, 0.0), (0.0, 1.0), (None, None)])
def test_reference_arms_momentum_is_torchs_to_the_last_bit(momentum, share):
    assert TorchBatchNorm(2, momentum=momentum).momentum == share


def test_both_arms_train_alike_when_the_running_variance_is_unbiased():
    ours, theirs = BatchNorm(3, unbiased_running_var=True).double(), TorchBatchNorm(3).double()
    for step in range(4):
        x = draw(5, 3, 2, 2, seed=step)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_state_moves_to_torchs_layer_and_back():
    ours, x = shuffled(BatchNorm(3, unbiased_running_var=True)), draw(6, 3, 4, 4, dtype=torch.float32)
    ours(x)
    theirs = nn.BatchNorm2d(3)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs.eval()(x), ours.eval()(x))
    theirs.train()(x)
    back = BatchNorm(3)
    back.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(back.eval()(x), theirs.eval()(x))
    assert back.num_batches_tracked == 2
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_trains_a_step_without_torchs_batch_norm(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("torch's batch norm was called")

    assert not issubclass(BatchNorm, nn.modules.batchnorm._NormBase)
    names = [
        (torch, "batch_norm"),
        (torch, "native_batch_norm"),
        (torch, "_native_batch_norm_legit"),
        (torch, "batch_norm_update_stats"),
        (torch, "batch_norm_stats"),
        (torch, "batch_norm_elemt"),
        (torch, "instance_norm"),
        (F, "batch_norm"),
        (F, "instance_norm"),
    ]
    for module, name in names:
        monkeypatch.setattr(module, name, refuse)
    norm, x = BatchNorm(3), draw(4, 3, 2, 2, dtype=torch.float32).requires_grad_()
    norm(x).square().sum().backward()
    torch.optim.SGD(norm.parameters(), lr=0.1).step()
    norm.eval()(x)
    with pytest.raises(AssertionError, match="was called"):  # the trap works
        nn.BatchNorm2d(3)(x)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"affine": False}])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradient_of_the_layer_is_right_to_float64(shape, options, training, check):
    norm = shuffled(BatchNorm(3, eps=1e-3, **options).double()).train(training)
    norm.running_var.fill_(0.7)
    parameters = dict(norm.named_parameters())

    def call(x, *values):
        return functional_call(norm, dict(zip(parameters, values, strict=True)), (x,))

    # in training mode the running averages move between calls, which the output must not notice
    assert check(call, (draw(*shape).requires_grad_(), *parameters.values()))


# --- identities -----------------------------------------------------------------------------------------------------


def gradient_of(norm, z, cotangent):
    leaf = z.detach().requires_grad_()
    (dz,) = torch.autograd.grad(norm(leaf), leaf, cotangent)
    return dz


def test_output_ignores_shift_and_scale_of_its_input():
    norm, z = shuffled(BatchNorm(3, eps=1e-12).double()), draw(32, 3)
    torch.testing.assert_close(norm(7 * z + 4), norm(z), rtol=1e-9, atol=1e-10)


def weight_gradient(weight, x, labels, bias=None):
    torch.manual_seed(0)
    norm = shuffled(BatchNorm(4, eps=1e-12).double())
    leaves = [weight.detach().requires_grad_()]
    leaves += [] if bias is None else [bias.detach().requires_grad_()]
    loss = F.cross_entropy(norm(F.linear(x, *leaves)), labels)
    return torch.autograd.grad(loss, leaves)


def test_gradient_of_weights_before_it_scales_inversely_and_is_orthogonal_to_each_row():
    weight, x, labels = draw(4, 5), draw(16, 5, seed=2), torch.arange(16) % 4
    (gradient,) = weight_gradient(weight, x, labels)
    (of_scaled,) = weight_gradient(10 * weight, x, labels)
    torch.testing.assert_close(of_scaled, gradient / 10, rtol=1e-8, atol=1e-12)
    per_row = (weight * gradient).sum(1)
    assert gradient.abs().max() > 1e-3
    assert per_row.abs().max() < 1e-9


def test_a_bias_before_it_has_no_gradient():
    _, of_bias = weight_gradient(draw(4, 5), draw(16, 5, seed=2), torch.arange(16) % 4, bias=draw(4, seed=3))
    assert of_bias.abs().max() < 1e-14


def test_input_gradient_sums_to_nothing_over_the_batch_and_along_the_output():
    norm, z, cotangent = BatchNorm(3, eps=1e-12).double(), draw(16, 3, 2), draw(16, 3, 2, seed=4)
    dz = gradient_of(norm, z, cotangent)
    assert dz.abs().max() > 1e-2
    assert dz.sum((0, 2)).abs().max() < 1e-12
    assert (dz * norm(z).detach()).sum((0, 2)).abs().max() < 1e-9


# --- layouts, types, edges ------------------------------------------------------------------------------------------


def test_channels_last_images_keep_their_layout_in_both_modes():
    norm = shuffled(BatchNorm(3))
    x = draw(4, 3, 5, 5, dtype=torch.float32)
    for mode in (True, False):
        norm.train(mode)
        y = norm(x.to(memory_format=torch.channels_last))
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, copy.deepcopy(norm)(x))


@pytest.mark.parametrize("training", [True, False])
def test_narrow_parameters_and_buffers_lose_only_their_own_rounding(training):
    """A layer converted to bfloat16 still computes in float32."""
    norm = shuffled(BatchNorm(3)).bfloat16().train(training)
    norm.running_mean.fill_(100.0)
    norm.running_var.fill_(0.3)
    x = (draw(8, 3) + 100).bfloat16()
    mean, var = (None, None) if training else (norm.running_mean.double().numpy(), norm.running_var.double().numpy())
    weight, bias = (p.detach().double().numpy() for p in (norm.weight, norm.bias))
    expected = weight * standardized(x, norm.eps, mean, var) + bias
    np.testing.assert_allclose(rows_of(norm(x)), expected, rtol=2**-8, atol=1e-4)


def test_under_autocast_the_statistics_stay_float32_and_the_gradient_is_right():
    linear, norm, x = nn.Linear(5, 3), shuffled(BatchNorm(3)), draw(64, 5, dtype=torch.float32) + 30
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = linear(x)
        z.retain_grad()
        y = norm(z)
        assert z.dtype is y.dtype is torch.bfloat16
        y.float().square().mean().backward()
    expected = norm.weight.detach().numpy() * standardized(z, norm.eps) + norm.bias.detach().numpy()
    np.testing.assert_allclose(rows_of(y), expected, rtol=2**-8, atol=1e-4)
    np.testing.assert_allclose(norm.running_mean, 0.1 * rows_of(z).mean(0), rtol=1e-5)
    leaf, y_grad = z.detach().double().requires_grad_(), (2 * y.detach().float() / y.numel()).to(torch.bfloat16)
    (expected_grad,) = torch.autograd.grad(copy.deepcopy(norm).double()(leaf), leaf, y_grad.double())
    torch.testing.assert_close(z.grad.double(), expected_grad, rtol=2**-7, atol=1e-5)
    assert norm.weight.grad.dtype is torch.float32


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_passes_with_zero_gradients_and_is_counted_as_torch_does(shape, training):
    ours, theirs = BatchNorm(3).train(training), TORCH_LAYERS[len(shape)](3).train(training)
    for norm in (ours, theirs):
        y = norm(torch.empty(shape))
        y.sum().backward()
        assert y.shape == shape
        assert torch.equal(norm.weight.grad, torch.zeros(3))
        assert torch.equal(norm.bias.grad, torch.zeros(3))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


@pytest.mark.parametrize("norm_class", [BatchNorm, TorchBatchNorm])
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_exactly_one_value_per_channel_is_refused_in_training(norm_class, shape):
    with pytest.raises(ConfigError, match=r"train\.batch_size") as caught:
        norm_class(3)(torch.ones(shape))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, BnlabError)


@folded("norm_class", [BatchNorm, TorchBatchNorm])
@folded("training", [True, False])
@folded("shape", [(3,), (4, 2), (4, 5, 3), (4, 1, 3, 3)])
def test_a_wrong_shape_is_refused_and_moves_nothing(norm_class, training, shape):
    norm = norm_class(3).train(training)
    with pytest.raises(ConfigError, match="3 channels"):
        norm(torch.ones(shape))
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_whole_numbers_are_refused():
    with pytest.raises(ConfigError, match="floating-point"):
        BatchNorm(3)(torch.ones(4, 3, dtype=torch.int64))


@folded("norm_class", [BatchNorm, TorchBatchNorm])
@folded(
    ("options", "law"),
    [
        ({"momentum": 1.5}, r"norm\.momentum must be in \[0, 1\], got 1\.5"),
        ({"momentum": -0.1}, r"norm\.momentum must be in"),
        ({"momentum": float("nan")}, r"norm\.momentum must be in"),
        ({"momentum": "old"}, r"norm\.momentum must be in \[0, 1\], got old"),
        ({"eps": 0}, r"norm\.eps must be a number above 0, got 0"),
        ({"eps": float("nan")}, r"norm\.eps must be"),
        ({"eps": float("inf")}, r"norm\.eps must be"),
        ({"eps": "small"}, r"norm\.eps must be a number above 0, got small"),
        ({"affine": "maybe"}, r"norm\.affine must be true or false, got maybe"),
    ],
)
def test_names_the_setting_that_is_wrong(norm_class, options, law):
    with pytest.raises(ConfigError, match=law):
        norm_class(3, **options)


@pytest.mark.parametrize("switch", ["bias", "track_running_stats", "unbiased_running_var"])
def test_a_switch_must_be_a_switch(switch):
    with pytest.raises(ConfigError, match=rf"norm\.{switch} must be true or false"):
        BatchNorm(3, **{switch: "no"})


# --- copies and stacks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda norm: pickle.loads(pickle.dumps(norm)),
        lambda norm: (twin := BatchNorm(3, momentum=0.5), twin.load_state_dict(norm.state_dict()))[0],
    ],
    ids=["deepcopy", "pickle", "state_dict"],
)
def test_a_copy_goes_on_alike_and_apart(duplicate):
    norm = shuffled(BatchNorm(3, momentum=0.5))
    norm(draw(6, 3, dtype=torch.float32))
    twin, x = duplicate(norm), draw(6, 3, dtype=torch.float32, seed=1)
    assert torch.equal(norm(x), twin(x))
    assert torch.equal(norm.running_var, twin.running_var)
    twin(x)
    assert twin.num_batches_tracked == norm.num_batches_tracked + 1
    assert not torch.equal(norm.running_var, twin.running_var)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
@pytest.mark.parametrize("momentum", [0.9, None])
@pytest.mark.parametrize("unbiased", [False, True])
def test_stacked_layers_under_vmap_are_the_separate_layers(shape, momentum, unbiased):
    """Outputs, buffers and gradients over several steps, as when the runs of a sweep are trained together."""
    norms = [
        shuffled(BatchNorm(3, momentum=momentum, unbiased_running_var=unbiased).double(), seed=10 * i) for i in range(4)
    ]
    parameters, buffers = stack_module_state([copy.deepcopy(norm) for norm in norms])
    parameters = {name: value.detach() for name, value in parameters.items()}

    def loss(parameters, buffers, x):
        y = functional_call(norms[0], (parameters, buffers), (x,))
        return (y * y.detach().sin()).sum(), y

    for step in range(3):
        x = draw(4, *shape, seed=20 + step)
        gradients, y = vmap(grad(loss, has_aux=True))(parameters, buffers, x)
        for i, norm in enumerate(norms):
            norm.zero_grad()
            expected = norm(x[i])
            (expected * expected.detach().sin()).sum().backward()
            torch.testing.assert_close(y[i], expected.detach())
            for name, parameter in norm.named_parameters():
                torch.testing.assert_close(gradients[name][i], parameter.grad)
            for name, buffer in norm.named_buffers():
                torch.testing.assert_close(buffers[name][i], buffer)
    assert buffers["num_batches_tracked"].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("training", [True, False])
def test_stacked_layers_under_vmap_may_share_one_batch_and_pass_gradients_on(training):
    norms = [shuffled(BatchNorm(3).double(), seed=10 * i).train(training) for i in range(2)]
    parameters, buffers = stack_module_state(norms)
    x = draw(6, 3)

    def loss(x, parameters, buffers):
        return functional_call(norms[0], (parameters, buffers), (x,)).square().sum()

    of_x = vmap(grad(loss), in_dims=(None, 0, 0))(x, parameters, buffers)
    for i, norm in enumerate(norms):
        leaf = x.clone().requires_grad_()
        norm(leaf).square().sum().backward()
        torch.testing.assert_close(of_x[i], leaf.grad)


def test_says_what_a_model_asks_of_a_norm():
    for norm_class in (BatchNorm, TorchBatchNorm):
        assert norm_class.keeps_running_statistics
        assert norm_class.subtracts_mean


def test_print_shows_its_options():
    assert repr(BatchNorm(3, momentum=0.99)) == "BatchNorm(3, eps=1e-05, momentum=0.99)"


@folded("momentum", [0.1, 0.25, None])
@folded("options", [{}, {"affine": False}, {"bias": False}, {"track_running_stats": False}])
def test_a_layer_made_from_torchs_stays_its_equal_and_goes_back(momentum, options):
    theirs = nn.BatchNorm2d(3, eps=1e-3, momentum=momentum, dtype=torch.float64, **options)
    theirs(torch.randn(4, 3, 2, 2, dtype=torch.float64) + 5)
    ours = BatchNorm.from_torch(theirs)
    for shape in [(4, 3, 2, 2), (0, 3, 2, 2), (2, 3, 5, 1)]:
        x = torch.randn(shape, dtype=torch.float64) * 3 + 1
        x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y_ours, y_theirs = ours(x_ours), theirs(x_theirs)
        torch.testing.assert_close(y_ours, y_theirs)
        for y in (y_ours, y_theirs):
            (y * y.detach().cos()).sum().backward()
        torch.testing.assert_close(x_ours.grad, x_theirs.grad)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    back = ours.train().to_torch()
    assert (back.momentum, back.eps, back.affine, back.training) == (theirs.momentum, 1e-3, theirs.affine, True)
    theirs.train()
    torch.testing.assert_close(back(x), theirs(x))
    torch.testing.assert_close(back.state_dict(), theirs.state_dict())


def test_only_torchs_batch_norms_can_be_taken_over():
    with pytest.raises(ConfigError, match="got LayerNorm"):
        BatchNorm.from_torch(nn.LayerNorm(3))
    assert isinstance(BatchNorm(3).to_torch(nn.BatchNorm1d), nn.BatchNorm1d)
