# ruff: noqa: ARG002  (a fault is often a step that ignores what it is given)
"""Layers with one fault each, derived from a healthy one.

Each step of `HealthyBatchNorm` is a method; a fault overrides one. `FAULTS` names for each fault the law that must find
it, words that the verdict's cause must contain, and the other laws that the fault breaks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from bnlab.conformance.laws import LAWS

QUICK_LAWS = [law.name for law in LAWS if law.name not in {"large input", "large far input"}]
"""All laws but the two that take as long as all others together."""


def per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(1, -1, *[1] * (x.dim() - 2))


def axes_of(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


class HealthyBatchNorm(nn.Module):
    """A usual BatchNorm without a fault."""

    def __init__(self, num_channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.keep(num_channels)

    def keep(self, num_channels: int) -> None:
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Keep running statistics in float32 at least, after `.half()` too."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if self._buffers[name].dtype in {torch.float16, torch.bfloat16}:
                self._buffers[name] = buffer
        return self

    def widen(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def refuse(self, x: Tensor) -> None:
        if x.numel() == x.shape[1]:
            raise ValueError("more than one value per channel is needed")

    def mean_of(self, x: Tensor) -> Tensor:
        return x.mean(axes_of(x))

    def var_of(self, x: Tensor, mean: Tensor) -> Tensor:
        return (x - per_channel(mean, x)).square().mean(axes_of(x))

    def divide(self, centered: Tensor, var: Tensor) -> Tensor:
        return centered / (var + self.eps).sqrt()

    def affine(self, x_hat: Tensor) -> Tensor:
        return x_hat * per_channel(self.weight, x_hat) + per_channel(self.bias, x_hat)

    def kept(self, var: Tensor) -> Tensor:
        return var

    def move(self, mean: Tensor, var: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.double()
        self.running_mean.mul_(1 - share).add_(share * mean.detach())
        self.running_var.mul_(1 - share).add_(share * self.kept(var.detach()))

    def train_forward(self, x: Tensor) -> Tensor:
        mean = self.mean_of(x)
        var = self.var_of(x, mean)
        self.move(mean, var)
        return self.affine(self.divide(x - per_channel(mean, x), per_channel(var, x)))

    def eval_forward(self, x: Tensor) -> Tensor:
        mean, var = per_channel(self.running_mean, x), per_channel(self.running_var, x)
        return self.affine(self.divide(x - mean, var))

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x.clone()
        wide = self.widen(x)
        if not self.training:
            return self.eval_forward(wide).to(x.dtype)
        self.refuse(x)
        return self.train_forward(wide).to(x.dtype)


class OnlyTrainsOtherwise(HealthyBatchNorm):
    """A base for faults of training mode only: eval mode is correct."""

    def eval_forward(self, x: Tensor) -> Tensor:
        mean, var = per_channel(self.running_mean, x), per_channel(self.running_var, x)
        return HealthyBatchNorm.affine(self, (x - mean) / (var + self.eps).sqrt())


class UnbiasedOutput(OnlyTrainsOtherwise):
    def var_of(self, x, mean):
        return x.transpose(0, 1).flatten(1).var(1, correction=1)


class EpsOutside(HealthyBatchNorm):
    def divide(self, centered, var):
        return centered / (var.sqrt() + self.eps)


class EpsMissing(HealthyBatchNorm):
    def divide(self, centered, var):
        return centered / var.sqrt()


class EpsSubtracted(HealthyBatchNorm):
    def divide(self, centered, var):
        return centered / (var - self.eps).sqrt()


class EpsTwice(HealthyBatchNorm):
    def var_of(self, x, mean):
        return super().var_of(x, mean) + self.eps

    def kept(self, var):
        return var - self.eps

    def eval_forward(self, x):
        return OnlyTrainsOtherwise.eval_forward(self, x)


class EpsAsFloor(HealthyBatchNorm):
    def divide(self, centered, var):
        return centered / var.clamp(min=self.eps).sqrt()


class NoRoot(HealthyBatchNorm):
    def divide(self, centered, var):
        return centered / (var + self.eps)


class MeanNotSubtracted(OnlyTrainsOtherwise):
    def train_forward(self, x):
        mean = self.mean_of(x)
        var = self.var_of(x, mean)
        self.move(mean, var)
        return self.affine(self.divide(x, per_channel(var, x)))


class RootMeanSquare(OnlyTrainsOtherwise):
    def train_forward(self, x):
        self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return self.affine(self.divide(x, per_channel(x.square().mean(axes_of(x)), x)))


class SumOfSquares(OnlyTrainsOtherwise):
    def divide(self, centered, var):
        return super().divide(centered, var * (centered.numel() / centered.shape[1]))


class PerPosition(OnlyTrainsOtherwise):
    """mean(0) on images too."""

    def train_forward(self, x):
        mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
        self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return self.affine(self.divide(x - mean, var))


class OverAllAxes(OnlyTrainsOtherwise):
    def train_forward(self, x):
        self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return self.affine(self.divide(x - x.mean(), x.var(correction=0)))


class PerSample(OnlyTrainsOtherwise):
    def train_forward(self, x):
        axes = list(range(1, x.dim()))
        self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return self.affine(self.divide(x - x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)))


class LastAxisIsChannels(HealthyBatchNorm):
    """Written for channels that come last."""

    def train_forward(self, x):
        mean, var = x.flatten(0, -2).mean(0), x.flatten(0, -2).var(0, correction=0)
        self.move(mean, var)
        return self.divide(x - mean, var) * self.weight + self.bias

    def eval_forward(self, x):
        return self.divide(x - self.running_mean, self.running_var) * self.weight + self.bias


class OnePlusWeight(HealthyBatchNorm):
    def affine(self, x_hat):
        return x_hat * (1 + per_channel(self.weight, x_hat)) + per_channel(self.bias, x_hat)


class BiasScaled(HealthyBatchNorm):
    def affine(self, x_hat):
        return (x_hat + per_channel(self.bias, x_hat)) * per_channel(self.weight, x_hat)


class BiasForgotten(HealthyBatchNorm):
    def affine(self, x_hat):
        return x_hat * per_channel(self.weight, x_hat)


class AffineForgotten(HealthyBatchNorm):
    def affine(self, x_hat):
        return x_hat


class AffineAlongLastAxis(HealthyBatchNorm):
    def affine(self, x_hat):
        return x_hat * self.weight + self.bias


class RunningInTraining(HealthyBatchNorm):
    def train_forward(self, x):
        mean = self.mean_of(x)
        self.move(mean, self.var_of(x, mean))
        return self.eval_forward(x)


class MeanDetached(HealthyBatchNorm):
    def mean_of(self, x):
        return x.mean(axes_of(x)).detach()

    def var_of(self, x, mean):
        return x.transpose(0, 1).flatten(1).var(1, correction=0)


class VarianceDetached(HealthyBatchNorm):
    def var_of(self, x, mean):
        return super().var_of(x, mean).detach()


class BothDetached(HealthyBatchNorm):
    @torch.no_grad()
    def mean_of(self, x):
        return super().mean_of(x)

    @torch.no_grad()
    def var_of(self, x, mean):
        return super().var_of(x, mean)


class WeightGradientMissing(HealthyBatchNorm):
    def affine(self, x_hat):
        return x_hat * per_channel(self.weight.detach(), x_hat) + per_channel(self.bias, x_hat)


class StandardDeviationStored(HealthyBatchNorm):
    def kept(self, var):
        return var.sqrt()


class NeverUpdated(HealthyBatchNorm):
    def move(self, mean, var):
        self.num_batches_tracked.add_(1)


class UpdatedTwice(HealthyBatchNorm):
    def move(self, mean, var):
        super().move(mean, var)
        self.num_batches_tracked.sub_(1)
        super().move(mean, var)


class Swapped(HealthyBatchNorm):
    def move(self, mean, var):
        super().move(var, mean)


class MomentumOnMeanOnly(HealthyBatchNorm):
    def move(self, mean, var):
        super().move(mean, var)
        self.running_var.copy_(var.detach())


class OldNotScaledDown(HealthyBatchNorm):
    def move(self, mean, var):
        self.num_batches_tracked.add_(1)
        self.running_mean.add_(self.momentum * mean.detach())
        self.running_var.add_(self.momentum * var.detach())


class StartCounted(HealthyBatchNorm):
    def move(self, mean, var):
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / (1 + self.num_batches_tracked.double())
        self.running_mean.mul_(1 - share).add_(share * mean.detach())
        self.running_var.mul_(1 - share).add_(share * var.detach())


class EvalUpdates(HealthyBatchNorm):
    def eval_forward(self, x):
        y = super().eval_forward(x)
        self.move(self.mean_of(x), self.var_of(x, self.mean_of(x)))
        return y


class EvalUsesBatch(HealthyBatchNorm):
    def eval_forward(self, x):
        mean = self.mean_of(x)
        return self.affine(self.divide(x - per_channel(mean, x), per_channel(self.var_of(x, mean), x)))


class EvalForgetsAffine(HealthyBatchNorm):
    def eval_forward(self, x):
        return self.divide(x - per_channel(self.running_mean, x), per_channel(self.running_var, x))


class EvalForgetsEps(HealthyBatchNorm):
    def eval_forward(self, x):
        mean, var = per_channel(self.running_mean, x), per_channel(self.running_var, x)
        return self.affine((x - mean) / var.sqrt())


class EvalReadsDeviation(HealthyBatchNorm):
    def eval_forward(self, x):
        mean, var = per_channel(self.running_mean, x), per_channel(self.running_var, x)
        return self.affine((x - mean) / (var + self.eps))


class Cancels(HealthyBatchNorm):
    def var_of(self, x, mean):
        return (x.square().mean(axes_of(x)) - mean.square()).clamp(min=0)


class CancelsWithChannelsLast(HealthyBatchNorm):
    def var_of(self, x, mean):
        return Cancels.var_of(self, x, mean) if x.stride(1) == 1 and x.dim() > 2 else super().var_of(x, mean)


class NarrowStatistics(HealthyBatchNorm):
    def widen(self, x):
        return x


class WideOutput(HealthyBatchNorm):
    def forward(self, x):
        return super().forward(self.widen(x))


class GraphInBuffers(HealthyBatchNorm):
    def move(self, mean, var):
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.double()
        self.running_mean = (1 - share) * self.running_mean + share * mean
        self.running_var = (1 - share) * self.running_var + share * var


class PlainAttributes(HealthyBatchNorm):
    def keep(self, num_channels):
        self.running_mean, self.running_var = torch.zeros(num_channels), torch.ones(num_channels)

    def move(self, mean, var):
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
        self.running_var = 0.9 * self.running_var + 0.1 * var.detach()


class NotSaved(HealthyBatchNorm):
    def keep(self, num_channels):
        self.register_buffer("running_mean", torch.zeros(num_channels), persistent=False)
        self.register_buffer("running_var", torch.ones(num_channels), persistent=False)
        self.register_buffer("num_batches_tracked", torch.tensor(0))


class TrainsOtherwiseWhenLoaded(HealthyBatchNorm):
    """Its first batch replaces the running statistics, and a plain attribute says whether it has come."""

    has_begun = False

    def move(self, mean, var):
        if not self.has_begun:
            self.running_mean.copy_(mean.detach())
            self.running_var.copy_(var.detach())
        self.has_begun = True
        super().move(mean, var)


class FlagNotSaved(HealthyBatchNorm):
    """Eval mode doubles its output from the first training batch on."""

    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.is_trained = False

    def move(self, mean, var):
        self.is_trained = True
        super().move(mean, var)

    def eval_forward(self, x):
        y = super().eval_forward(x)
        return y + self.bias.sum() if self.is_trained else y


class Recomputes(HealthyBatchNorm):
    def train_forward(self, x):
        return torch.utils.checkpoint.checkpoint(super().train_forward, x, use_reentrant=False)


class NarrowState(HealthyBatchNorm):
    def _apply(self, fn, recurse=True):
        return nn.Module._apply(self, fn, recurse)


class InPlace(HealthyBatchNorm):
    def train_forward(self, x):
        y = super().train_forward(x)
        with torch.no_grad():
            x.sub_(per_channel(self.mean_of(x), x))
        return y


class OneValueAccepted(HealthyBatchNorm):
    def refuse(self, x):
        pass


class EmptyBatchSpoils(HealthyBatchNorm):
    def forward(self, x):
        wide = self.widen(x)
        if not self.training:
            return self.eval_forward(wide).to(x.dtype)
        self.refuse(x)
        return self.train_forward(wide).to(x.dtype)


class NotOnMeta(HealthyBatchNorm):
    def var_of(self, x, mean):
        var = super().var_of(x, mean)
        return var if var.min().item() > -1 else var.clamp(min=0)


class LaysOutAnew(HealthyBatchNorm):
    def forward(self, x):
        return super().forward(x.as_strided(x.shape, torch.empty(x.shape).stride()))


def is_laid_out_anew(x: Tensor) -> bool:
    return not x.is_contiguous() and x.numel() > 0


class HalfLaidOutAnew(HealthyBatchNorm):
    """Reads float16 in the order of the memory."""

    def forward(self, x):
        if x.dtype == torch.float16 and is_laid_out_anew(x):
            x = x.as_strided(x.shape, torch.empty(x.shape).stride())
        return super().forward(x)


class EvalLaidOutAnew(HealthyBatchNorm):
    def eval_forward(self, x):
        if is_laid_out_anew(x):
            x = x.as_strided(x.shape, torch.empty(x.shape).stride())
        return super().eval_forward(x)


class BuffersOfAnotherLayout(HealthyBatchNorm):
    """Right outputs, but the running mean of an input with its axes in another order is that of half of it."""

    def move(self, mean, var):
        super().move(0.5 * mean if self.is_odd else mean, var)

    def train_forward(self, x):
        self.is_odd = is_laid_out_anew(x)
        return super().train_forward(x)


class OneSampleLaidOutAnew(HealthyBatchNorm):
    def train_forward(self, x):
        if len(x) == 1 and is_laid_out_anew(x):
            x = x.as_strided(x.shape, torch.empty(x.shape).stride())
        return super().train_forward(x)


class EvalNarrow(HealthyBatchNorm):
    """Rounds the running statistics to the input's type in eval mode."""

    def forward(self, x):
        if self.training or x.dtype not in {torch.float16, torch.bfloat16}:
            return super().forward(x)
        mean, var = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        y = (x - per_channel(mean, x)) / (per_channel(var, x) + self.eps).sqrt()
        return self.affine(y).to(x.dtype)


