"""The scale and the shift per channel among a layer's parameters.

Shape letters: C channels.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_CALLED = {"scale": {"weight", "gamma", "scale", "g", "gain"}, "shift": {"bias", "beta", "shift", "b"}}

SCALES = (1.5, 0.5, 2.0, -0.75)
SHIFTS = (0.25, -1.0, 0.5, 2.0)
"""Values that weight and bias are set to, repeated over the channels: all different, one negative, short to read."""


@dataclass(frozen=True)
class Affine:
    """Names of a layer's scale and shift per channel; None where it has none."""

    scale: str | None
    shift: str | None

    @property
    def names(self) -> list[str]:
        """The names of those that the layer has."""
        return [name for name in (self.scale, self.shift) if name is not None]


def set_parameters(layer: nn.Module, num_channels: int) -> None:
    """Set a new layer's scale and shift to values that differ by channel, and change other parameters a little."""
    affine = affine_of(layer, num_channels)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name in {affine.scale, affine.shift}:
                values = repeated(SCALES if name == affine.scale else SHIFTS, parameter.numel())
                parameter.copy_(values.view(parameter.shape))
            elif parameter.requires_grad and parameter.numel() == num_channels:
                parameter.add_(0.1)


@functools.lru_cache(maxsize=64)  # each new layer needs them again
def repeated(values: tuple[float, ...], count: int) -> Tensor:
    """Return ``count`` values: those given, then the same again, a little larger each time.

    The result is kept for the next call: do not write into it.
    """
    index = torch.arange(count)
    return torch.tensor(values).double()[index % len(values)] + 0.125 * (index // len(values))


def affine_of(layer: nn.Module, num_channels: int) -> Affine:
    """Return the names of scale and shift, found by their names, else by their values.

    Values are those of a new layer, 1 and 0, or those that `set_parameters` gave it: it reads as the same before and
    after.
    """
    candidates = {n: p for n, p in layer.named_parameters() if p.requires_grad and p.numel() == num_channels}
    found = {
        role: next((name for name in candidates if name.rpartition(".")[2] in names), None)
        for role, names in _CALLED.items()
    }
    for role, start, values in (("scale", 1.0, SCALES), ("shift", 0.0, SHIFTS)):
        if found[role] is not None:
            continue
        told = torch.full((num_channels,), start).double(), repeated(values, num_channels)
        unused = (
            n
            for n, p in candidates.items()
            if n not in found.values() and any(torch.equal(p.detach().double().cpu().flatten(), v) for v in told)
        )
        found[role] = next(unused, None)
    return Affine(**found)
