"""`model=resnet`, against torchvision's units and against formulas written by hand."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from built_networks import assert_same, built, copy_layers, images, num_parameters, settings, shaken
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from bnlab.errors import ConfigError


class FewerPixels(nn.Module):
    """Option A of He et al. 2015, written apart."""

    def forward(self, x: Tensor) -> Tensor:
        small = x[..., ::2, ::2]
        return torch.cat([small, torch.zeros_like(small)], 1)


def torchvisions(depth: int, width: int, projects: bool) -> nn.Module:
    """Return a net of torchvision's basic units, in the layout of He et al. 2015, section 4.2."""
    units, widths = [], [width, *(width * 2**stage for stage in range(3))]
    for stage, (before, after) in enumerate(pairwise(widths)):
        stride = 2 if stage else 1
        smaller = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))
        shortcut = (smaller if projects else FewerPixels()) if stage else None
        units.append(BasicBlock(before, after, stride, shortcut))
        units += [BasicBlock(after, after) for _ in range((depth - 8) // 6)]
    stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *units, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("depth", [8, 14])
def test_with_the_activation_after_the_sum_it_is_torchvisions(depth: int, shortcut: str) -> None:
    ours = shaken(built("resnet", shape=(3, 9, 9), depth=depth, shortcut=shortcut))
    theirs = torchvisions(depth, 4, shortcut == "projection").double()
    copy_layers(ours, theirs)
    assert_same(ours, theirs, images(5, 3, 9, 9).double())


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (56, 853_018), pytest.param(110, 1_727_962, marks=pytest.mark.slow)]
)
def test_its_size_is_that_of_the_paper(depth: int, count: int) -> None:
    """He et al. 2015, table 6: 0.27, 0.85 and 1.7 millions."""
    with torch.device("meta"):
        ours, theirs = built("resnet", shape=(3, 32, 32), depth=depth, width=16), torchvisions(depth, 16, False)
    assert num_parameters(ours) == num_parameters(theirs) == count


def pre_activation(model: nn.Module, x: Tensor, shares: list[float], stds: list[float]) -> Tensor:
    """Compute a pre-activation net with BatchNorm in training mode, or without norms, by hand."""

    def active(block: nn.Module, x: Tensor) -> Tensor:
        norm = getattr(block, "norm", None)
        if getattr(norm, "weight", None) is None:
            return x.relu()
        return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True).relu()

    def convolved(conv: nn.Module, x: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, conv.weight, conv.bias, stride, conv.weight.shape[-1] // 2)

    h = convolved(model.stem, x)
    for stage in (1, 2, 3):
        for unit in getattr(model, f"stage{stage}"):
            stride = 2 if unit is getattr(model, f"stage{stage}").unit1 and stage > 1 else 1
            a = active(unit.conv1, h / stds.pop(0))
            branch = convolved(unit.conv2.linear, active(unit.conv2, convolved(unit.conv1.linear, a, stride)))
            if stride == 2 and isinstance(unit.shortcut, nn.Conv2d):
                h = convolved(unit.shortcut, a, 2)
            elif stride == 2:
                h = FewerPixels()(h)
            h = h + shares.pop(0) * branch
    return active(model.final, h).mean((2, 3)) @ model.output.weight.T + model.output.bias


@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_with_the_norm_before_each_convolution_it_is_the_formula_written_by_hand(norm: str, shortcut: str) -> None:
    model = shaken(built("resnet", norm, depth=14, block="pre", shortcut=shortcut))
    x = images(5, 2, 8, 8).double()
    expected = pre_activation(model, x, [1.0] * 6, [1.0] * 6)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_convolutions_have_a_bias_only_where_no_norm_takes_it_away(norm: str) -> None:
    for block in ("post", "pre"):
        model = built("resnet", norm, block=block, shortcut="projection")
        biases = {role: linear.bias is not None for role, linear in model.linears.items()}
        assert biases == {role: norm == "none" or role == "output" for role in biases}


def test_layers_are_named_by_stage_and_unit() -> None:
    model = built("resnet", shortcut="projection")
    units = [f"stage{stage}.unit1" for stage in (1, 2, 3)]
    of_unit = {unit: ["conv1", "conv2", *(["shortcut"] if unit != units[0] else [])] for unit in units}
    convs = [f"{unit}.{conv}" for unit, convs in of_unit.items() for conv in convs]
    assert list(model.linears) == ["stem", *convs, "output"]
    assert list(model.norms) == ["stem", *convs]
    assert list(model.activations) == ["stem", *(f"{unit}.{part}" for unit in units for part in ("conv1", "sum"))]
    assert list(model.streams) == units


def test_a_pre_activation_net_has_a_norm_and_an_activation_behind_the_last_unit() -> None:
    model = built("resnet", block="pre")
    convs = [f"stage{stage}.unit1.conv{i}" for stage in (1, 2, 3) for i in (1, 2)]
    assert list(model.norms) == [*convs, "final.norm"]
    assert list(model.activations) == [*convs, "final.activation"]


# --- what a branch is multiplied by ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["post", "pre"])
def test_with_skipinit_only_shortcuts_matter_at_the_start_and_each_branch_can_begin_to(block: str) -> None:
    model, x = built("resnet", "none", block=block, residual="skipinit"), images(5, 2, 8, 8)
    before = model(x)
    before.square().sum().backward()
    shares = [unit.share for unit in model.streams.values()]
    assert all(share == 0 and share.grad != 0 for share in shares)
    with torch.no_grad():
        for role, linear in model.linears.items():
            if ".conv" in role:
                linear.weight.mul_(100)
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_skipinit_adds_one_number_per_unit() -> None:
    plain, skipping = (built("resnet", depth=20, residual=residual) for residual in ("plain", "skipinit"))
    assert num_parameters(skipping) == num_parameters(plain) + 9


def test_nf_divides_by_the_predicted_deviation_and_multiplies_by_the_scale() -> None:
    """Brock et al. 2021: the variance grows by alpha^2 per unit, and begins anew at 1 + alpha^2 behind a transition."""
    options = {"residual": "nf", "block": "pre", "shortcut": "projection", "branch_scale": 0.3}
    model, x = shaken(built("resnet", "none", depth=20, **options)), images(5, 2, 8, 8).double()
    first, later = [1.0, 1.09, 1.18], [1.09, 1.18]
    variances = [*first, 1.27, *later, 1.27, *later]
    expected = pre_activation(model, x, [0.3] * 9, [math.sqrt(v) for v in variances])
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-10)


