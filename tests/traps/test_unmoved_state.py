"""Running statistics that nothing updates are told before training; what is constant on purpose is not."""

import pytest
import torch
import torchvision
from folded import folded
from torch import Tensor, nn

from bnlab.config.compose import compose_run
from bnlab.experiment.checking import check
from bnlab.traps.unmoved_state import find_unmoved_state


def per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(1, -1, *[1] * (x.dim() - 2))


class NeverUpdates(nn.Module):
    """Normalizes by the batch's statistics in training mode, and by buffers in eval mode."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches", torch.tensor(0))

    def update(self, mean: Tensor, var: Tensor) -> None:
        """Do nothing."""

    def forward(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(axes), x.var(axes, correction=0)
            self.update(mean.detach(), var.detach())
        return (x - per_channel(mean, x)) / per_channel(var + 1e-5, x).sqrt()


class UpdatesTheMean(NeverUpdates):
    def update(self, mean: Tensor, var: Tensor) -> None:  # noqa: ARG002
        self.running_mean.lerp_(mean, 0.1)


class UpdatesBoth(UpdatesTheMean):
    """As the message proposes."""

    def update(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean.lerp_(mean.detach(), 0.1)
        self.running_var.lerp_(var.detach(), 0.1)


class UpdatesAtEachTenthBatch(UpdatesBoth):
    def update(self, mean: Tensor, var: Tensor) -> None:
        self.num_batches += 1
        if self.num_batches % 10 == 0:
            super().update(mean, var)


class Replaces(NeverUpdates):
    def update(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean, self.running_var = 0.9 * self.running_mean + 0.1 * mean, 0.9 * self.running_var + 0.1 * var


class Frozen(NeverUpdates):
    def forward(self, x: Tensor) -> Tensor:
        return (x - per_channel(self.running_mean, x)) / per_channel(self.running_var + 1e-5, x).sqrt()


class Masks(nn.Module):
    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(num_channels))
        self.register_buffer("eps", torch.tensor(1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * per_channel(self.mask, x) + self.eps


class AveragesItsWeight(nn.Module):
    ema: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.register_buffer("ema", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.ema.lerp_(self.weight.detach(), 0.1)
        return x * per_channel(self.weight if self.training else self.ema, x)


class InheritsFromTorch(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt() if self.training else super().forward(x)


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (NeverUpdates(3), ["running_mean", "running_var"]),
        (UpdatesTheMean(3), ["running_var"]),
        (InheritsFromTorch(3), ["running_mean", "running_var"]),
        (nn.Sequential(nn.Identity(), NeverUpdates(3)), ["1.running_mean", "1.running_var"]),
    ],
    ids=["both", "one", "of torch's class", "inside"],
)
def test_buffers_that_only_eval_mode_reads_are_found(layer: nn.Module, found: list[str]) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    assert find_unmoved_state(layer, images(8, 3)) == found
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@folded(
    "layer",
    [
        UpdatesBoth(3),
        UpdatesAtEachTenthBatch(3),
        Replaces(3),
        Frozen(3),
        Masks(3),
        AveragesItsWeight(3),
        nn.BatchNorm2d(3, momentum=0.0),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.Sequential(nn.BatchNorm2d(3).eval()),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)),
        torchvision.ops.FrozenBatchNorm2d(3),
    ],
)
def test_what_moves_or_is_read_by_training_is_not(layer: nn.Module) -> None:
    assert find_unmoved_state(layer, images(8, 3, 4, 4)) == []


@pytest.mark.slow
def test_a_run_with_such_a_layer_warns_of_it() -> None:
    words = ["data=synthetic", "model.width=8", "train.steps=60", "norm=test_unmoved_state:NeverUpdates"]
    (warning,) = [text for text in check(compose_run(words)).warnings if "running_mean" in text]
    assert "training mode neither changes nor reads running_mean, running_var; eval mode reads" in warning
    assert "self.running_mean.lerp_(VALUE_OF_THE_BATCH.detach(), 0.1)" in warning
    accepted = check(compose_run([*words, "accept=[statistics_not_settled]"])).warnings
    assert not any("running_mean" in text for text in accepted)
