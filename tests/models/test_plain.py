"""The two plain networks: their layers by role, in the order that the placement names."""

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F
from folded import folded
from torch import nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import ACTIVATIONS, pooled
from bnlab.models.catalog import build_model, seed_weights
from bnlab.norms.catalog import NoNorm, build_norm
from bnlab.norms.names import NORMS
from bnlab.schema_models import CNNConfig, MLPConfig

PLACEMENTS = ["before", "after", "input"]
MEAN_SUBTRACTING = {
    "batch",
    "batch_bias_only",
    "batch_center_only",
    "batch_devices",
    "batch_noisy",
    "batch_renorm",
    "batch_torch",
    "ghost",
    "group",
    "group_torch",
    "instance",
    "instance_torch",
    "l1_batch",
    "layer",
    "layer_torch",
    "switchable",
    "weight_standardization",
}
IN_GROUPS = {"group", "group_torch", "weight_standardization"}
NEED_IMAGES = {"frn", "instance", "instance_torch"}


def mlp(**changes):
    default = {"depth": 2, "width": 12, "activation": "relu", "dropout": 0.0, "init": "auto", "init_std": None}
    return MLPConfig(name="mlp", **{**default, **changes})


def cnn(**changes):
    default = {
        "depth": 4,
        "width": 8,
        "num_stages": 2,
        "activation": "relu",
        "dropout": 0.0,
        "init": "auto",
        "init_std": None,
    }
    return CNNConfig(name="cnn", **{**default, **changes})


def build(config, shape, norm="batch", placement="before", seed=0, num_classes=10, **options):
    model = build_model(config, shape, num_classes, functools.partial(build_norm, norm, **options), placement)
    seed_weights(model, config, seed)
    return model


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def trace_of(model, x):
    """Return the kinds of leaf modules, by name, in the order in which a forward pass runs them."""
    order = []
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda *_, name=name: order.append(name)) for name, leaf in leaves]
    model(x)
    for hook in hooks:
        hook.remove()
    return order


# --- roles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_mlp_layers_are_named_by_role_in_every_arm(norm, placement):
    model = build(mlp(depth=3), (1, 4, 4), norm, placement)
    assert list(model.linears) == ["hidden1", "hidden2", "hidden3", "output"]
    assert list(model.activations) == ["hidden1", "hidden2", "hidden3"]
    assert list(model.blocks) == ["hidden1", "hidden2", "hidden3"]


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_cnn_layers_are_named_by_role_in_every_arm(norm, placement):
    model = build(cnn(depth=4, num_stages=2), (1, 8, 8), norm, placement)
    roles = ["stage1.conv1", "stage1.conv2", "stage2.conv1", "stage2.conv2"]
    assert list(model.linears) == [*roles, "output"]
    assert list(model.activations) == roles


def test_input_norm_has_a_role_of_its_own():
    assert list(build(mlp(), (1, 4, 4), "batch", "input").norms) == ["input", "hidden1", "hidden2"]
    assert list(build(mlp(), (1, 4, 4), "batch", "before").norms) == ["hidden1", "hidden2"]


@folded("norm", NORMS)
@folded("placement", PLACEMENTS)
def test_every_norm_that_a_model_hands_out_says_what_it_does(norm, placement):
    options = {"num_groups": 2} if norm in IN_GROUPS else {}
    model = build(cnn(), (2, 8, 8), norm, placement, **options)
    for layer in model.norms.values():
        assert isinstance(layer.keeps_running_statistics, bool)
        assert isinstance(layer.subtracts_mean, bool)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_counts_hidden_layers_and_not_the_output(depth):
    model = build(mlp(depth=depth, width=7), (1, 3, 3))
    shapes = [tuple(linear.weight.shape) for linear in model.linears.values()]
    assert shapes == [(7, 9), *[(7, 7)] * (depth - 1), (10, 7)]


def test_cnn_depth_counts_convolutions_and_stages_double_the_width():
    model = build(cnn(depth=6, num_stages=3, width=4), (3, 8, 8))
    shapes = [tuple(linear.weight.shape[:2]) for linear in model.linears.values()]
    assert shapes == [(4, 3), (4, 4), (8, 4), (8, 8), (16, 8), (16, 16), (10, 16)]
    assert model.linears["stage1.conv1"].weight.shape[2:] == (3, 3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_the_one_asked_for(activation):
    kinds = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
    model = build(mlp(activation=activation), (1, 4, 4))
    assert {type(module) for module in model.activations.values()} == {kinds[activation]}


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("before", ["hidden1.linear", "hidden1.norm", "hidden1.activation", "output"]),
        ("after", ["hidden1.linear", "hidden1.activation", "hidden1.norm", "output"]),
        ("input", ["input", "hidden1.linear", "hidden1.norm", "hidden1.activation", "output"]),
    ],
)
def test_norm_stands_where_the_placement_says(placement, order):
    model = build(mlp(depth=1), (1, 4, 4), "batch", placement)
    assert trace_of(model, images(6, 1, 4, 4)) == order
    if placement == "input":  # only there: inside the blocks stands nothing that does anything
        assert isinstance(model.blocks["hidden1"].norm, NoNorm)
        assert model.input.num_channels == 16


