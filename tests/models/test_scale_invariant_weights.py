"""Which weights of a network have a scale that means nothing: tried out for every norm, wherever it may stand."""

import functools
import itertools
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from folded import folded
from torch import nn

from bnlab.models.blocks import Block
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.network import Network
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.norms.norm import Norm
from bnlab.schema_models import CNNConfig, MLPConfig

NEED_IMAGES = {"frn", "instance", "instance_torch", "switchable"}
OPTIONS = {name: {"num_groups": 2} for name in ("group", "group_torch", "weight_standardization")}
CASES = [
    (model, norm, placement)
    for model, norm, placement in itertools.product(["mlp", "cnn"], NORMS, ["before", "after", "input"])
    if model == "cnn" or norm not in NEED_IMAGES
]

HOLDS_UNDECLARED = {"batch_renorm", "switchable"}
"""A renorm that clips nothing yet is a batch norm; mixed statistics lose a factor that is common to all of them."""

ROWS = {
    "batch",
    "batch_bias_only",
    "batch_devices",
    "batch_noisy",
    "batch_torch",
    "ghost",
    "instance",
    "instance_torch",
    "l1_batch",
    "scaled_weight_standardization",
    "weight_standardization",
}
WHOLE = {"group", "group_torch", "layer", "layer_torch"}
PARAMETRIZED = {"scaled_weight_standardization", "weight_standardization"}


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def network(model, norm, placement):
    shared = {"activation": "relu", "dropout": 0.0, "init": "auto", "init_std": None}
    if model == "mlp":
        config = MLPConfig(name="mlp", depth=2, width=12, **shared)
    else:
        config = CNNConfig(name="cnn", depth=2, width=4, num_stages=2, **shared)
    build = functools.partial(build_norm, norm, **OPTIONS.get(norm, {}))
    net = build_model(config, (2, 6, 6), 5, build, placement)
    seed_weights(net, config, 0)
    generator = torch.Generator().manual_seed(1)
    weights = {id(weight) for weight in net.weights.values()}
    with torch.no_grad():
        for value in net.parameters():
            if id(value) not in weights:  # biases of 0 would hide that they are in the way
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    for module in net.modules():
        if isinstance(getattr(module, "eps", None), float):
            module.eps = 1e-14
    return net.train()


def loss_of(net):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn((16, 2, 6, 6), generator=generator)
    torch.manual_seed(3)  # a norm that draws noise draws the same each time
    return F.cross_entropy(net(inputs), torch.arange(16) % 5).item()


def moved_by(net, role, by_row):
    """Return by how much the loss moves if the weight is multiplied, each row by a number of its own or all by one."""
    expected, weight = loss_of(net), net.weights[role]
    kept = weight.detach().clone()
    generator = torch.Generator().manual_seed(4)
    factor = 0.4 + 2 * torch.rand((len(weight), *[1] * (weight.dim() - 1)), generator=generator) if by_row else 2.5
    with torch.no_grad():
        weight.mul_(factor)
        difference = abs(loss_of(net) - expected)
        weight.copy_(kept)
    return difference


@pytest.mark.slow_but(40)
@pytest.mark.parametrize(("model", "norm", "placement"), CASES)
def test_the_loss_ignores_the_scales_that_are_declared_free_and_no_others(model, norm, placement):
    net = network(model, norm, placement)
    declared = net.scale_invariant_weights
    for role in net.weights:
        by_row, by_one = moved_by(net, role, by_row=True), moved_by(net, role, by_row=False)
        free = declared.get(role)
        if free == "rows":
            assert max(by_row, by_one) < 1e-9, role
        elif free == "whole":
            assert by_one < 1e-9, role
            assert by_row > 1e-5, role
        elif not (placement == "before" and norm in HOLDS_UNDECLARED and role != "output"):
            assert by_one > 1e-5, role


@folded(("model", "norm", "placement"), CASES)
def test_what_is_declared_is_what_we_know(model, norm, placement):
    net = network(model, norm, placement)
    expected = None
    if placement == "before":
        expected = "rows" if norm in ROWS else "whole" if norm in WHOLE else None
    elif placement == "after" and norm in PARAMETRIZED:
        expected = "rows"
    assert net.scale_invariant_weights == ({} if expected is None else dict.fromkeys(net.blocks, expected))


@pytest.mark.parametrize("norm", ["rms", "batch_scale_only", "frn"])
def test_a_bias_that_is_not_taken_away_forbids_it(norm):
    """At its start it is 0, and nothing would be seen: after one step it is not."""
    net = network("cnn", norm, "before")
    assert net.scale_invariant_weights == {}
    with torch.no_grad():
        for block in net.blocks.values():
            block.linear.bias.zero_()
    assert moved_by(net, next(iter(net.blocks)), by_row=False) < 1e-9


class Scales(Norm):
    """Take each channel's scale away, and its mean too if it is said to."""

    def __init__(self, invariances, center):
        super().__init__()
        self.invariances, self.center = frozenset(invariances), center

    def forward(self, x_NC):
        x_NC = x_NC - x_NC.mean(0) if self.center else x_NC
        return x_NC / x_NC.square().mean(0).sqrt()


@pytest.mark.parametrize(
    ("invariances", "bias", "norm_first", "free"),
    [
        ({"channel_scale"}, False, True, {"x": "rows"}),
        ({"channel_scale"}, True, True, {}),
        ({"channel_scale", "channel_shift"}, True, True, {"x": "rows"}),
        ({"sample_scale"}, False, True, {"x": "whole"}),
        ({"channel_scale", "sample_scale"}, False, True, {"x": "rows"}),
        ({"channel_shift", "sample_shift"}, False, True, {}),
        ({"channel_scale", "channel_shift"}, False, False, {}),
    ],
)
def test_it_follows_from_declarations_bias_and_place(invariances, bias, norm_first, free):
    norm = Scales(invariances, "channel_shift" in invariances)
    order = "linear, norm, activation" if norm_first else "linear, activation, norm"
    block = Block(nn.Linear(3, 4, bias=bias), norm, nn.Tanh(), order)
    assert Network(OrderedDict(x=block), nn.Linear(4, 2), None).scale_invariant_weights == free


def test_a_parametrization_that_declares_nothing_leaves_the_weight_out():
    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    net = network("mlp", "batch", "before")
    nn.utils.parametrize.register_parametrization(net.blocks["hidden1"].linear, "weight", Doubled())
    assert net.scale_invariant_weights == {"hidden2": "rows"}
