"""The declarations of a norm, which the rest of bnlab reads in place of asking for the norm's class."""

from collections.abc import Callable
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

Formula = Literal["batch", "group", "layer", "instance", "rms"]
Invariance = Literal["channel_shift", "channel_scale", "sample_shift", "sample_scale"]
FreeScale = Literal["rows", "whole"]
"""Which positive factors of a weight change nothing: a factor of its own for each row (unit, channel), or one factor
for the whole weight."""


class Norm(nn.Module):
    """A layer (N, C, *S) -> (N, C, *S) and its declarations.

    A layer of your own needs none of these: `build_norm` gives it the defaults below for what it does not declare.

    Attributes:
        keeps_running_statistics: Whether it has buffers that training mode updates and eval mode reads.
        subtracts_mean: Whether it subtracts a mean that would contain the bias of the linear map before it. That map
            is then built without a bias.
        mixes_samples: Whether in training mode a sample's output depends on the other samples of its batch.
        formula: The family whose formula it computes exactly in training mode; None: it has a formula of its own.
        invariances: Changes of the input that leave the training output unchanged, except for eps: adding a constant
            to a channel (``channel_shift``) or to a sample, multiplying a channel (``channel_scale``) or a sample by a
            positive constant.
        vectorizable: Whether many runs with it can be trained as one program (`torch.func.vmap`). It must update
            buffers in place and not replace them, draw random numbers from `bnlab.noise` only, take no decision by
            the values of a tensor, keep no count in Python, and let no run's values change a bit of another run's.
            Not inherited: a subclass may break these rules, so each class declares it itself.
        replaces_activation: Whether it contains a nonlinearity. A network then leaves out the activation after it.
        flat_beyond: For a norm that squashes each value, y = weight * f(argument) + bias: how far from 0 its argument
            must be for f to be flat; its method ``argument(x)`` returns the argument. None: it squashes nothing.
        momentum: Share of the old running value that is kept at each step; None: a plain average, or no running value.
        weight_parametrization: Builds the module that transforms the weight of the linear map before the norm; None:
            the weight is not transformed. The module declares ``ignores_row_scale = True`` if multiplying a row of the
            weight by a positive number changes nothing.
    """

    keeps_running_statistics: ClassVar[bool] = False
    subtracts_mean: ClassVar[bool] = False
    mixes_samples: ClassVar[bool] = False
    formula: ClassVar[Formula | None] = None
    invariances: ClassVar[frozenset[Invariance]] = frozenset()

    vectorizable: ClassVar[bool] = False
    flat_beyond: ClassVar[float | None] = None

    replaces_activation: bool = False  # of the layer, not of its class: an option may turn these two off
    momentum: float | None = None
    weight_parametrization: Callable[[], nn.Module] | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply what ``.to()``, ``.half()`` and the like do to tensors; buffers keep float32 or wider.

        In float16 a running variance is infinite above 65504, and in bfloat16 a share of 1% of the new value is rounded
        away, while the training output, from statistics in float32, looks right.
        """
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.is_floating_point() and new.itemsize < 4 <= old.itemsize:
                self._buffers[name] = old.to(new.device)
        return self

    def samples_per_statistic(self, num_samples: int, num_positions: int) -> int:  # noqa: ARG002
        """Return the number of samples in the smallest statistic of a batch, for norms that mix samples.

        Args:
            num_samples: N, the number of samples in the batch.
            num_positions: Number of positions, so of values per sample and channel.
        """
        return num_samples

    def divide_updates(self, num_updates: int) -> None:
        """Take so many updates as one: each keeps that root of the momentum, so that all together keep the momentum.

        For a norm that a recurrent cell applies at each time step. A plain average stays one.

        Args:
            num_updates: The number of updates of a pass.
        """
        if self.momentum is not None:
            self.momentum = self.momentum ** (1 / num_updates)

    def kept_per_step(self) -> float | None:
        """Return the share of the old running value that a step keeps: 1 if it never changes; None as in momentum."""
        return self.momentum


DECLARATIONS = (
    "keeps_running_statistics",
    "subtracts_mean",
    "mixes_samples",
    "formula",
    "invariances",
    "vectorizable",
    "flat_beyond",
    "replaces_activation",
    "weight_parametrization",
)
