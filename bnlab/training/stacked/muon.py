"""Muon and AdamW for stacked runs: one product of matrices serves all runs.

Shape letters: R runs, P numbers per run, M of them in matrices that are Muon's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnlab.schema import MuonConfig
from bnlab.training.muon import config_of_rest, mixed_momentum, orthogonal, rate_factor
from bnlab.training.stacked.optim import RowClipping, RowLayout, StackedOptimizer


class StackedMuon:
    """Steps for all rows, in place, with the methods of `StackedOptimizer`.

    Args:
        layout: The places of the parameters in a row: Muon's matrices, then the others with weight decay.
        num_matrices: The number of parameters that are Muon's.
        num_decayed: The number of values at the beginning of a row that have weight decay, those of matrices included.
        configs: The settings of each row, which differ in numbers only.
        values_RP: The parameters. Rows after the last config are never changed.
        gradients_RP: The gradients, which the caller fills before each step.
    """

    def __init__(
        self,
        layout: RowLayout,
        num_matrices: int,
        num_decayed: int,
        configs: Sequence[MuonConfig],
        values_RP: Tensor,
        gradients_RP: Tensor,
    ) -> None:
        self._configs = list(configs)
        names = list(layout.shapes)
        self._matrices = RowLayout({name: layout.shapes[name] for name in names[:num_matrices]})
        M = self._matrices.row_size
        rest = RowLayout({name: layout.shapes[name] for name in names[num_matrices:]})
        self._clip = RowClipping([config.clip_norm for config in configs], gradients_RP[: len(configs)])
        self._values = self._matrices.named(values_RP[: len(configs), :M])
        self._gradients = self._matrices.named(gradients_RP[: len(configs), :M])
        self._momentums_RM = torch.zeros_like(values_RP[: len(configs), :M], memory_format=torch.contiguous_format)
        self._momentums = self._matrices.named(self._momentums_RM)
        self._rest = StackedOptimizer(
            rest, num_decayed - M, [*map(config_of_rest, configs)], values_RP[:, M:], gradients_RP[:, M:]
        )
        self._momentum_R = self._column([config.momentum for config in configs])
        self._decay_R = self._column([config.weight_decay for config in configs])

    def _column(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=self._momentums_RM.dtype, device=self._momentums_RM.device)

    @torch.no_grad()
    def step(self, learning_rates: Sequence[float]) -> None:
        """Clip the gradients, and update the parameters.

        Args:
            learning_rates: The learning rate of this step for each config.
        """
        self._clip()
        first, lr_R = self._configs[0], self._column(learning_rates)
        for name, shape in self._matrices.shapes.items():
            per_run = (-1,) + (1,) * len(shape)
            mixed = mixed_momentum(
                self._momentums[name], self._gradients[name], self._momentum_R.view(per_run), first.nesterov
            )
            update = orthogonal(mixed.flatten(2), first.ns_steps).view(mixed.shape)
            rate_R = lr_R * rate_factor(shape, first.adjust_lr)
            decayed_R = 1 - lr_R * self._decay_R
            self._values[name].mul_(decayed_R.view(per_run)).sub_(rate_R.view(per_run) * update)
        shares = [config.adamw_lr_share for config in self._configs]
        self._rest.step([rate * share for rate, share in zip(learning_rates, shares, strict=True)])

    def state(self, row: int) -> dict[str, Any]:
        """Return the optimizers' state of a row: parameter -> tensor, and that of AdamW. They are views."""
        return {"muon": self._matrices.named(self._momentums_RM[row]), "adamw": self._rest.state(row)}

    def load_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Replace the optimizers' state of a row; all rows must have made the same number of steps."""
        for name, momentum in self._matrices.named(self._momentums_RM[row]).items():
            momentum.copy_(state["muon"][name])
        self._rest.load_state(row, state["adamw"])