class EvalWideOutput(HealthyBatchNorm):
    def forward(self, x):
        return super().forward(x) if self.training else super().forward(self.widen(x))


class LargeInputsCancel(OnlyTrainsOtherwise):
    """Takes the variance of a large input in one pass."""

    def var_of(self, x, mean):
        is_large = x.numel() > 1 << 18
        return Cancels.var_of(self, x, mean) if is_large else super().var_of(x, mean)


class DependsOnOrder(OnlyTrainsOtherwise):
    def mean_of(self, x):
        return x[: max(1, len(x) - 1)].mean(axes_of(x))


class EvalGradientMissing(HealthyBatchNorm):
    def eval_forward(self, x):
        return super().eval_forward(x).detach() + 0 * x


class FirstSamplesOnly(OnlyTrainsOtherwise):
    """Takes statistics of the first 64 samples."""

    def train_forward(self, x):
        mean = self.mean_of(x[:64])
        var = self.var_of(x[:64], mean)
        self.move(mean, var)
        return self.affine(self.divide(x - per_channel(mean, x), per_channel(var, x)))


class ManyChannelsWrong(OnlyTrainsOtherwise):
    """Divides the channels from the ninth on by the variance."""

    def divide(self, centered, var):
        return torch.cat([super().divide(centered, var)[:, :8], (centered / (var + self.eps))[:, 8:]], 1)


