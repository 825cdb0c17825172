"""`model=fast_cnn`, against the same layers written with torch's, and the whitening against its definition."""

import pytest
import torch
import torch.nn.functional as F
from built_networks import built, copy_layers, images, num_parameters, shaken
from torch import Tensor, nn

from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.models.fast_cnn import FastCNN, Whitening


class Written(nn.Module):
    """The network of airbench in plain layers, without its fixed first layer."""

    def __init__(self, width: int, num_inputs: int, is_normed: bool) -> None:
        super().__init__()
        widths = [num_inputs, width, width, 4 * width, 4 * width, 4 * width, 4 * width]
        self.parts = nn.ModuleList()
        for i in range(6):
            self.parts.append(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=not is_normed))
            self.parts.append(nn.BatchNorm2d(widths[i + 1]) if is_normed else nn.Identity())
        self.head = nn.Linear(4 * width, 10)

    def forward(self, z: Tensor) -> Tensor:
        z = F.gelu(z)
        for i in range(6):
            z = self.parts[2 * i](z)
            z = F.gelu(self.parts[2 * i + 1](F.max_pool2d(z, 2) if i % 2 == 0 else z))
        return self.head(z.flatten(2).max(2).values)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_it_is_the_network_as_it_is_written(norm: str) -> None:
    ours = built("fast_cnn", norm, shape=(3, 24, 24), width=2)  # 2x2 pixels remain: the largest is not the mean
    ours.see(images(20, 3, 24, 24))
    ours = shaken(ours)
    theirs = Written(2, 24, norm == "batch").double()
    copy_layers(ours, theirs)
    x = images(4, 3, 24, 24, seed=1).double()
    z = F.conv2d(x, ours.get_buffer("whitening.filters"))
    for training in (False, True):
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_and_have_variance_1(channels: int) -> None:
    x = images(50, channels, 9, 9)
    x[:, :, 1:] += 0.8 * x[:, :, :-1]  # neighbors are alike, as in photographs
    layer = Whitening(channels)
    layer.fit(x)
    z = layer(x).double().transpose(0, 1).flatten(1)
    half = 4 * channels
    torch.testing.assert_close(z[half:], -z[:half])
    products = z[:half] @ z[:half].T / z.shape[1]
    torch.testing.assert_close(products, torch.eye(half).double(), rtol=0, atol=0.02)  # eps takes up to 1%


def test_the_whitening_is_that_of_its_formula() -> None:
    x = images(6, 1, 4, 4).double()
    layer = Whitening(1).double()
    layer.fit(x)
    patches = torch.stack(
        [x[n, 0, i : i + 2, j : j + 2].flatten() for n in range(6) for i in range(3) for j in range(3)]
    )
    second = patches.T @ patches / len(patches)
    whole = layer.filters[:4].flatten(1)
    # V diag(1 / sqrt(lambda + eps)) has this square, whatever the order and the signs of the eigenvectors
    torch.testing.assert_close(whole.T @ whole, torch.linalg.inv(second + 5e-4 * torch.eye(4).double()))


def test_only_the_first_5000_images_count() -> None:
    x = images(5002, 1, 3, 3)
    one, other = Whitening(1), Whitening(1)
    one.fit(x)
    other.fit(x[:5000])
    assert torch.equal(one.filters, other.filters)


def test_the_whitening_is_not_trained_and_is_part_of_the_state() -> None:
    net = built("fast_cnn", shape=(3, 16, 16), width=2)
    assert "whitening.filters" in net.state_dict()
    assert not any(name.startswith("whitening") for name, _ in net.named_parameters())
    assert list(net.linears) == [*(f"group{g}.conv{i}" for g in (1, 2, 3) for i in (1, 2)), "output"]


def test_its_size_at_width_64_is_airbenchs_with_a_scale_for_each_norm_and_biases_at_the_end() -> None:
    with torch.device("meta"):
        net = built("fast_cnn", shape=(3, 32, 32), width=64)
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert num_parameters(net) == convolutions + 2 * (2 * 64 + 4 * 256) + 256 * 10 + 10


@pytest.mark.parametrize(("shape", "said"), [((3, 1, 9), "needs 2x2 pixels or more, got 1x9"), ((30,), "needs images")])
def test_what_it_cannot_take_is_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        built("fast_cnn", shape=shape)


@pytest.mark.slow
def test_a_depth_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.depth must be a multiple of 3, got 7\."):
        compose_run(["model=fast_cnn", "model.depth=7"])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 2, 2)])
def test_it_takes_images_of_any_size(shape: tuple[int, ...]) -> None:
    net = built("fast_cnn", shape=shape, width=2)
    assert isinstance(net, FastCNN)
    assert net(images(2, *shape)).shape == (2, 10)