def test_nf_predicts_the_variance_that_standardized_weights_give() -> None:
    """To 20%: weights are random, and zeros around an image are not predicted."""
    options = {"residual": "nf", "block": "pre", "shortcut": "projection", "branch_scale": 1.0, "width": 32}
    model = built("resnet", "scaled_weight_standardization", shape=(3, 48, 48), depth=20, **options)
    found: list[float] = []
    for unit in model.streams.values():
        unit.register_forward_hook(lambda _, __, y: found.append(y.var().item()))
    model(images(2, 3, 48, 48))
    for variance, expected in zip(found, [2.0, 3.0, 4.0] * 3, strict=True):
        assert abs(variance / expected - 1) < 0.2


def test_with_zero_gamma_each_unit_begins_as_its_shortcut_and_learns() -> None:
    model, x = built("resnet", zero_gamma=True), images(5, 2, 8, 8)
    h = model.stem(x)
    torch.testing.assert_close(model.stage1(h), h, rtol=0, atol=0)
    model(x).square().sum().backward()
    assert all(unit.conv2.norm.weight.grad.any() for unit in model.streams.values())


@pytest.mark.parametrize(("norm", "options"), [("none", {}), ("batch", {"affine": False}), ("batch_bias_only", {})])
def test_zero_gamma_needs_a_scale(norm: str, options: dict[str, bool]) -> None:
    with pytest.raises(ConfigError, match=r"model\.zero_gamma=true needs a norm with a learned scale in each branch"):
        built("resnet", norm, options=options, zero_gamma=True)


# --- settings that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 18}, r"must be 6n \+ 2 for model=resnet, got 18\. Nearest: 14, 20"),
        ({"zero_gamma": True, "block": "pre"}, r"model\.zero_gamma=true needs model\.block=post"),
        ({"zero_gamma": True, "residual": "skipinit"}, r"Use model\.residual=skipinit"),
        ({"residual": "nf"}, r"set model\.block=pre and model\.shortcut=projection"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings("resnet", **changes)


@pytest.mark.parametrize("name", ["resnet", "residual_mlp"])
def test_a_norm_after_activations_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"placement=after does not fit model={name}, .* Use placement=before"):
        built(name, "batch", "after")


def test_rows_of_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model=resnet needs images, got rows of 30 numbers"):
        built("resnet", shape=(30,))
