"""The optimizer of stacked runs: torch's own, with separate settings for each run.

All parameters of a run lie in one row of one tensor, and its gradients in one row of another. So torch's fused kernels
make a step with one or two calls per run, for any number of layers, and the arithmetic is that of a run trained alone.
Neighboring rows with equal settings, such as the seeds of one arm, share a call.

Shape letters: R runs, P numbers per run, D of them with weight decay.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bnlab.schema import AdamConfig, SGDConfig
from bnlab.training.optim import optimizer_over, parameter_group

_CLIP_EPS = 1e-6
"""Added to a gradient's norm before it divides, as torch.nn.utils.clip_grad_norm_ does."""


class RowLayout:
    """The places of the parameters in a row.

    Matrices are stored transposed: a batched product returns the gradients of stacked linear maps in this order, and
    they can be copied into their row as they are.

    Args:
        shapes: Name of a parameter -> its shape, in the order of the row.

    Example:
        >>> layout = RowLayout({"weight": (2, 3), "bias": (2,)})
        >>> rows_RP = torch.arange(16.0).view(2, 8)
        >>> layout.named(rows_RP)["weight"].shape, layout.named(rows_RP[1])["bias"]
        (torch.Size([2, 2, 3]), tensor([14., 15.]))
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.row_size = sum(self.sizes)

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the parameters in rows (P,) or (R, P), by name: views of each one's shape, or (R, *shape)."""
        parts = torch.split(rows, self.sizes, dim=-1)
        return {name: _shaped(part, shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}


def _group(value: Tensor, gradient: Tensor, config: SGDConfig | AdamConfig) -> dict[str, Any]:
    leaf = value.detach().requires_grad_()  # a view of the row
    leaf.grad = gradient
    return parameter_group([leaf], config)


def _shaped(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    if not shape:
        return part.squeeze(-1)
    if len(shape) == 2:
        return part.view(*part.shape[:-1], *shape[::-1]).transpose(-1, -2)
    return part.view(*part.shape[:-1], *shape)


class RowClipping:
    """Clips the gradient of each run, in place, as torch.nn.utils.clip_grad_norm_ does.

    Args:
        limits: The largest norm of each run's whole gradient; either all are None, and nothing is clipped, or none is.
        gradients_RP: One row of gradients per run; clipped in place.
    """

    def __init__(self, limits: Sequence[float | None], gradients_RP: Tensor) -> None:
        self._gradients_RP = gradients_RP
        self._clip_R1 = None
        if limits[0] is not None:
            clip_R = torch.tensor(cast("list[float]", limits), dtype=gradients_RP.dtype, device=gradients_RP.device)
            self._clip_R1 = clip_R.unsqueeze(1)

    def __call__(self) -> None:
        """Clip the gradients that are there now."""
        if self._clip_R1 is not None:
            norm_R1 = torch.linalg.vector_norm(self._gradients_RP, dim=1, keepdim=True)
            self._gradients_RP.mul_((self._clip_R1 / (norm_R1 + _CLIP_EPS)).clamp(max=1.0))


class StackedOptimizer:
    """Steps for all rows, in place; each row's gradient is clipped before if the settings say so.

    Args:
        layout: The places of the parameters in a row; those with weight decay come first.
        num_decayed: D, the number of values at the beginning of a row that have weight decay.
        configs: The optimizer settings of each row: one kind of optimizer, and all with clipping or all without.
        values_RP: The parameters. Rows after the last config are never changed.
        gradients_RP: The gradients, which the caller fills before each step.
    """

    def __init__(
        self,
        layout: RowLayout,
        num_decayed: int,
        configs: Sequence[SGDConfig | AdamConfig],
        values_RP: Tensor,
        gradients_RP: Tensor,
    ) -> None:
        self._layout = layout
        self._gradients_RP = gradients_RP[: len(configs)]
        self._bands = _bands(configs, values_RP.is_contiguous())
        split = [num_decayed, layout.row_size - num_decayed]
        groups: list[list[dict[str, Any]]] = []
        for rows in self._bands:
            config = configs[rows.start]
            sizes = split if config.weight_decay else [layout.row_size]
            parts = zip(torch.split(values_RP[rows], sizes, 1), torch.split(gradients_RP[rows], sizes, 1), strict=True)
            decays = (config.weight_decay, 0.0)
            groups.append(
                [{**_group(*part, config), "weight_decay": wd} for part, wd in zip(parts, decays, strict=False)]
            )
        self._optimizer = optimizer_over([group for of_band in groups for group in of_band], configs[0])
        taken = iter(self._optimizer.param_groups)  # the optimizer copied the groups
        self._groups_of_bands = [[next(taken) for _ in of_band] for of_band in groups]
        self._clip = RowClipping([config.clip_norm for config in configs], self._gradients_RP)

    @torch.no_grad()
    def step(self, learning_rates: Sequence[float]) -> None:
        """Clip the gradients, and update the parameters.

        Args:
            learning_rates: The learning rate of this step for each config.
        """
        self._clip()
        for rows, groups in zip(self._bands, self._groups_of_bands, strict=True):
            for group in groups:
                group["lr"] = learning_rates[rows.start]
        self._optimizer.step()

    def _place(self, row: int) -> tuple[list[Tensor], int]:
        """Return the parameters of the band that contains a row, and the row's position in the band."""
        number = next(i for i, rows in enumerate(self._bands) if row < rows.stop)
        parameters = [group["params"][0] for group in self._groups_of_bands[number]]
        return parameters, row - self._bands[number].start

    def state(self, row: int) -> dict[str, Any]:
        """Return the optimizer's state of a row: quantity -> a number, or parameter -> tensor. They are views."""
        parameters, place = self._place(row)
        parts = [self._optimizer.state[parameter] for parameter in parameters]
        quantities: dict[str, Any] = {}
        for quantity in parts[0]:
            values = [part[quantity] for part in parts]
            if values[0].dim() == 0:
                quantities[quantity] = values[0]
            else:
                quantities[quantity] = self._layout.named(torch.cat([value[place] for value in values]))
        return quantities

    def load_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Replace the optimizer's state of a row; all rows must have made the same number of steps."""
        parameters, place = self._place(row)
        sizes = [parameter.shape[1] for parameter in parameters]
        for parameter in parameters:
            known = self._optimizer.state[parameter]
            self._optimizer.state[parameter] = {quantity: known[quantity] for quantity in state if quantity in known}
        for quantity, quantities in state.items():
            if isinstance(quantities, Tensor):
                for parameter in parameters:
                    self._optimizer.state[parameter][quantity] = quantities.clone()
                continue
            whole = self._gradients_RP.new_empty(self._layout.row_size)
            for name, target in self._layout.named(whole).items():
                target.copy_(quantities[name])
            for parameter, part in zip(parameters, torch.split(whole, sizes), strict=True):
                known = self._optimizer.state[parameter]
                if quantity not in known:
                    known[quantity] = torch.zeros_like(parameter)
                known[quantity][place] = part


def _bands(configs: Sequence[SGDConfig | AdamConfig], contiguous: bool) -> list[slice]:
    """Return the groups of neighboring rows with equal settings.

    A row with weight decay is a group of its own, and so is each where rows do not follow one another in memory.
    """
    bands: list[slice] = []
    for row, config in enumerate(configs):
        if bands and contiguous and config == configs[row - 1] and not config.weight_decay:
            bands[-1] = slice(bands[-1].start, row + 1)
        else:
            bands.append(slice(row, row + 1))
    return bands
