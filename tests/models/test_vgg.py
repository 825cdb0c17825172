"""`model=vgg`, against torchvision's layers."""

import pytest
import torch
from built_networks import assert_same, built, copy_layers, images, num_parameters, shaken
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError

LETTERS = {11: "A", 13: "B", 16: "D"}


def torchvisions(depth: int, width: int, num_classes: int, with_norms: bool) -> nn.Module:
    """Return torchvision's convolutions at another width, the mean over the image and one dense layer."""
    layers = [v if v == "M" else v * width // 64 for v in cfgs[LETTERS[depth]]]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, num_classes)]
    return nn.Sequential(make_layers(layers, batch_norm=with_norms), *head)


@pytest.mark.parametrize("depth", LETTERS)
@pytest.mark.parametrize(("norm", "with_norms"), [("batch", True), ("none", False)])
def test_it_is_torchvisions(depth: int, norm: str, with_norms: bool) -> None:
    ours = shaken(built("vgg", norm, shape=(3, 32, 32), depth=depth, width=8))
    theirs = torchvisions(depth, 8, 10, with_norms).double()
    copy_layers(ours, theirs)
    assert_same(ours, theirs, images(4, 3, 32, 32).double())


@pytest.mark.parametrize("depth", LETTERS)
def test_its_size_at_width_64_is_torchvisions_less_the_biases_that_have_no_effect(depth: int) -> None:
    with torch.device("meta"):
        ours = built("vgg", shape=(3, 32, 32), depth=depth, width=64)
        theirs = torchvisions(depth, 64, 10, True)
    biases = sum(m.bias.numel() for m in theirs.modules() if isinstance(m, nn.Conv2d))
    assert num_parameters(ours) == num_parameters(theirs) - biases


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)])
def test_it_takes_images_of_any_size(shape: tuple[int, ...]) -> None:
    assert built("vgg", shape=shape)(images(3, *shape)).shape == (3, 10)


def test_layers_are_named_by_stage() -> None:
    roles = [f"stage{stage}.conv{i}" for stage, count in enumerate((1, 1, 2, 2, 2), 1) for i in range(1, count + 1)]
    assert list(built("vgg").linears) == [*roles, "output"]


def test_a_depth_that_is_none_gets_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"model\.depth=12 is not known\. Known: 11, 13, 16\."):
        compose_run(["model=vgg", "model.depth=12"])


def test_rows_of_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model=vgg needs images, got rows of 30 numbers\. Use model=mlp"):
        built("vgg", shape=(30,))
