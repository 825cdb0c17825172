"""Training mode against eval mode: running statistics, one sample alone, another batch.

Shape letters: N batch, C channels, S any number of spatial axes (none, L, HW, DHW).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.lessons.example import Story
from bnlab.lessons.formulas import NORMAL_SPREAD
from bnlab.lessons.sharing import Sharing, gradient, run_layer

MANY_BATCHES = 50
"""After this many batches of which each keeps 0.9, 0.5% of the initial value is left."""


@dataclass(frozen=True)
class RunningStatistic:
    """One running statistic of the first channel through one training step.

    Attributes:
        name: Name of the buffer.
        before: The value of a new layer.
        after: The value after the training step.
        what: The statistic of the batch that the buffer averages, such as ``biased variance``; None if it is not known.
        batch: The value of that statistic in the batch; None like ``what``.
        kept: Share of the old value that is kept, computed from the values; None like ``what``.
    """

    name: str
    before: float
    after: float
    what: str | None
    batch: float | None
    kept: float | None


@dataclass(frozen=True)
class Alone:
    """The first sample of the batch by itself, in training mode.

    Attributes:
        num_values: Number of values that the first statistic then has.
        gap: Largest difference from the sample's output in the batch; None if the layer refuses one sample.
        refusal: The layer's error message; None if it accepts one sample.
    """

    num_values: int
    gap: float | None
    refusal: str | None


@dataclass(frozen=True)
class Disguise:
    """A scale and a shift that undo the normalization: weight = sqrt(var + eps), bias = mean.

    Attributes:
        weight: The scale of the first channel.
        bias: The shift of the first channel.
        batch_gap: Largest |y - x| on the batch that the statistics come from.
        doubled_gap: Largest |y - 2x| on a batch of twice the values.
        gradient_gap: Largest |dx - g| on the first batch; 0 for an identity.
    """

    weight: float
    bias: float
    batch_gap: float
    doubled_gap: float
    gradient_gap: float


@dataclass(frozen=True)
class Modes:
    """How training and eval mode differ.

    Attributes:
        running: The running statistics of the first channel that training changes.
        y_eval: Output of eval mode for the first value, after one training step on this batch.
        y_train: Output of training mode for the first value.
        gap: Largest difference between the two outputs, over all values.
        left: Share of the initial value that is left in the running statistics after `MANY_BATCHES`; None if unknown.
        alone: The first sample by itself.
        disguise: The scale and shift that undo the norm; None if the statistics are not one per channel, or the layer
            lacks a scale or a shift.
        random: Whether training mode draws random numbers.
    """

    running: tuple[RunningStatistic, ...]
    y_eval: float
    y_train: float
    gap: float
    left: float | None
    alone: Alone
    disguise: Disguise | None
    random: bool


def compare_modes(layer: nn.Module, x_NCS: Tensor, g_NCS: Tensor, sharing: Sharing, story: Story | None) -> Modes:
    """Compare a norm's two modes.

    Args:
        layer: The norm in float64; it is not changed.
        x_NCS: The batch, in float64.
        g_NCS: The gradient of the output, in the shape of the batch.
        sharing: The sharing of statistics in this layer at this shape, from `find_sharing`.
        story: The formula that fits the layer; None if no known formula does.
    """
    trained = copy.deepcopy(layer)
    with torch.no_grad():
        y_train = run_layer(trained, x_NCS)
        y_eval = run_layer(trained, x_NCS, training=False)
        again = run_layer(copy.deepcopy(layer), x_NCS, seed=1)
    running = tuple(_running_statistics(layer, x_NCS))
    kept = [statistic.kept for statistic in running if statistic.kept is not None]
    first = (0,) * x_NCS.dim()
    return Modes(
        running=running,
        y_eval=float(y_eval[first]),
        y_train=float(y_train[first]),
        gap=float((y_train - y_eval).abs().max()),
        left=kept[0] ** MANY_BATCHES if kept else None,
        alone=_alone(layer, x_NCS, y_train, sharing),
        disguise=_disguise(layer, x_NCS, g_NCS, sharing, story),
        random=bool((again != y_train).any()),
    )


def _running_statistics(layer: nn.Module, x_NCS: Tensor) -> Iterator[RunningStatistic]:
    """Find the statistic that each buffer of one value per channel averages, and the share of the old value it keeps.

    Two batches from the same initial value give two equations per channel, so that no wrong statistic fits by chance.
    """
    other_NCS = 1.5 * x_NCS.flip(0) ** 2 / (1 + x_NCS.abs()) - x_NCS  # any other values would do
    after = []
    for batch_NCS in (x_NCS, other_NCS):
        moved = copy.deepcopy(layer)
        with torch.no_grad():
            run_layer(moved, batch_NCS)
        after.append(dict(moved.named_buffers()))
    guesses = [_batch_statistics(batch_NCS) for batch_NCS in (x_NCS, other_NCS)]
    for name, start in layer.named_buffers():
        if not start.is_floating_point() or start.numel() != x_NCS.shape[1]:
            continue
        begun = start.flatten().repeat(2)
        ended = torch.cat([buffers[name].flatten() for buffers in after])
        if torch.equal(begun, ended):
            continue
        shares = {what: _share_kept(begun, torch.cat([found[what] for found in guesses]), ended) for what in guesses[0]}
        what = next((what for what, share in shares.items() if share is not None), None)
        yield RunningStatistic(
            name=name,
            before=float(begun[0]),
            after=float(ended[0]),
            what=what,
            batch=float(guesses[0][what][0]) if what else None,
            kept=shares[what] if what else None,
        )


def _batch_statistics(x_NCS: Tensor) -> dict[str, Tensor]:
    values = x_NCS.transpose(0, 1).flatten(1)
    biased = values.var(1, correction=0)
    many = max(values.shape[1], 2)
    return {
        "mean": values.mean(1),
        "biased variance": biased,
        "unbiased variance": biased * many / (many - 1),
        "mean square": values.square().mean(1),
        "standard deviation": biased.sqrt(),
        "deviation": NORMAL_SPREAD * (values - values.mean(1, keepdim=True)).abs().mean(1),
    }


def _share_kept(before: Tensor, batch: Tensor, after: Tensor) -> float | None:
    """Return the k for which after = k before + (1 - k) batch, or None."""
    way, done = before - batch, after - batch
    if not way.square().sum() > 0:
        return None
    kept = float((way * done).sum() / way.square().sum())
    close = torch.allclose(kept * before + (1 - kept) * batch, after, rtol=1e-6, atol=1e-6)
    return round(kept, 6) if close and -1e-6 <= kept <= 1 + 1e-6 else None


def _alone(layer: nn.Module, x_NCS: Tensor, y_NCS: Tensor, sharing: Sharing) -> Alone:
    num_values = sharing.num_values // sharing.axes[0].shared if sharing.partition else sharing.num_values
    try:
        with torch.no_grad():
            y_alone = run_layer(copy.deepcopy(layer), x_NCS[:1])
    except ConfigError as error:
        return Alone(num_values, None, str(error.__cause__ or error).split(":")[0].split(". ")[0])
    return Alone(num_values, float((y_alone - y_NCS[:1]).abs().max()), None)


def _disguise(layer: nn.Module, x_NCS: Tensor, g_NCS: Tensor, sharing: Sharing, story: Story | None) -> Disguise | None:
    """Set the scale and the shift that undo the norm according to the article, and measure the difference from x."""
    one_per_channel = [axis.shared == (1 if axis.letter == "C" else axis.size) for axis in sharing.axes]
    if story is None or story.name != "standardize" or not (sharing.partition and all(one_per_channel)):
        return None
    disguised = copy.deepcopy(layer)
    found = _batch_statistics(x_NCS)
    choice = {"weight": (found["biased variance"] + story.eps).sqrt(), "bias": found["mean"]}
    with torch.no_grad():
        for name, values in choice.items():
            parameter = getattr(disguised, name, None)
            if not (isinstance(parameter, nn.Parameter) and parameter.shape == values.shape):
                return None
            parameter.copy_(values)
    inputs = x_NCS.clone().requires_grad_()
    y = run_layer(disguised, inputs)
    dx = gradient(y, inputs, g_NCS)
    with torch.no_grad():
        y_doubled = run_layer(disguised, 2 * x_NCS)
    return Disguise(
        weight=float(choice["weight"][0]),
        bias=float(choice["bias"][0]),
        batch_gap=float((y.detach() - x_NCS).abs().max()),
        doubled_gap=float((y_doubled - 2 * x_NCS).abs().max()),
        gradient_gap=float((dx - g_NCS).abs().max()),
    )