def test_cnn_runs_its_stages_in_order():
    model = build(cnn(depth=2, num_stages=2), (3, 8, 8), "batch", "input")
    expected = ["input"]
    for stage in ("stage1.conv1", "stage2.conv1"):
        expected += [f"{stage}.linear", f"{stage}.norm", f"{stage}.activation"]
    assert trace_of(model, images(4, 3, 8, 8)) == [*expected, "output"]
    assert model.input.num_channels == 3


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_forward_is_the_formula_written_by_hand(placement):
    model, x = build(mlp(depth=2, activation="tanh"), (1, 4, 4), "layer", placement), images(5, 1, 4, 4)

    def norm(z):
        return F.layer_norm(z, z.shape[1:])

    h = norm(x.flatten(1)) if placement == "input" else x.flatten(1)
    for role in ("hidden1", "hidden2"):
        z = h @ model.linears[role].weight.T
        h = {"before": lambda z: norm(z).tanh(), "after": lambda z: norm(z.tanh()), "input": torch.tanh}[placement](z)
    torch.testing.assert_close(model(x), h @ model.output.weight.T)


def test_cnn_forward_is_the_formula_written_by_hand():
    model, x = build(cnn(depth=2, num_stages=2), (3, 7, 7), "none"), images(5, 3, 7, 7)
    h = x
    for role in ("stage1.conv1", "stage2.conv1"):
        h = F.max_pool2d(F.conv2d(h, model.linears[role].weight, padding=1).relu(), 2)
    assert h.shape[2:] == (1, 1)
    torch.testing.assert_close(model(x), h.mean((2, 3)) @ model.output.weight.T)


def test_pooling_halves_an_image_and_leaves_one_pixel_alone():
    assert pooled(images(2, 3, 7, 8)).shape == (2, 3, 3, 4)
    assert pooled(images(2, 3, 1, 1)).shape == (2, 3, 1, 1)


# --- bias -----------------------------------------------------------------------------------------------------------


@folded("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@folded("config", [mlp(), cnn()])
def test_bias_is_dropped_only_right_before_a_norm_that_subtracts_the_mean(norm, placement, config):
    options = {"num_groups": 2} if norm in IN_GROUPS else {}
    model = build(config, (2, 8, 8), norm, placement, **options)
    dropped = placement == "before" and norm in MEAN_SUBTRACTING
    for role, block in model.blocks.items():
        assert (block.linear.bias is None) == dropped, role
    assert model.output.bias is not None


# --- what it takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (5, 1, 1), (1, 5, 3)])
def test_cnn_takes_any_image(shape):
    model = build(cnn(depth=6, num_stages=3, width=4), shape)
    logits = model(images(4, *shape))
    assert logits.shape == (4, 10)
    logits.sum().backward()
    assert model.channels_last


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 1, 1), (30,)])
def test_mlp_takes_images_and_rows(shape):
    model = build(mlp(), shape)
    assert model(images(4, *shape)).shape == (4, 10)
    assert not model.channels_last


def test_cnn_refuses_rows_of_numbers():
    with pytest.raises(ConfigError, match=r"model=cnn needs images, got rows of 30 numbers\. Use model=mlp"):
        build(cnn(), (30,))


@pytest.mark.parametrize("num_classes", [2, 7])
def test_output_has_one_logit_per_class(num_classes):
    assert build(cnn(), (1, 8, 8), num_classes=num_classes)(images(4, 1, 8, 8)).shape == (4, num_classes)


@pytest.mark.parametrize(
    ("config", "norm", "placement"),
    [
        (config, norm, placement)
        for config, norm, placement in itertools.product([mlp(), cnn()], NORMS, PLACEMENTS)
        if config.name == "cnn" or norm not in NEED_IMAGES
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_norm_trains_a_step_in_every_place(config, norm, placement):
    options = {"num_groups": 2} if norm in IN_GROUPS else {}
    model, x = build(config, (2, 8, 8), norm, placement, **options), images(6, 2, 8, 8)
    labels = torch.arange(6)
    torch.manual_seed(0)  # a norm that draws noise draws the same twice
    before = F.cross_entropy(model(x), labels)
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    torch.manual_seed(0)
    assert F.cross_entropy(model(x), labels) < before


def test_instance_norm_on_an_mlp_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="more than one position per channel"):
        build(mlp(), (1, 8, 8), "instance")(images(4, 1, 8, 8))


def test_groups_that_do_not_divide_a_width_stop_the_building():
    with pytest.raises(ConfigError, match=r"norm\.num_groups must divide num_channels: 10 channels, 4 groups"):
        build(mlp(width=10), (1, 8, 8), "group")


def test_a_whole_network_under_vmap_is_the_separate_networks():
    """Stacked parameters and buffers of several seeds, trained as one."""
    models = [build(mlp(), (1, 4, 4), "batch", seed=seed) for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)
    template, x = models[0], images(3, 6, 1, 4, 4)
    buffers = {name: value.clone() for name, value in buffers.items()}

    def call(parameters, buffers, x):
        return torch.func.functional_call(template, (parameters, buffers), (x,))

    together = torch.func.vmap(call)(parameters, buffers, x)
    for i, model in enumerate(models):
        torch.testing.assert_close(together[i], model(x[i]))
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer)
