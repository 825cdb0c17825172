"""BatchNorm with the tools of PyTorch: compilers, exporters, attributes set from outside, states of other layers."""

import pytest
import torch
from folded import folded
from torch import nn
from torch.autograd import forward_ad

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm
from bnlab.norms.ghost import GhostBatchNorm


def draw(*shape, dtype=torch.float64):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 1


def outcome(layer, x):
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    grads = torch.autograd.grad((y * y.detach().cos()).sum(), [leaf, *layer.parameters()])
    return [y.detach(), *grads, *(b.clone() for b in layer.buffers())]


@pytest.fixture
def eager_graphs():
    """Compile to a graph that runs operation by operation, to test that there is one graph, and a correct one."""
    torch._dynamo.reset()
    yield {"fullgraph": True, "backend": "aot_eager"}
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"unbiased_running_var": True}])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_compiles_as_one_graph_to_the_same_numbers(training, shape, options, eager_graphs):
    layer, twin = (BatchNorm(3, **options).double().train(training) for _ in range(2))
    x = draw(*shape)
    for _ in range(2):
        expected = outcome(twin, x)
        found = outcome(torch.compile(layer, **eager_graphs), x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_by_inductor_it_gives_the_same_numbers():
    torch._dynamo.reset()
    layer, twin = BatchNorm(3), BatchNorm(3)
    x = draw(6, 3, 4, 4, dtype=torch.float32)
    for a, b in zip(outcome(torch.compile(layer, fullgraph=True), x), outcome(twin, x), strict=True):
        torch.testing.assert_close(a, b)
    torch._dynamo.reset()


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_exports_to_a_program_that_gives_the_same_numbers(training):
    layer = BatchNorm(3).double().train(training)
    x = draw(5, 3, 2)
    layer.running_mean.fill_(0.5)
    program = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(program(x), layer(x))
    torch.testing.assert_close(program.running_var, layer.running_var)


def test_switched_off_tracking_leaves_the_running_statistics_and_eval_mode_still_uses_them():
    theirs = nn.BatchNorm1d(3).double()
    ours = BatchNorm.from_torch(theirs)
    x = draw(5, 3)
    for tracks in (True, False, True):
        ours.track_running_stats = theirs.track_running_stats = tracks
        for training in (True, False):
            torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
            for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
                torch.testing.assert_close(a, b)


def test_switched_on_tracking_starts_with_mean_0_and_variance_1_in_the_parameters_type():
    norm, x = BatchNorm(3, track_running_stats=False).double(), draw(5, 3)
    assert not norm.track_running_stats
    norm.track_running_stats = True
    assert norm.running_mean.dtype is torch.float64
    norm(x)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var(0, correction=0))
    assert set(norm.state_dict()) == set(nn.BatchNorm1d(3).state_dict())
    assert norm.num_batches_tracked == 1


@folded("name", ["running_mean", "running_var", "weight", "bias"])
@folded("training", [True, False])
@folded("size", [1, 4])
def test_a_statistic_or_parameter_of_the_wrong_size_is_refused(name, training, size):
    """One value would broadcast, and give wrong results without an error."""
    norm = BatchNorm(3).train(training)
    wrong = torch.ones(size)
    setattr(norm, name, nn.Parameter(wrong) if name in {"weight", "bias"} else wrong)
    with pytest.raises(ConfigError, match=rf"{name} must have one value for each of the 3 channels, got \({size},\)"):
        norm(draw(5, 3, dtype=torch.float32))


def test_torchs_state_loads_and_ours_loads_into_torch_whatever_is_missing_in_both():
    for options in ({}, {"bias": False}, {"affine": False}, {"track_running_stats": False}):
        ours, theirs = BatchNorm(3, **options), nn.BatchNorm1d(3, **options)
        theirs.train()(draw(5, 3, dtype=torch.float32))
        ours.load_state_dict(theirs.state_dict())
        nn.BatchNorm1d(3, **options).load_state_dict(ours.state_dict())
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)


def test_no_forward_mode_derivative_reaches_the_running_statistics():
    norm, x = BatchNorm(3).double(), draw(5, 3)
    with forward_ad.dual_level():
        y = norm(forward_ad.make_dual(x, x.sin()))
        assert forward_ad.unpack_dual(y).tangent is not None
        assert forward_ad.unpack_dual(norm.running_mean).tangent is None
        assert forward_ad.unpack_dual(norm.running_var).tangent is None


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_at_large_offsets_float32_is_as_near_to_float64_as_torchs_layer(offset):
    """Within the rounding of x itself, whose spacing is offset * 2^-23: the mean can be no better than half of it."""
    x = (draw(256, 8, 6, 6) + offset).float()
    ours, theirs = BatchNorm(8)(x), nn.BatchNorm2d(8)(x)
    exact = nn.BatchNorm2d(8).double()(x.double())
    limit = 4 * max(offset, 4) * 2.0**-23 / 2
    assert (ours - exact).abs().max() < limit + (theirs - exact).abs().max()


