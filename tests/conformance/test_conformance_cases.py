"""Layers as people post them: each gets a verdict that names its fault, whatever else it does."""

import faults
import pytest
import torch
from torch import nn

from bnlab.conformance.laws import check


class MeanOverTheBatchAxis(nn.Module):
    """Both statistics over axis 0 alone, so that buffers take the shape of an image."""

    keepdim = False

    def __init__(self, num_channels):
        super().__init__()
        shape = (1, num_channels) if self.keepdim else (num_channels,)
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0, keepdim=self.keepdim), x.var(0, correction=0, keepdim=self.keepdim)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
            self.running_var = 0.9 * self.running_var + 0.1 * var.detach()
        return (x - mean) / (var + 1e-5).sqrt()


class KeepsTheAxis(MeanOverTheBatchAxis):
    keepdim = True


class BufferOfTheBatch(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.register_buffer("last", torch.zeros(num_channels))

    def forward(self, x):
        self.last = x.detach().mean(0)
        return x - x.mean(0)


class AttributeOfTheBatch(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.running = torch.zeros(num_channels)

    def forward(self, x):
        if not self.training:
            return x - self.running
        self.running = 0.9 * self.running + 0.1 * x.detach().mean(0)
        return x - x.mean(0)


class InPlaceRows(nn.Module):
    def __init__(self, num_channels):  # noqa: ARG002
        super().__init__()

    def forward(self, x):
        axes = tuple(range(1, x.dim()))
        x -= x.mean(axes, keepdim=True)
        return x / (x.square().mean(axes, keepdim=True) + 1e-5).sqrt()


class ActNorm(nn.Module):
    """Glow's: scale and shift come from the first batch, and a flag says that it has come."""

    in_buffer = True

    def __init__(self, num_channels):
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(num_channels)), nn.Parameter(torch.zeros(num_channels))
        if self.in_buffer:
            self.register_buffer("ready", torch.tensor(0, dtype=torch.uint8))
        else:
            self.ready = False

    def forward(self, x):
        if not self.ready:
            with torch.no_grad():
                self.shift.copy_(-x.mean(faults.axes_of(x)))
                self.log_scale.copy_(-(x.std(faults.axes_of(x)) + 1e-6).log())
            self.ready = torch.ones_like(self.ready) if self.in_buffer else True
        return (x + faults.per_channel(self.shift, x)) * faults.per_channel(self.log_scale.exp(), x)


class TrainingActNorm(ActNorm):
    def forward(self, x):
        return super().forward(x) if self.training or self.ready else x


class PlainActNorm(ActNorm):
    in_buffer = False


CASES = [
    (MeanOverTheBatchAxis, "buffers", "takes the shape of the input (running_mean (4,) -> (4, 4)"),
    (KeepsTheAxis, "buffers", "takes the shape of the input (running_mean (1, 4) -> (1, 4, 4)"),
    (BufferOfTheBatch, "buffers", "takes the shape of the input (last (4,)"),
    (AttributeOfTheBatch, "state dict", "running is not in it"),
    (InPlaceRows, "input untouched", "modified in place in training mode"),
    (ActNorm, "buffers", "the first batch sets log_scale, shift"),
    (TrainingActNorm, "buffers", "the first batch sets log_scale, shift"),
    (PlainActNorm, "state dict", "ready is not in it"),
]


@pytest.mark.parametrize(("layer", "law", "words"), CASES)
def test_a_layer_that_somebody_posted_gets_a_verdict_that_names_its_fault(layer, law, words):
    verdict = check(layer, "own", only=[law]).verdicts[law]
    assert verdict.status == "does not hold"
    assert words in verdict.cause


def test_a_shift_that_the_first_batch_sets_is_used():
    assert check(ActNorm, "own", only=["affine"]).verdicts["affine"].status == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("layer", [case[0] for case in CASES])
def test_every_law_gives_a_verdict_on_it(layer):
    verdicts = check(layer, "own", only=faults.QUICK_LAWS).verdicts
    assert list(verdicts) == faults.QUICK_LAWS
    assert not [name for name, verdict in verdicts.items() if "cannot be tested" in verdict.reason]
