"""Traps in networks of torch's own modules: what is found, and what is left in peace."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from folded import folded
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.traps.in_network import find_traps_in


def found(model: nn.Module, *example: Tensor) -> dict[str, str]:
    """Return name -> message."""
    return {trap.name: trap.message for trap in find_traps_in(model, *example)}


def names(model: nn.Module, *shape: int) -> set[str]:
    return set(found(model, torch.randn(shape)))


class Wired(nn.Module):
    """Modules by name, and a forward pass to say how they are put together."""

    def __init__(self, forward: object, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.wiring = forward

    def forward(self, x: Tensor) -> object:
        return self.wiring(self, x)  # type: ignore[operator]


# --- torchvision: only what is true of them ---------------------------------------------------------------------------


@pytest.mark.slow_but(1)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"in_place"}),
        ("vgg16_bn", {"in_place", "bias_before_norm"}),
        ("vgg16", {"in_place"}),
        ("mobilenet_v3_small", {"in_place"}),
        ("vit_b_16", set()),
        ("swin_t", set()),
    ],
)
def test_networks_of_torchvision_meet_only_the_traps_that_they_have(name: str, expected: set[str]) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
        assert set(found(model, torch.zeros(2, 3, 224, 224))) == expected


def test_every_overwritten_layer_of_a_resnet_is_counted() -> None:
    """bn1, and in each of 8 blocks bn1 (by its relu) and bn2 (by the shortcut that is added); no downsampling."""
    with torch.device("meta"):
        message = found(torchvision.models.resnet18(), torch.zeros(2, 3, 64, 64))["in_place"]
    assert "bn1, layer1.0.bn1, layer1.0.bn2 and 14 more: the output is overwritten" in message


def test_all_convolutions_of_vgg16_bn_have_a_bias_for_nothing() -> None:
    with torch.device("meta"):
        message = found(torchvision.models.vgg16_bn(), torch.zeros(2, 3, 64, 64))["bias_before_norm"]
    assert "features.0, features.3, features.7 and 10 more" in message


# --- bias -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(4, 4), BatchNorm(4)])
def test_a_bias_that_changes_nothing_is_found(norm: nn.Module) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), norm), torch.randn(8, 3, 6, 6)
    before = model(x)
    with torch.no_grad():
        model[0].bias += torch.tensor([5.0, -3.0, 1.0, 9.0])
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=1e-4)  # it is a trap
    assert set(found(model, x)) == {"bias_before_norm"}  # and it is found


@pytest.mark.parametrize("norm", [nn.LayerNorm([4, 4, 4]), nn.GroupNorm(2, 4), nn.RMSNorm([4, 4, 4])])
def test_a_bias_that_changes_something_is_no_trap(norm: nn.Module) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), norm), torch.randn(8, 3, 6, 6)
    before = model(x)
    with torch.no_grad():
        model[0].bias += torch.tensor([5.0, -3.0, 1.0, 9.0])
    assert not torch.allclose(model(x), before, atol=0.1)
    assert found(model, x) == {}


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: (lambda y: net.norm(y) + y)(net.linear(x)),
        lambda net, x: (lambda y: (net.norm(y), y))(net.linear(x)),
        lambda net, x: net.norm(F.relu(net.linear(x))),
        lambda net, x: net.norm(net.linear(x).clone().mul_(net.linear(x))),
        lambda net, x: (lambda y: net.norm(y) + net.other(y))(net.linear(x)),
        lambda net, x: (lambda y: net.norm(y.relu_()))(net.linear(x)),
    ],
    ids=["shortcut", "returned too", "activation", "product", "second reader", "in place"],
)
def test_a_bias_that_goes_another_way_too_is_no_trap(forward: object) -> None:
    model = Wired(forward, linear=nn.Linear(5, 6), norm=nn.BatchNorm1d(6), other=nn.LayerNorm(6))
    assert "bias_before_norm" not in names(model, 16, 5)


def test_a_bias_before_a_frozen_norm_is_no_trap() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002
            return super().train(False)

    assert names(nn.Sequential(nn.Linear(5, 6), Frozen(6)), 1, 5) == set()


def test_a_bias_whose_readers_all_take_it_away_is_a_trap() -> None:
    model = Wired(
        lambda net, x: (lambda y: net.a(y) - net.b(y))(net.linear(x)),
        linear=nn.Linear(5, 6),
        a=nn.BatchNorm1d(6),
        b=nn.BatchNorm1d(6),
    )
    assert names(model, 16, 5) == {"bias_before_norm"}


# --- dropout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.norm(net.dropout(x)),
        lambda net, x: net.norm(net.linear(net.dropout(x)).relu()),
        lambda net, x: net.norm(x + net.linear(net.dropout(x))),
        lambda net, x: net.norm(torch.cat([x, F.dropout(x, 0.3, training=net.training)])),
    ],
    ids=["next", "through a layer", "through a sum", "a function"],
)
def test_dropout_is_followed_to_a_batch_norm(forward: object) -> None:
    linear = nn.Linear(6, 6)
    assert names(Wired(forward, linear=linear, dropout=nn.Dropout(0.3), norm=nn.BatchNorm1d(6)), 16, 6) == {
        "dropout_before_batch_norm"
    }


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.dropout(net.norm(x)),
        lambda net, x: net.dropout(x) + net.norm(x),
        lambda net, x: net.norm(F.dropout(x, 0.0)),
        lambda net, x: net.norm(F.dropout(x, 0.3, training=False)),
    ],
    ids=["behind", "beside", "share 0", "switched off"],
)
def test_dropout_that_no_batch_norm_sees_is_no_trap(forward: object) -> None:
    assert names(Wired(forward, dropout=nn.Dropout(0.3), norm=nn.BatchNorm1d(6)), 16, 6) == set()


def test_the_variance_shift_that_is_warned_of_is_there() -> None:
    """Dropout with share p multiplies a second moment by 1/(1 - p) in training; eval mode divides by that too."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Dropout(0.5), BatchNorm(3, momentum=None)), torch.randn(20_000, 3)
    model(x)
    assert model[1].running_var.tolist() == pytest.approx([2.0] * 3, rel=0.05)
    assert model.eval()(x).var(0).tolist() == pytest.approx([0.5] * 3, rel=0.05)
    assert set(found(model, x)) == {"dropout_before_batch_norm"}