class PiecesMergedWrong(OnlyTrainsOtherwise):
    """Averages the variances of pieces of 32 samples, as a layer that processes large inputs piece by piece may."""

    def var_of(self, x, mean):
        pieces = x.split(32)
        return sum(len(piece) / len(x) * piece.var(axes_of(piece), correction=0) for piece in pieces)


class LargeChannelsLastWrong(OnlyTrainsOtherwise):
    """Leaves out the last samples of a large input in channels_last."""

    def mean_of(self, x):
        is_large = x.dim() == 4 and x.numel() > 1 << 18 and not x.is_contiguous()
        return super().mean_of(x[:32] if is_large else x)


class SlopeOfLargeInputWrong(OnlyTrainsOtherwise):
    """Detaches the statistics of a large input."""

    def var_of(self, x, mean):
        var = super().var_of(x, mean)
        return var.detach() if x.numel() > 1 << 16 else var


class NotCounted(HealthyBatchNorm):
    """Stores the unbiased variance, and does not count the batches."""

    def kept(self, var):
        return var * self.num_values / (self.num_values - 1)

    def train_forward(self, x):
        self.num_values = x.numel() // x.shape[1]
        return super().train_forward(x)

    def move(self, mean, var):
        super().move(mean, var)
        self.num_batches_tracked.zero_()