def test_a_sliced_or_transposed_input_gives_the_numbers_of_its_copy():
    whole = draw(6, 8, 5, 10)
    for view in (whole[:, ::2], whole[..., ::3], whole.transpose(2, 3), whole[1::2], whole[:1].expand(4, -1, -1, -1)):
        found, expected = BatchNorm(view.shape[1]).double(), BatchNorm(view.shape[1]).double()
        for a, b in zip(outcome(found, view), outcome(expected, view.contiguous()), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("frozen", [(), ("weight",), ("weight", "bias")])
def test_what_is_frozen_or_does_not_track_stays_so_on_the_way_from_torch_and_back(frozen):
    theirs = nn.BatchNorm1d(3)
    for name in frozen:
        theirs.get_parameter(name).requires_grad_(False)
    theirs.track_running_stats = False
    ours = BatchNorm.from_torch(theirs)
    back = ours.to_torch(nn.BatchNorm1d)
    for layer in (ours, back):
        assert not layer.track_running_stats
        assert {name for name, p in layer.named_parameters() if not p.requires_grad} == set(frozen)
        before = layer.running_mean.clone()
        layer.train()(draw(5, 3, dtype=torch.float32))
        assert torch.equal(layer.running_mean, before)


def test_a_state_of_torch_before_it_counted_batches_loads():
    state = {name: value for name, value in nn.BatchNorm1d(3).state_dict().items() if name != "num_batches_tracked"}
    norm = BatchNorm(3)
    norm.load_state_dict(state)
    assert norm.num_batches_tracked == 0
    state = norm.state_dict()
    del state["num_batches_tracked"]  # a state of today must be whole
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        norm.load_state_dict(state)


def test_only_batch_norm_itself_is_made_from_torchs():
    with pytest.raises(ConfigError, match=r"GhostBatchNorm has no counterpart in torch"):
        GhostBatchNorm.from_torch(nn.BatchNorm1d(3))


@pytest.mark.parametrize("name", ["batch", "group", "layer", "instance", "rms", "frn", "switchable", "ghost"])
def test_a_stack_of_incoming_gradients_is_taken_at_once(name):
    norm, x = build_norm(name, 4).double(), draw(3, 4, 2, 2)
    at_once = torch.autograd.functional.jacobian(norm, x, vectorize=True)
    torch.testing.assert_close(at_once, torch.autograd.functional.jacobian(norm, x))


class WithActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: a batch norm with its activation inside."""

    def __init__(self, num_features):
        super().__init__(num_features)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


class Frozen(nn.BatchNorm2d):
    def train(self, mode=True):  # noqa: ARG002
        return super().train(False)


class AnyShape(nn.BatchNorm2d):
    """Checks less, and computes the same."""

    def _check_input_dim(self, input):
        pass


def with_a_hook():
    layer = nn.BatchNorm2d(3)
    layer.register_forward_hook(lambda _, __, y: 2 * y)
    return layer


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (WithActivation(3), r"got WithActivation with a forward of its own and act \(ReLU\), which would be lost"),
        (Frozen(3), "got Frozen with a train of its own"),
        (with_a_hook(), "got BatchNorm2d with hooks"),
        (nn.utils.parametrizations.weight_norm(nn.BatchNorm2d(3), dim=None), "with parametrizations"),
        (nn.LazyBatchNorm2d(), "got LazyBatchNorm2d: run a batch through it first"),
        (nn.InstanceNorm2d(3), "got InstanceNorm2d"),
        (nn.Sequential(nn.BatchNorm2d(3)), "got Sequential"),
    ],
)
def test_a_layer_that_does_more_than_torchs_batch_norm_is_refused_by_name(module, words):
    with pytest.raises(ConfigError, match=words):
        BatchNorm.from_torch(module)


@pytest.mark.parametrize("module", [AnyShape(3), nn.SyncBatchNorm(3), nn.LazyBatchNorm2d()])
def test_a_subclass_that_computes_the_same_is_taken_over(module):
    x = torch.randn(4, 3, 5, 5)
    module(x)  # a lazy layer becomes another class
    torch.testing.assert_close(BatchNorm.from_torch(module)(x), module(x))


def test_the_cure_for_an_activation_inside_keeps_the_outputs():
    theirs, x = WithActivation(3), torch.randn(4, 3, 5, 5)
    theirs(x)
    plain = nn.BatchNorm2d(3)
    plain.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(nn.Sequential(BatchNorm.from_torch(plain), theirs.act)(x), theirs(x))


def test_what_is_given_back_is_synchronized_too_and_of_torchs_classes_only():
    assert type(BatchNorm(3, sync=True).to_torch()) is nn.SyncBatchNorm
    assert type(BatchNorm(3).to_torch()) is nn.BatchNorm2d
    for kind in (nn.LayerNorm, WithActivation):
        with pytest.raises(ConfigError, match=f"or SyncBatchNorm, got {kind.__name__}"):
            BatchNorm(3).to_torch(kind)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_compiled_with_the_channels_last_it_moves_its_buffers_alike(dtype, eager_graphs):
    layer, twin = (BatchNorm(3).to(dtype) for _ in range(2))
    compiled = torch.compile(layer, **eager_graphs)
    for step in range(3):
        x = (step + draw(6, 3, 4, 4, dtype=torch.float32)).to(dtype).to(memory_format=torch.channels_last)
        pairs = zip(outcome(compiled, x), outcome(twin, x), strict=True)
        assert all(torch.allclose(a.float(), b.float(), rtol=2e-3, atol=2e-3) for a, b in pairs)
    assert layer.running_var.dtype == torch.float32