def test_dropout_before_a_norm_without_running_statistics_is_no_trap() -> None:
    assert names(nn.Sequential(nn.Dropout(), nn.LayerNorm(6)), 16, 6) == set()


# --- how many values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(6), (1, 6)),
        (nn.BatchNorm2d(6), (1, 6, 1, 1)),
        (nn.GroupNorm(6, 6), (8, 6)),
        (nn.InstanceNorm2d(6), (8, 6, 1, 1)),
        (nn.LayerNorm(1), (8, 6, 1)),
        (BatchNorm(6), (1, 6)),
        (build_norm("group", 6, num_groups=6), (8, 6)),
        (build_norm("instance", 6), (8, 6, 1, 1)),
    ],
)
def test_one_value_per_statistic_is_an_error(norm: nn.Module, shape: tuple[int, ...]) -> None:
    (trap,) = find_traps_in(norm, torch.randn(shape))
    assert (trap.name, trap.severity) == ("one_value", "error")


def test_the_silent_zeros_of_torch_are_real() -> None:
    torch.testing.assert_close(nn.GroupNorm(6, 6)(torch.randn(8, 6)), torch.zeros(8, 6), atol=1e-3, rtol=0)


@folded(
    ("norm", "shape", "expected"),
    [
        (nn.BatchNorm1d(6), (2, 6), {"few_values"}),
        (nn.BatchNorm1d(6), (7, 6), {"few_values"}),
        (nn.BatchNorm1d(6), (8, 6), set()),
        (nn.BatchNorm2d(6), (1, 6, 2, 3), {"few_values"}),
        (nn.BatchNorm2d(6), (2, 6, 2, 2), set()),
        (nn.GroupNorm(3, 6), (8, 6), {"few_values"}),
        (nn.GroupNorm(2, 6), (8, 6), set()),
        (nn.InstanceNorm1d(6), (8, 6, 2), {"few_values"}),
        (nn.RMSNorm(2), (8, 6, 2), set()),
        (build_norm("ghost", 6, ghost_size=4), (32, 6), {"few_values"}),
        (build_norm("ghost", 6, ghost_size=8), (32, 6), set()),
    ],
)
def test_few_values_are_counted_over_batch_and_space(
    norm: nn.Module, shape: tuple[int, ...], expected: set[str]
) -> None:
    assert names(norm, *shape) == expected


