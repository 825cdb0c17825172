"""`model=residual_mlp`, against formulas written by hand and torch's transformer layer."""

import math

import pytest
import torch
import torch.nn.functional as F
from built_networks import built, images, num_parameters, settings, shaken
from pydantic import ValidationError
from torch import Tensor, nn

ORDERS = ["pre", "post", "peri"]


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:], norm.weight, norm.bias)


def by_hand(model: nn.Module, x: Tensor, order: str, scales: list[float]) -> Tensor:
    """Compute the network with LayerNorm and tanh."""
    h = x.flatten(1)
    if order == "pre":
        h = h @ model.stem.weight.T + model.stem.bias
    else:
        h = normed(model.stem.norm, h @ model.stem.linear.weight.T)
    for number, scale in enumerate(scales, 1):
        unit = getattr(model, f"unit{number}")
        a = h if order == "post" else normed(unit.norm, h) * scale
        a = (a @ unit.up.linear.weight.T + unit.up.linear.bias).tanh()
        if order == "peri":
            branch = normed(unit.down.norm, a @ unit.down.linear.weight.T)
        else:
            branch = a @ unit.down.weight.T + unit.down.bias
        h = h + unit.share * branch
        h = normed(unit.norm, h) if order == "post" else h
    h = h if order == "post" else normed(model.final, h)
    return h @ model.output.weight.T + model.output.bias


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("residual", ["plain", "skipinit"])
def test_it_is_the_formula_written_by_hand(order: str, residual: str) -> None:
    model = shaken(built("residual_mlp", "layer", order=order, residual=residual, activation="tanh"))
    x = images(5, 2, 8, 8).double()
    torch.testing.assert_close(model(x), by_hand(model, x, order, [1.0, 1.0]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", ["pre", "peri"])
def test_a_depth_scale_divides_the_norm_by_the_root_of_the_units_number(order: str) -> None:
    model = shaken(built("residual_mlp", "layer", order=order, depth_scale="sqrt", activation="tanh", depth=3))
    x = images(5, 2, 8, 8).double()
    scales = [1.0, 1 / math.sqrt(2), 1 / math.sqrt(3)]
    torch.testing.assert_close(model(x), by_hand(model, x, order, scales), rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_a_unit_is_the_second_half_of_torchs_transformer_layer(order: str) -> None:
    unit = shaken(built("residual_mlp", "layer", order=order)).unit1
    layer = nn.TransformerEncoderLayer(12, 1, 12, dropout=0.0, norm_first=order == "pre", dtype=torch.float64)
    layer.linear1.load_state_dict(unit.up.linear.state_dict())
    layer.linear2.load_state_dict(unit.down.state_dict())
    layer.norm2.load_state_dict(unit.norm.state_dict())
    x = images(5, 12).double()
    expected = x + layer._ff_block(layer.norm2(x)) if order == "pre" else layer.norm2(x + layer._ff_block(x))
    torch.testing.assert_close(unit(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("order", "norms"),
    [
        ("pre", ["unit1.norm", "unit2.norm", "final"]),
        ("post", ["stem", "unit1.norm", "unit2.norm"]),
        ("peri", ["stem", "unit1.norm", "unit1.down", "unit2.norm", "unit2.down", "final"]),
    ],
)
def test_layers_are_named_by_unit(order: str, norms: list[str]) -> None:
    model = built("residual_mlp", order=order)
    maps = [f"unit{i}.{part}" for i in (1, 2) for part in ("up", "down")]
    assert list(model.linears) == ["stem", *maps, "output"]
    assert list(model.activations) == ["unit1.up", "unit2.up"]
    assert list(model.norms) == norms
    assert list(model.streams) == ["unit1", "unit2"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_bias_is_left_out_only_right_before_a_norm_that_subtracts_the_mean(order: str) -> None:
    model = built("residual_mlp", order=order)
    without = {role for role, linear in model.linears.items() if linear.bias is None}
    assert without == {"pre": set(), "post": {"stem"}, "peri": {"stem", "unit1.down", "unit2.down"}}[order]


@pytest.mark.parametrize("order", ORDERS)
def test_weights_behind_an_activation_or_before_a_norm_go_through_a_parametrization(order: str) -> None:
    model = built("residual_mlp", "weight_standardization", order=order)
    standardized = {role for role, linear in model.linears.items() if hasattr(linear, "parametrizations")}
    assert standardized == {"unit1.down", "unit2.down"} | ({"stem"} if order != "pre" else set())


def test_a_branch_of_relus_has_the_variance_of_its_input_at_the_start() -> None:
    """To 10%, for units of width 1,000: he keeps the mean square through relu, lecun through the map behind it."""
    unit = built("residual_mlp", "none", width=1000, depth=1).unit1
    x = images(64, 1000)
    assert (unit(x) - x).var().item() == pytest.approx(1.0, rel=0.1)


def test_with_skipinit_a_deep_network_without_norms_begins_as_its_stem_and_output() -> None:
    model, x = built("residual_mlp", "none", depth=60, residual="skipinit"), images(5, 2, 8, 8)
    torch.testing.assert_close(model(x), model.output(model.stem(x.flatten(1))), rtol=0, atol=0)
    model(x).square().sum().backward()
    assert all(unit.share.grad != 0 for unit in model.streams.values())


def test_skipinit_adds_one_number_per_unit() -> None:
    plain, skipping = (built("residual_mlp", residual=residual) for residual in ("plain", "skipinit"))
    assert num_parameters(skipping) == num_parameters(plain) + 2


def test_a_depth_scale_without_a_norm_in_the_branch_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"which model\.order=post has not\. Use model\.order=pre"):
        settings("residual_mlp", order="post", depth_scale="sqrt")


@pytest.mark.parametrize("shape", [(3, 8, 8), (30,)])
def test_it_takes_images_and_rows(shape: tuple[int, ...]) -> None:
    assert built("residual_mlp", shape=shape)(images(4, *shape)).shape == (4, 10)
