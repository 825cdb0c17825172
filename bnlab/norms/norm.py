"""What every norm says of itself, so that nobody who holds one has to ask for its class."""

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import nn

Formula = Literal["batch", "group", "layer", "instance", "rms"]
Invariance = Literal["channel_shift", "channel_scale", "sample_shift", "sample_scale"]
FreeScale = Literal["rows", "whole"]
"""What of a weight can be multiplied by a positive number to no effect: each row (unit, channel) by one of its own, or
all rows by the same."""


class Norm(nn.Module):
    """A layer (N, C, *S) -> (N, C, *S) and its declarations.

    A layer of your own needs none of this: what it does not declare has the value that stands here (`build_norm` sees
    to it).

    Attributes:
        keeps_running_statistics: Has buffers that training mode moves and eval mode reads.
        subtracts_mean: Takes a mean away that a bias of the linear map before it would be part of, so that map goes
            without.
        mixes_samples: In training mode a sample's output depends on the other samples of its batch.
        formula: In training mode it computes this family's formula, to the letter; None: one of its own.
        invariances: What leaves its training-mode output unchanged, but for eps: adding a constant to
            a channel (``channel_shift``) or to a sample, multiplying a channel (``channel_scale``) or a sample by a
            positive constant.
        vectorizable: Many runs with it can be trained as one program (`torch.func.vmap`): it moves buffers in place and
            puts no others in their place, draws from `bnlab.noise` alone, decides nothing by the values of a tensor,
            keeps no count in Python, and what one run's values are changes no bit of another's. Not inherited: a
            subclass may do anything, and says so itself.
        replaces_activation: Brings a nonlinearity of its own: where it stands before the activation, that is left out.
        momentum: Share of the old running value that is kept at each step; None: a plain average, or there is none.
        weight_parametrization: Builds what the weight of the linear map before it goes through, or None. That module
            says ``ignores_row_scale = True`` if multiplying a row of its input by a positive number changes nothing.
    """

    keeps_running_statistics: ClassVar[bool] = False
    subtracts_mean: ClassVar[bool] = False
    mixes_samples: ClassVar[bool] = False
    formula: ClassVar[Formula | None] = None
    invariances: ClassVar[frozenset[Invariance]] = frozenset()

    vectorizable: ClassVar[bool] = False

    replaces_activation: bool = False  # of the layer, not of its class: an option may turn these two off
    momentum: float | None = None
    weight_parametrization: Callable[[], nn.Module] | None = None

    def samples_per_statistic(self, num_samples: int, num_positions: int) -> int:  # noqa: ARG002
        """Return how many samples of a batch the smallest of its statistics sees, where samples are mixed.

        Args:
            num_samples: N.
            num_positions: Values per sample and channel.
        """
        return num_samples

    def kept_per_step(self) -> float | None:
        """Return the share of the old running value that a step keeps: 1 where it never moves; None as in momentum."""
        return self.momentum


DECLARATIONS = (
    "keeps_running_statistics",
    "subtracts_mean",
    "mixes_samples",
    "formula",
    "invariances",
    "vectorizable",
    "replaces_activation",
    "weight_parametrization",
)