def test_two_values_come_out_as_signs_whatever_they_were() -> None:
    y = nn.GroupNorm(3, 6)(torch.randn(8, 6))
    torch.testing.assert_close(y.abs(), torch.ones(8, 6), atol=0.1, rtol=0)
    assert "always become +1 and -1" in found(nn.GroupNorm(3, 6), torch.randn(8, 6))["few_values"]


def test_instance_norm_1d_takes_a_batch_of_rows_for_one_sample() -> None:
    norm, x = nn.InstanceNorm1d(6), torch.randn(8, 6)
    with pytest.warns(UserWarning, match="input's size at dim=0"):
        torch.testing.assert_close(norm(x), F.layer_norm(x, [6]))
    assert set(found(norm, x)) == {"no_space"}
    assert found(norm, torch.randn(6, 20)) == {}  # one sample, as its documentation says


# --- in place ---------------------------------------------------------------------------------------------------------


def test_instance_norm_for_another_number_of_channels_is_found() -> None:
    """Without weights, torch only warns: it normalizes over the axis on which the channels lie."""
    x = torch.randn(2, 3, 4)  # channels last
    assert set(found(nn.InstanceNorm1d(4), x)) == {"wrong_axis"}
    message = found(nn.InstanceNorm1d(4), x)["wrong_axis"]
    assert "for 4 channels got (2, 3, 4), where axis 1 has 3" in message
    with pytest.warns(UserWarning, match="does not match num_features"):
        torch.testing.assert_close(nn.InstanceNorm1d(4)(x), nn.InstanceNorm1d(3)(x))  # its channels are not the four
    assert found(nn.InstanceNorm1d(4), x.transpose(1, 2)) == {}
    assert found(nn.InstanceNorm2d(3), torch.randn(3, 5, 5)) == {}  # one sample without a batch
    assert set(found(nn.InstanceNorm2d(3), torch.randn(4, 5, 5))) == {"wrong_axis"}


def test_what_a_hook_keeps_is_overwritten_where_it_is_said() -> None:
    model, x, kept = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True)), torch.randn(8, 5), []
    hook = model[0].register_forward_hook(lambda _, __, output: kept.append(output.detach()))
    model(x)
    hook.remove()
    assert kept[0].min() == 0
    assert "0: the output is overwritten (by 1)" in found(model, x)["in_place"]
    assert found(nn.Sequential(nn.Linear(5, 6), nn.ReLU()), x) == {}


def test_the_networks_own_input_must_not_be_overwritten() -> None:
    traps = find_traps_in(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)), torch.randn(4, 5))
    assert [(trap.name, trap.severity) for trap in traps] == [("in_place", "error")]


def test_code_between_layers_is_named_as_such() -> None:
    def forward(net: Wired, x: Tensor) -> Tensor:
        y: Tensor = net.linear(x)
        y += 1
        return y

    message = found(Wired(forward, linear=nn.Linear(5, 6)), torch.randn(4, 5))["in_place"]
    assert "linear: the output is overwritten (by code between layers, such as x += y)" in message


# --- momentum and running statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "is_trap"),
    [
        (nn.BatchNorm1d(6, momentum=0.9), True),
        (nn.BatchNorm1d(6, momentum=0.1), False),
        (nn.BatchNorm1d(6, momentum=0.5), False),
        (nn.BatchNorm1d(6, momentum=None), False),
        (BatchNorm(6, momentum=0.1), True),
        (BatchNorm(6, momentum=0.9), False),
        (build_norm("batch_torch", 6, momentum=0.9), False),
        (build_norm("batch_torch", 6, momentum=0.1), True),
    ],
)
def test_momentum_is_read_in_the_sense_of_its_layer(norm: nn.Module, is_trap: bool) -> None:
    assert names(norm, 16, 6) == ({"small_momentum"} if is_trap else set())


