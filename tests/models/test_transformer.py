"""The vision transformer: torch's and torchvision's layers are its oracles, in float64."""

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F
from composed import compose_parts
from torch import nn
from torchvision.models.vision_transformer import EncoderBlock

from bnlab.errors import ConfigError
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.transformer import patches_of, sines_and_cosines
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS

SMALL = ["model.depth=2", "model.width=16", "model.num_heads=2", "model.mlp_ratio=2"]
NEED_IMAGES = {"frn", "instance", "instance_torch", "switchable"}
ORDERS = ["pre", "post", "peri"]
OF_EACH_KIND = ["batch", "layer", "none", "scaled_weight_standardization"]
"""Norms with running statistics, without, none, and with the weights changed. They stand in every order; all others in
one, in turn."""


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def build(*words, norm="layer", shape=(1, 8, 8), placement="before", seed=0, **options):
    config = compose_parts(["model=vit", *SMALL, *words]).model
    model = build_model(config, shape, 10, functools.partial(build_norm, norm, **options), placement)
    seed_weights(model, config, seed)
    return model


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.get_default_dtype())


def randomized(model):
    """Give biases, scales and shifts random values, so that each of them counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def copy_attention(theirs, layer):
    """Copy the weights of one layer's attention into nn.MultiheadAttention."""
    attention = layer.attention
    parts = [attention.query, attention.key, attention.value]
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(attention.project.state_dict())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", ["pre", "post"])
def test_a_layer_is_torchs_encoder_layer(order):
    layer = randomized(build(f"model.order={order}")).layer1
    theirs = nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=order == "pre")
    with torch.no_grad():
        copy_attention(theirs.self_attn, layer)
        theirs.linear1.load_state_dict(layer.hidden.linear.state_dict())
        theirs.linear2.load_state_dict(layer.contract.state_dict())
        theirs.norm1.load_state_dict(layer.attention_norm.state_dict())
        theirs.norm2.load_state_dict(layer.mlp_norm.state_dict())
    x_NTD = images(5, 4, 16)
    ours = layer(x_NTD.flatten(0, 1)).view_as(x_NTD)
    torch.testing.assert_close(ours, theirs(x_NTD), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_a_layer_is_torchvisions_encoder_block():
    layer = randomized(build(norm="layer", eps=1e-6)).layer1
    theirs = EncoderBlock(2, 16, 32, 0.0, 0.0)
    with torch.no_grad():
        copy_attention(theirs.self_attention, layer)
        theirs.mlp[0].load_state_dict(layer.hidden.linear.state_dict())
        theirs.mlp[3].load_state_dict(layer.contract.state_dict())
        theirs.ln_1.load_state_dict(layer.attention_norm.state_dict())
        theirs.ln_2.load_state_dict(layer.mlp_norm.state_dict())
    x_NTD = images(5, 4, 16)
    ours = layer(x_NTD.flatten(0, 1)).view_as(x_NTD)
    torch.testing.assert_close(ours, theirs(x_NTD), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_peri_normalizes_both_ends_of_each_branch():
    model = randomized(build("model.order=peri"))
    layer, x_RD = model.layer1, images(20, 16)

    def norm(z, of):
        return F.layer_norm(z, (16,), of.weight, of.bias, of.eps)

    def mixed(z):
        attention = layer.attention
        q, k, v = (part(z).view(5, 4, 16) for part in (attention.query, attention.key, attention.value))
        heads = [
            F.scaled_dot_product_attention(q[..., part], k[..., part], v[..., part])
            for part in (slice(0, 8), slice(8, 16))
        ]
        return torch.cat(heads, 2).view(20, 16)

    project, contract = layer.attention.project, layer.contract
    h = x_RD + norm(mixed(norm(x_RD, layer.attention_norm)) @ project.linear.weight.T, project.norm)
    inner = F.gelu(F.linear(norm(h, layer.mlp_norm), layer.hidden.linear.weight, layer.hidden.linear.bias))
    expected = h + norm(inner @ contract.linear.weight.T, contract.norm)
    torch.testing.assert_close(layer(x_RD), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_the_whole_network_is_its_formula():
    model, x = randomized(build("model.patch=2", shape=(3, 8, 6))), images(4, 3, 8, 6)
    embedded = F.conv2d(x, model.embed.weight.view(16, 3, 2, 2), model.embed.bias, stride=2)
    h = embedded.flatten(2).transpose(1, 2) + sines_and_cosines(4, 3, 16)
    h = model.layer2(model.layer1(h.flatten(0, 1)))
    final = F.layer_norm(h, (16,), model.final_norm.weight, model.final_norm.bias)
    expected = model.output(final.view(4, 12, 16).mean(1))
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)


def test_positions_are_those_of_beyer_and_others():
    """Their code: https://github.com/google-research/big_vision, models/vit.py, posemb_sincos_2d."""
    y, x = (axis.flatten()[:, None] for axis in torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij"))
    omega = 1.0 / (10_000.0 ** (torch.arange(4) / 3))
    expected = torch.cat([torch.sin(x * omega), torch.cos(x * omega), torch.sin(y * omega), torch.cos(y * omega)], 1)
    torch.testing.assert_close(sines_and_cosines(3, 5, 16), expected)


def test_patches_are_cut_as_a_convolution_cuts_them():
    x = images(2, 3, 4, 6)
    torch.testing.assert_close(patches_of(x, 2), F.unfold(x, 2, stride=2).transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize(
    ("order", "norms"),
    [
        ("pre", ["layer1.attention_norm", "layer1.mlp_norm", "final_norm"]),
        ("post", ["layer1.attention_norm", "layer1.mlp_norm"]),
        (
            "peri",
            [
                *["layer1.attention_norm", "layer1.attention.project", "layer1.mlp_norm", "layer1.contract"],
                "final_norm",
            ],
        ),
    ],
)
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_layers_are_named_by_role_in_the_order_in_which_they_run(order, norms, norm):
    model = build("model.depth=1", f"model.order={order}", norm=norm)
    of_attention = [f"layer1.attention.{name}" for name in ("query", "key", "value", "project")]
    assert list(model.linears) == ["embed", *of_attention, "layer1.hidden", "layer1.contract", "output"]
    assert list(model.activations) == ["layer1.hidden"]
    assert list(model.norms) == norms


def test_parameters_are_those_of_the_formula():
    """12 D^2 + 13 D in each layer, as in the paper; patches, one last norm and the output: no token, no positions."""
    model = build("model.depth=3", "model.width=64", "model.num_heads=4", "model.mlp_ratio=4", shape=(3, 32, 32))
    expected = 3 * (12 * 64**2 + 13 * 64) + (48 * 64 + 64) + 2 * 64 + (64 * 10 + 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(
    ("norm", "order"),
    [
        *itertools.product(OF_EACH_KIND, ORDERS),
        *zip(sorted({*NORMS} - NEED_IMAGES - {*OF_EACH_KIND}), itertools.cycle(ORDERS), strict=False),
    ],
)
def test_every_norm_of_rows_trains_a_step_in_every_order(norm, order):
    model, labels = build(f"model.order={order}", norm=norm), torch.arange(6)
    x = images(6, 1, 8, 8)
    torch.manual_seed(0)  # a norm that draws noise draws the same twice
    before = F.cross_entropy(model(x), labels)
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.002).step()
    torch.manual_seed(0)
    assert F.cross_entropy(model(x), labels) < before


@pytest.mark.parametrize("norm", ["layer", "group", "rms", "dyt", "derf"])
def test_norms_of_single_samples_see_single_tokens(norm):
    model, x_RD = build(norm=norm), images(8, 16)
    alone = torch.cat([model.layer1.attention_norm(row[None]) for row in x_RD])
    torch.testing.assert_close(model.layer1.attention_norm(x_RD), alone)


def test_batch_norm_sees_all_tokens_of_all_images():
    model, inputs = build(norm="batch"), []
    model.layer1.attention_norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(images(6, 1, 8, 8))
    assert inputs[0].shape == (6 * 4, 16)


def test_an_input_norm_sees_the_image_and_no_other_norm_does_anything():
    model = build(norm="batch", shape=(3, 8, 8), placement="input")
    assert model.input.num_channels == 3
    assert {type(norm).__name__ for role, norm in model.norms.items() if role != "input"} == {"NoNorm"}


@pytest.mark.parametrize(
    ("words", "shape", "placement", "law"),
    [
        ([], (30,), "before", r"model=vit needs images, got rows of 30 numbers\. Use model=mlp"),
        (["model.patch=3"], (1, 8, 8), "before", r"model\.patch must divide .* 8x8 pixels, .* divisors of 8: 2, 4\."),
        ([], (1, 8, 8), "after", r"placement=after cannot be\. Use placement=before and model\.order"),
    ],
)
def test_what_it_cannot_take_is_said_with_a_cure(words, shape, placement, law):
    with pytest.raises(ConfigError, match=law):
        build(*words, shape=shape, placement=placement)


@pytest.mark.parametrize("words", [["model.num_heads=3"], ["model.width=6", "model.num_heads=2"]])
def test_a_width_that_cannot_be_divided_is_refused(words):
    with pytest.raises(ValueError, match=r"model\.width must be a multiple of"):
        compose_parts(["model=vit", *words])


@pytest.mark.parametrize("norm", ["instance", "frn"])
def test_a_norm_that_needs_positions_is_refused(norm):
    with pytest.raises(ConfigError, match="more than one position"):
        build(norm=norm)(images(4, 1, 8, 8))


def test_large_initial_weights_stand_only_beside_activations():
    assert build().small_roles == {
        role for role in build().linears if not role.endswith(("hidden", "contract"))
    }  # 6 of 8 in each layer, embedding and output
    std = build("model.width=64", "model.mlp_ratio=4").layer1.hidden.linear.weight.std()
    assert abs(std - (2 / 64) ** 0.5) < 0.01


def test_a_step_of_training_counts_every_token_of_its_matrix_products():
    assert build(shape=(1, 8, 8)).rows_per_sample == 4
    assert build("model.patch=2", shape=(1, 8, 8)).rows_per_sample == 16


def test_a_network_under_vmap_is_the_separate_networks():
    nets = [build("model.order=peri", norm="batch", seed=seed) for seed in range(2)]
    parameters, buffers = torch.func.stack_module_state(nets)
    x = images(2, 6, 1, 8, 8)

    def call(parameters, buffers, x):
        return torch.func.functional_call(nets[0], (parameters, buffers), (x,))

    together = torch.func.vmap(call)(parameters, {name: value.clone() for name, value in buffers.items()}, x)
    for i, net in enumerate(nets):
        torch.testing.assert_close(together[i], net(x[i]))