class EvalSlopeUndivided(HealthyBatchNorm):
    """In eval mode the input's gradient lacks the division: right where the running variance is 1."""

    def eval_forward(self, x):
        y = super().eval_forward(x.detach())
        scale = per_channel(self.weight.detach(), x)
        return y + (x - x.detach()) * scale


class Fault(NamedTuple):
    layer: Callable[..., nn.Module]
    law: str
    words: str
    also: tuple[str, ...] = ()


FAULTS: list[Any] = [
    Fault(UnbiasedOutput, "training output", "the variance in the output is the unbiased one"),
    Fault(EpsOutside, "training output", "eps is outside the root", ("eval output", "constant input")),
    Fault(EpsMissing, "training output", "eps is missing", ("eval output", "constant input")),
    Fault(
        EpsSubtracted,
        "training output",
        "eps is subtracted",
        ("eval output", "input gradient", "parameter gradients", "constant input"),
    ),
    Fault(EpsTwice, "training output", "eps is added twice"),
    Fault(EpsAsFloor, "training output", "eps is a floor", ("eval output",)),
    Fault(NoRoot, "training output", "divides by the variance", ("eval output", "gradient sums", "invariances")),
    Fault(MeanNotSubtracted, "training output", "the mean is not subtracted", ("gradient sums", "invariances")),
    Fault(RootMeanSquare, "training output", "divides by the root mean square", ("gradient sums", "invariances")),
    Fault(SumOfSquares, "training output", "the variance is a sum of squares"),
    Fault(PerPosition, "training output", "wrong axes: each position by itself, over the batch axis alone"),
    Fault(OverAllAxes, "training output", "wrong axes: over all axes", ("gradient sums", "invariances")),
    Fault(
        PerSample,
        "training output",
        "wrong axes: per sample, as LayerNorm's",
        ("dead direction", "gradient sums", "invariances"),
    ),
    Fault(
        LastAxisIsChannels,
        "training output",
        "the last axis is taken for the channels",
        ("input", "eval output", "gradient sums", "running update", "invariances", "affine"),
    ),
    Fault(OnePlusWeight, "training output", "1 + weight", ("eval output",)),
    Fault(BiasScaled, "training output", "the bias is multiplied by the weight", ("eval output",)),
    Fault(BiasForgotten, "training output", "the bias is not applied", ("eval output", "affine")),
    Fault(AffineForgotten, "training output", "scale and shift are forgotten", ("eval output", "affine")),
    Fault(
        AffineAlongLastAxis,
        "training output",
        "scale and shift are applied along the last axis",
        ("input", "eval output", "affine"),
    ),
    Fault(
        RunningInTraining,
        "training output",
        "it normalizes by the running statistics",
        ("finite differences", "gradient sums", "batch in training", "invariances"),
    ),
    Fault(MeanDetached, "input gradient", "the mean is detached", ("finite differences", "gradient sums")),
    Fault(VarianceDetached, "input gradient", "the variance is detached", ("finite differences", "gradient sums")),
    Fault(
        BothDetached, "input gradient", "mean and variance are both detached", ("finite differences", "gradient sums")
    ),
    Fault(
        WeightGradientMissing,
        "parameter gradients",
        "the weight's gradient is missing",
        ("finite differences", "eval gradient"),
    ),
    Fault(StandardDeviationStored, "running update", "running_var takes the batch's biased standard deviation"),
    Fault(NeverUpdated, "running update", "running_mean is never updated"),
    Fault(UpdatedTwice, "running update", "running_mean is updated twice per batch"),
    Fault(Swapped, "running update", "mean and variance are swapped"),
    Fault(MomentumOnMeanOnly, "running update", "momentum is not applied to running_var"),
    Fault(OldNotScaledDown, "running update", "the old value is kept whole"),
    Fault(StartCounted, "momentum=None", "the starting value is counted"),
    Fault(EvalUpdates, "eval leaves buffers", "eval mode updates running_mean, running_var"),
    Fault(EvalUsesBatch, "eval output", "eval mode uses the batch's own statistics", ("neighbors in eval",)),
    Fault(EvalForgetsAffine, "eval output", "scale and shift are forgotten"),
    Fault(EvalForgetsEps, "eval output", "eps is missing"),
    Fault(EvalReadsDeviation, "eval output", "the running variance is read as a standard deviation"),
    Fault(EvalGradientMissing, "eval gradient", "no gradient flows in eval mode"),
    Fault(EvalSlopeUndivided, "eval gradient", "the input's gradient is not that of the layer's own output"),
    Fault(FirstSamplesOnly, "large input", "statistics are those of the first 64 samples alone, from 65 samples on"),
    Fault(ManyChannelsWrong, "large input", "channels are wrong, the first of them channel 8, from 9 channels on"),
    Fault(PiecesMergedWrong, "large input", "variances of pieces of 32 samples are averaged"),
    Fault(LargeChannelsLastWrong, "large input", "right on small inputs, and in the default layout"),
    Fault(SlopeOfLargeInputWrong, "large input", "the variance is detached"),
    Fault(NotCounted, "running update", "num_batches_tracked does not count the batches"),
    Fault(Cancels, "large offset", "E[x^2] - E[x]^2"),
    Fault(CancelsWithChannelsLast, "large offset", "only with the channels last in memory: the variance is"),
    Fault(NarrowStatistics, "low precision", "statistics are computed in half precision", ("half-precision state",)),
    Fault(WideOutput, "output type", "the output is float32 for a float16 input"),
    Fault(GraphInBuffers, "no graph in buffers", "running_mean, running_var keeps the graph"),
    Fault(
        PlainAttributes,
        "buffers",
        "running_mean, running_var is a plain attribute",
        ("momentum=None", "state dict", "meta device"),
    ),
    Fault(
        TrainsOtherwiseWhenLoaded,
        "state dict",
        "another one when it is trained further: has_begun",
        ("running update",),
    ),
    Fault(FlagNotSaved, "state dict", "another output in eval mode: is_trained is not in it", ("eval output",)),
    Fault(
        Recomputes, "one update per step", "the backward pass updates running_mean, running_var, num_batches_tracked"
    ),
    Fault(NarrowState, "half-precision state", "after .half() running_var is kept in float16, and infinite"),
    Fault(NotSaved, "buffers", "is a buffer that is not saved", ("state dict",)),
    Fault(InPlace, "input untouched", "modified in place in training mode"),
    Fault(OneValueAccepted, "one value", "the output is the bias"),
    Fault(EmptyBatchSpoils, "empty batch", "spoils running_mean, running_var"),
    Fault(NotOnMeta, "meta device", "item()"),
    Fault(LaysOutAnew, "memory layout", "not contiguous", ("large input",)),
    Fault(HalfLaidOutAnew, "memory layout", "gives other values, in float16"),
    Fault(EvalLaidOutAnew, "memory layout", "gives other values, in eval mode"),
    Fault(BuffersOfAnotherLayout, "memory layout", "gives another running_mean"),
    Fault(OneSampleLaidOutAnew, "memory layout", "for a single sample"),
    Fault(EvalNarrow, "low precision", "in eval mode statistics are computed in half precision"),
    Fault(EvalWideOutput, "output type", "the output is float32 for a float16 input in eval mode"),
    Fault(LargeInputsCancel, "large far input", "right on small inputs; on large ones the variance"),
    Fault(DependsOnOrder, "order", "depends on the order", ("training output", "running update")),
]
