"""`bnlab.replace_norms`: any network's norms replaced by an arm's, in place."""

import functools

import pytest
import torch
from folded import folded
from torch import nn
from torchvision.models import convnext, mobilenet_v3_small, resnet18
from torchvision.models.vision_transformer import VisionTransformer

import bnlab
from bnlab.errors import ConfigError
from bnlab.models.replaced_norms import num_channels_of
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS


def arm(name, **options):
    return functools.partial(build_norm, name, **options)


class LayerNormOfImages(nn.LayerNorm):
    """As torchvision's LayerNorm2d: it normalizes the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


SAME = [
    (nn.BatchNorm1d(6), "batch", {"eps": 1e-5}, (8, 6)),
    (nn.BatchNorm1d(6), "batch", {}, (8, 6, 5)),
    (nn.BatchNorm2d(6), "batch", {}, (8, 6, 5, 4)),
    (nn.BatchNorm3d(6), "batch", {}, (8, 6, 3, 2, 2)),
    (nn.SyncBatchNorm(6), "batch", {}, (8, 6, 5, 4)),
    (nn.GroupNorm(3, 6), "group", {"num_groups": 3}, (8, 6, 5, 4)),
    (nn.InstanceNorm2d(6, affine=True), "instance", {}, (8, 6, 5, 4)),
    (nn.LayerNorm(6), "layer", {}, (8, 6)),
    (nn.LayerNorm(6), "layer", {}, (8, 5, 6)),
    (nn.LayerNorm(6), "layer", {}, (8, 3, 5, 6)),
    (nn.LayerNorm((5, 6)), "layer", {}, (8, 5, 6)),
    (nn.LayerNorm((6, 5, 4)), "layer", {}, (8, 6, 5, 4)),
    (LayerNormOfImages(6), "layer", {}, (8, 6, 5, 4)),
    (nn.RMSNorm(6, eps=1e-5), "rms", {}, (8, 5, 6)),
    (build_norm("batch", 6), "batch", {}, (8, 6)),
]


@folded(("layer", "name", "options", "shape"), SAME)
def test_a_layer_replaced_by_its_own_formula_computes_the_same(layer, name, options, shape):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Identity(), layer).double(), torch.randn(shape, dtype=torch.float64)
    for parameter in model.parameters():  # not the initial ones, equal along the axes of an image
        values = torch.randn(len(parameter), dtype=torch.float64)
        parameter.data.copy_(values.view(-1, *[1] * (parameter.dim() - 1)).expand_as(parameter))
    is_sync = isinstance(layer, nn.SyncBatchNorm)  # which trains on GPUs only
    expected = model.train(not is_sync)(x).detach()
    (replaced,) = bnlab.replace_norms(model, arm(name, **options))
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
    assert replaced.left == ()
    assert (replaced.name, replaced.before, replaced.num_channels) == (
        "1",
        type(layer).__name__,
        num_channels_of(layer),
    )


def test_running_statistics_are_carried_over_between_averages_of_batches_only():
    def changed():
        model = nn.Sequential(nn.BatchNorm1d(4))
        model[0].running_mean.fill_(3.0)
        return model

    batch, layer = changed(), changed()
    (of_batch,), (of_layer,) = bnlab.replace_norms(batch, arm("batch")), bnlab.replace_norms(layer, arm("layer"))
    assert "running_mean" in of_batch.carried
    assert bool((batch[0].running_mean == 3).all())
    assert of_layer.carried == ("weight", "bias")
    assert "running_mean" in of_layer.left
    assert not list(layer.buffers())


def test_a_zero_scale_stays_zero_in_every_arm_of_bnlab_that_has_one():
    for name in NORMS:
        model = nn.Sequential(nn.BatchNorm2d(8))
        nn.init.zeros_(model[0].weight)
        (replaced,) = bnlab.replace_norms(model, arm(name))
        scale = getattr(model[0], "weight", None)
        assert (scale is not None) == ("weight" in replaced.carried)
        assert scale is None or not scale.any()


class OnePlusWeight(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x):
        return x * (1 + self.weight)


def test_nothing_is_carried_into_a_class_whose_weight_may_mean_something_else():
    model = nn.Sequential(nn.LayerNorm(4))
    (replaced,) = bnlab.replace_norms(model, OnePlusWeight)
    assert (replaced.carried, replaced.left) == ((), ("weight", "bias"))
    assert not model[0].norm.weight.any()


def test_batch_on_tokens_takes_its_statistics_over_samples_and_positions():
    model, x_NTD = nn.Sequential(nn.LayerNorm(3)), torch.randn(4, 5, 3)
    bnlab.replace_norms(model, arm("batch"))
    y_ND = model(x_NTD).detach().flatten(0, 1)
    torch.testing.assert_close(y_ND.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(y_ND.var(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_a_layer_at_two_places_is_replaced_by_one_layer():
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm, nn.Linear(4, 4), norm)
    assert len(bnlab.replace_norms(model, arm("rms"))) == 1
    assert model[0] is model[2] is not norm


def test_type_mode_and_frozen_parameters_stay():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4)).double()
    model[0].eval()
    model[1].weight.requires_grad_(False)
    bnlab.replace_norms(model, arm("batch"))
    assert [module.training for module in (model[0], model[1].norm)] == [False, True]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert [parameter.requires_grad for parameter in model[1].parameters()] == [False, True]


def test_weights_are_standardized_in_all_linear_maps_but_the_last():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 1), nn.Flatten(), nn.Linear(12, 2))
    bnlab.replace_norms(model, arm("scaled_weight_standardization"))
    for conv in (model[0], model[2]):
        rows = conv.weight.detach().flatten(1)
        torch.testing.assert_close(rows.mean(1), torch.zeros(len(rows)), atol=1e-6, rtol=0)
    assert not hasattr(model[4], "parametrizations")


@pytest.mark.parametrize("name", ["batch", "group", "layer", "rms", "none", "dyt"])
def test_in_place_code_behind_a_norm_trains(name):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.norm(self.conv(x))
            y += x
            return self.relu(y)

    torch.manual_seed(0)
    model, x = Residual().double(), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    bnlab.replace_norms(model, arm(name))
    model(x).square().sum().backward()
    model.relu = nn.ReLU()
    model.forward = lambda x: model.relu(model.norm(model.conv(x)) + x)
    in_place = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(x).square().sum().backward()
    for one, other in zip(in_place, (parameter.grad for parameter in model.parameters()), strict=True):
        torch.testing.assert_close(one, other)


def test_eval_mode_of_torchs_encoder_layer_uses_the_new_norms():
    """torch 2.14's fast path reads norm1.weight and computes a LayerNorm, whatever norm1 is."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 1), torch.randn(3, 5, 8)
    bnlab.replace_norms(model, arm("rms"))
    with torch.no_grad():
        mask = torch.zeros(3, 5, dtype=torch.bool)
        torch.testing.assert_close(model.eval()(x, src_key_padding_mask=mask), model.train()(x))


