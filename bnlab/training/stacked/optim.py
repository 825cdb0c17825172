"""Optimizers of runs that are trained together: torch's own, with numbers of its own for each run.

All parameters of a run lie in one row of one tensor, and its gradients likewise, so that torch's fused kernels make a
step with one or two calls per run, whatever the number of layers: the arithmetic is that of a run made alone. Rows
beside each other that are trained alike, as those of several seeds are, share a call.

Shape letters: R replicas, P numbers per replica, D of them decayed.
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
    """Which part of a row is which parameter.

    Matrices lie transposed: that is how the gradients of a stack of linear maps come out of a batched product, so that
    they are copied into their row without being turned.

    Args:
        shapes: Parameter -> its shape, in the order of the row.

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
    leaf = value.detach().requires_grad_()  # shares its memory with the row
    leaf.grad = gradient
    return parameter_group([leaf], config)


def _shaped(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    if not shape:
        return part.squeeze(-1)
    if len(shape) == 2:
        return part.view(*part.shape[:-1], *shape[::-1]).transpose(-1, -2)
    return part.view(*part.shape[:-1], *shape)


class ReplicaOptimizer:
    """One optimizer step for each row, in place; and each row's gradient clipped before, where that is asked for.

    Args:
        layout: Of the rows; those that weight decay pulls at come first.
        num_decayed: D, how many numbers of a row weight decay pulls at; where a config has none, all are alike.
        configs: How each row is trained; all of one kind of optimizer, all with clipping or none.
        values_RP: The parameters. Rows beyond the configs are left alone.
        gradients_RP: What fills before each step.
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
        self._bands = _alike(configs)
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
        taken = iter(self._optimizer.param_groups)  # the optimizer has made copies
        self._groups_of_bands = [[next(taken) for _ in of_band] for of_band in groups]
        limits = [config.clip_norm for config in configs]
        self._clip_R1 = None
        if limits[0] is not None:
            clip_R = torch.tensor(cast("list[float]", limits), dtype=values_RP.dtype, device=values_RP.device)
            self._clip_R1 = clip_R.unsqueeze(1)

    @torch.no_grad()
    def step(self, learning_rates: Sequence[float]) -> None:
        """Clip, and make a step.

        Args:
            learning_rates: Of this step, one per config.
        """
        if self._clip_R1 is not None:
            norm_R1 = torch.linalg.vector_norm(self._gradients_RP, dim=1, keepdim=True)
            self._gradients_RP.mul_((self._clip_R1 / (norm_R1 + _CLIP_EPS)).clamp(max=1.0))
        for rows, groups in zip(self._bands, self._groups_of_bands, strict=True):
            for group in groups:
                group["lr"] = learning_rates[rows.start]
        self._optimizer.step()

    def _place(self, row: int) -> tuple[list[Tensor], int]:
        """Return the parameters of the band that a row is in, and which of the band's rows it is."""
        number = next(i for i, rows in enumerate(self._bands) if row < rows.stop)
        parameters = [group["params"][0] for group in self._groups_of_bands[number]]
        return parameters, row - self._bands[number].start

    def state(self, row: int) -> dict[str, Any]:
        """Return what the optimizer remembers of a row: quantity -> a number, or parameter -> tensor; views."""
        parameters, place = self._place(row)
        parts = [self._optimizer.state[parameter] for parameter in parameters]
        remembered: dict[str, Any] = {}
        for quantity in parts[0]:
            values = [part[quantity] for part in parts]
            if values[0].dim() == 0:
                remembered[quantity] = values[0]
            else:
                remembered[quantity] = self._layout.named(torch.cat([value[place] for value in values]))
        return remembered

    def load_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Make the optimizer remember such a state of a row; all rows have made the same number of steps."""
        parameters, place = self._place(row)
        sizes = [parameter.shape[1] for parameter in parameters]
        for parameter in parameters:
            known = self._optimizer.state[parameter]
            self._optimizer.state[parameter] = {quantity: known[quantity] for quantity in state if quantity in known}
        for quantity, remembered in state.items():
            if isinstance(remembered, Tensor):
                for parameter in parameters:
                    self._optimizer.state[parameter][quantity] = remembered.clone()
                continue
            whole = self._gradients_RP.new_empty(self._layout.row_size)
            for name, room in self._layout.named(whole).items():
                room.copy_(remembered[name])
            for parameter, part in zip(parameters, torch.split(whole, sizes), strict=True):
                rooms = self._optimizer.state[parameter]
                if quantity not in rooms:
                    rooms[quantity] = torch.zeros_like(parameter)
                rooms[quantity][place] = part


def _alike(configs: Sequence[SGDConfig | AdamConfig]) -> list[slice]:
    """Return which rows beside each other are trained alike; a decayed one is alone: its parts must be whole."""
    bands: list[slice] = []
    for row, config in enumerate(configs):
        if bands and config == configs[row - 1] and not config.weight_decay:
            bands[-1] = slice(bands[-1].start, row + 1)
        else:
            bands.append(slice(row, row + 1))
    return bands