def test_eval_mode_on_batch_statistics_is_said() -> None:
    norm, x = nn.BatchNorm1d(6, track_running_stats=False).eval(), torch.randn(16, 6)
    assert not torch.allclose(norm(x)[:8], norm(x[:8]))
    assert set(found(norm, x)) == {"no_running_statistics"}


# --- manners ----------------------------------------------------------------------------------------------------------


def test_looking_leaves_no_trace_in_the_network_its_input_or_the_random_state() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(), nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True)).eval()
    model[0].train()
    before, x = copy.deepcopy(model.state_dict()), torch.randn(4, 5)
    kept, state = x.clone(), torch.get_rng_state()
    find_traps_in(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, False, False, False]
    assert not [
        hook for module in model.modules() for hook in (module._forward_hooks, module._forward_pre_hooks) if hook
    ]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_can_be_asked_in_inference_mode_too() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6))
    with torch.inference_mode():
        assert set(found(model, torch.randn(16, 5))) == {"bias_before_norm"}
    model(torch.randn(16, 5)).sum().backward()


def test_a_network_with_lazy_modules_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d())
    with pytest.raises(ConfigError, match="lazy modules"):
        find_traps_in(model, torch.randn(16, 5))
    assert isinstance(model[0], nn.LazyLinear)


def test_a_bias_behind_a_parametrized_weight_is_found_too() -> None:
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
    assert names(nn.Sequential(linear, nn.BatchNorm1d(6)), 16, 5) == {"bias_before_norm"}


def test_the_norm_inside_of_a_norm_is_seen_and_what_goes_round_it() -> None:
    class Half(nn.Module):
        subtracts_mean = keeps_running_statistics = mixes_samples = replaces_activation = False
        formula = weight_parametrization = None
        invariances = frozenset[str]()

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)  # type: ignore[no-any-return]

    assert names(nn.Sequential(nn.Linear(5, 6), Half()), 16, 5) == set()
    assert names(nn.Sequential(nn.Linear(5, 6), Half()), 4, 5) == {"few_values"}


def test_an_example_that_does_not_go_through_is_an_error_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="the network cannot process the example, so it cannot be checked: mat1"):
        find_traps_in(nn.Linear(5, 6), torch.randn(4, 7))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(32, 32), (8, 32, 5, 5)])
def test_the_catalogs_norms_are_no_traps_where_they_belong(name: str, shape: tuple[int, ...]) -> None:
    try:
        norm = build_norm(name, 32)
        norm(torch.randn(shape))
    except ConfigError:
        pytest.skip("not a place for it")
    assert names(norm, *shape) == set()


def test_a_layer_used_twice_and_several_inputs_are_fine() -> None:
    linear = nn.Linear(6, 6)
    model = Wired(lambda net, x: net.norm(net.linear(net.linear(x))), linear=linear, norm=nn.BatchNorm1d(6))
    assert names(model, 16, 6) == {"bias_before_norm"}
    assert found(nn.Bilinear(3, 4, 5), torch.randn(8, 3), torch.randn(8, 4)) == {}


def test_torchs_group_norm_on_large_means_with_the_channels_last_is_found():
    norm, x = nn.GroupNorm(2, 6), 100 + torch.randn(4, 6, 5, 5)
    last = x.to(memory_format=torch.channels_last)
    (trap,) = find_traps_in(norm, last)
    assert (trap.name, trap.severity) == ("large_offset", "warning")
    assert re.search(r"GroupNorm.* up to (9\d|1[0-4]\d) standard deviations .* x\.contiguous\(\)", trap.message)
    error = (norm(last) - norm.double()(last.double())).abs().max()
    assert error > 1e-3, "torch has mended it: the trap, the law's exception and the copy in norms/torch_layers can go"
    for harmless in (x, last - 100, last.double()):
        assert find_traps_in(nn.GroupNorm(2, 6).to(harmless.dtype), harmless) == []