def test_a_network_without_norms_has_nothing_to_replace():
    assert bnlab.replace_norms(nn.Sequential(nn.Linear(2, 2)), arm("layer")) == []


def test_what_cannot_be_replaced_says_what_to_do():
    with pytest.raises(ConfigError, match=r"is a norm itself, BatchNorm1d\. Replace it by build_norm"):
        bnlab.replace_norms(nn.BatchNorm1d(4), arm("layer"))
    with pytest.raises(ConfigError, match="Run a batch through it first"):
        bnlab.replace_norms(nn.Sequential(nn.LazyBatchNorm1d()), arm("layer"))
    with pytest.raises(ConfigError, match=r"num_groups must divide num_channels: 6 channels, 4 groups"):
        bnlab.replace_norms(nn.Sequential(nn.BatchNorm1d(6)), arm("group", num_groups=4))
    with pytest.raises(ConfigError, match="must be a function"):
        bnlab.replace_norms(nn.Sequential(nn.BatchNorm1d(6)), "layer")


def test_each_line_of_the_table_names_place_old_and_new():
    model = nn.Sequential(nn.Sequential(nn.GroupNorm(2, 4)))
    (replaced,) = bnlab.replace_norms(model, arm("rms"))
    assert str(replaced) == "0.0: GroupNorm -> RMSNorm(4, eps=1e-05), without its bias"


def small_convnext():
    blocks = [convnext.CNBlockConfig(8, 768, 1), convnext.CNBlockConfig(768, None, 1)]
    return convnext.ConvNeXt(blocks, layer_scale=1.0)


def small_vit():
    return VisionTransformer(image_size=64, patch_size=32, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16)


@pytest.mark.parametrize(
    ("build", "old", "eps", "num_norms"),
    [
        (resnet18, "batch", 1e-5, 20),
        (mobilenet_v3_small, "batch", 1e-3, 34),
        (small_convnext, "layer", 1e-6, 5),
        (small_vit, "layer", 1e-6, 5),
    ],
)
def test_torchvisions_networks_compute_the_same_with_their_own_formula(build, old, eps, num_norms):
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        assert len(bnlab.replace_norms(model, arm(old, eps=eps))) == num_norms
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 4, 768])
def test_which_axis_a_layer_norm_takes_is_tried_with_few_values(size):
    """At 768 channels, an image as wide as there are channels would take 4 GB."""

    class FirstAxis(nn.LayerNorm):
        def forward(self, x):
            seen.append(x.shape)
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    seen, model = [], nn.Sequential(FirstAxis(size))
    bnlab.replace_norms(model, arm("layer"))
    assert max(map(torch.Size.numel, seen)) <= 60 * size
    assert len(set(seen[0])) == 4
    assert model[0].channels_first
