"""Replaces the norms of any network by those of an arm.

Shape letters: N batch, C channels, D features of a token, S any number of other axes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from bnlab.errors import ConfigError
from bnlab.norms.norm import Norm

LINEAR_MAPS = (nn.Linear, nn.modules.conv._ConvNd)

_PER_CHANNEL = (_BatchNorm, _InstanceNorm, nn.GroupNorm, Norm)
"""Norms whose channels are axis 1 of their input."""

_PER_POSITION = (nn.LayerNorm, nn.RMSNorm)
"""Norms that take the last axes of each position by themselves."""

_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


class OnPositions(nn.Module):
    """Apply a norm to each position of its input as if positions were samples.

    nn.LayerNorm(D) on (N, T, D) normalizes each token by itself. A norm of bnlab has its channels on axis 1, and so
    gets the rows (N * T, D): `layer` computes what nn.LayerNorm did, and `batch` takes its statistics over N and T.

    Args:
        norm: The norm, for D features (or for the first of ``num_axes`` axes).
        num_axes: The number of axes that belong to one position, counted from the last.
        channels_first: Whether the features of a position lie on axis 1 and not on the last.

    Shape:
        (N, *S, D) -> (N, *S, D); with ``channels_first`` (N, D, *S) -> (N, D, *S).

    Source:
        Ours.
    """

    def __init__(self, norm: nn.Module, num_axes: int = 1, channels_first: bool = False) -> None:
        super().__init__()
        self.norm = norm
        self.num_axes = num_axes
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each position."""
        moved = x.movedim(1, -1) if self.channels_first else x
        y: Tensor = self.norm(moved.reshape(-1, *moved.shape[moved.dim() - self.num_axes :])).reshape(moved.shape)
        return y.movedim(-1, 1) if self.channels_first else y


@dataclass(frozen=True)
class Replacement:
    """A norm that was replaced.

    Attributes:
        name: The name of the module in the network.
        before: The name of the class that stood there.
        after: The layer that stands there now, as print() shows it.
        num_channels: The number of channels of both.
        carried: The names of the parameters and buffers that the new layer has from the old one.
        left: Those of the old layer that the new one has not, or not with the same meaning.
    """

    name: str
    before: str
    after: str
    num_channels: int
    carried: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        """Return the replacement as one line."""
        left = f", without its {', '.join(self.left)}" if self.left else ""
        return f"{self.name}: {self.before} -> {self.after}{left}"


def replace_norms(model: nn.Module, build_norm: Callable[[int], nn.Module]) -> list[Replacement]:
    """Replace all normalization layers of a network, in place, by those of an arm.

    Replaced are nn.BatchNorm1d to 3d, SyncBatchNorm, InstanceNorm1d to 3d, GroupNorm, LayerNorm, RMSNorm, their
    subclasses, and norms of bnlab. A layer that stands at two places is replaced by one layer at both. Where a layer
    normalized each position by itself, as LayerNorm does with tokens, the new one gets positions as rows: `layer` then
    computes what LayerNorm did, and `batch` takes its statistics over samples and positions.

    Scale and shift are carried over where both layers have one per channel, running statistics where both are averages
    over batches; into a class that is neither bnlab's nor torch's, whose ``weight`` may mean something else, nothing.
    Options such as eps and momentum are those of the new layer. Device, type and mode stay. A norm that transforms the
    weights before it (weight standardization) does so for all linear maps but the last nn.Linear.

    torch's nn.TransformerEncoderLayer has a fast path for eval mode, which reads weights of ``norm1`` and ``norm2`` and
    computes a LayerNorm whatever stands there; it is switched off where one of them is replaced.

    Args:
        model: The network; it is changed.
        build_norm: A function from the number of channels to the new layer.

    Returns:
        What was replaced, in the order of the network's modules; empty if it has no norm.

    Raises:
        ConfigError: The network is a norm itself, or has a lazy norm, whose size is not known yet; or the new norm
            does not suit a layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        >>> from bnlab.norms.catalog import build_norm
        >>> print(*replace_norms(model, lambda num_channels: build_norm("rms", num_channels)))
        1: BatchNorm1d -> RMSNorm(8, eps=1e-05), without its bias, running_mean, running_var, num_batches_tracked
    """
    if not callable(build_norm):
        raise ConfigError(
            f"build_norm must be a function from the number of channels to a layer, got {build_norm!r}. "
            'Write lambda num_channels: bnlab.norms.build_norm("layer", num_channels).'
        )
    if _is_norm(model):
        raise ConfigError(
            f"the network is a norm itself, {type(model).__name__}. Replace it by build_norm(num_channels)."
        )
    new_of: dict[nn.Module, nn.Module] = {}
    replacements: list[Replacement] = []
    for parent, name, path, old in list(_norms_in(model)):
        if old not in new_of:
            new_of[old], replacement = _replacement(old, path, build_norm)
            replacements.append(replacement)
        setattr(parent, name, new_of[old])
    if not replacements:
        return []
    leave_fast_paths(model)
    _transform_weights(model, build_norm, replacements[0].num_channels)
    return replacements


def leave_fast_paths(model: nn.Module) -> None:
    """Let torch's encoder layers call their norms in eval mode too, where these are no plain nn.LayerNorm.

    Their fast path computes a LayerNorm whatever stands there (findings/encoder-layer-ignores-norms.sh). The encoder's
    nested tensors are made for that path alone.

    Args:
        model: The network; it is changed.
    """
    for part in model.modules():
        if isinstance(part, nn.TransformerEncoderLayer) and {type(part.norm1), type(part.norm2)} != {nn.LayerNorm}:
            part.activation_relu_or_gelu = 0
    for part in model.modules():
        if isinstance(part, nn.TransformerEncoder) and not all(
            getattr(layer, "activation_relu_or_gelu", 1) for layer in part.layers
        ):
            part.use_nested_tensor = False


def num_channels_of(norm: nn.Module) -> int:
    """Return the number of channels of a norm that can be replaced: the first of the axes that it normalizes.

    Args:
        norm: A norm of torch's or bnlab's.

    Raises:
        ConfigError: It is lazy and has processed nothing yet, or does not tell.
    """
    if isinstance(norm, _PER_POSITION):
        return int(norm.normalized_shape[0])
    for attribute in ("num_features", "num_channels"):
        if isinstance(size := getattr(norm, attribute, None), int) and size > 0:
            return size
    is_lazy = isinstance(norm, LazyModuleMixin)
    sizes = {len(parameter) for parameter in norm.parameters() if not is_lazy and parameter.dim() == 1}
    if len(sizes) != 1:
        raise ConfigError(f"{type(norm).__name__} does not know its number of channels. Run a batch through it first.")
    return sizes.pop()


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, (*_PER_CHANNEL, *_PER_POSITION))


def _norms_in(parent: nn.Module, prefix: str = "") -> Iterator[tuple[nn.Module, str, str, nn.Module]]:
    """Yield each place of a norm: the module that holds it, its name there, its name in the network, and the norm."""
    for name, child in parent._modules.items():  # named_children leaves out the second place of a module
        if child is None:
            continue
        if _is_norm(child):
            yield parent, name, prefix + name, child
        else:
            yield from _norms_in(child, f"{prefix}{name}.")


def _replacement(old: nn.Module, path: str, build_norm: Callable[[int], nn.Module]) -> tuple[nn.Module, Replacement]:
    num_channels = num_channels_of(old)
    new = build_norm(num_channels)
    for like in [*old.parameters(), *old.buffers()][:1]:
        new.to(device=like.device, dtype=like.dtype if like.is_floating_point() else None)
    carried, left = _carry_over(old, new)
    replacement = Replacement(path, type(old).__name__, _shown(new), num_channels, carried, left)
    if isinstance(old, _PER_POSITION) and len(old.normalized_shape) < 3:
        new = OnPositions(new, len(old.normalized_shape), _takes_channels_first(old))
    return new.train(old.training), replacement


def _shown(norm: nn.Module) -> str:
    shown = repr(norm)
    return f"{type(norm).__name__}({num})" if "\n" in shown and (num := _size(norm)) else shown.partition("\n")[0]


def _size(norm: nn.Module) -> int | None:
    return next((len(parameter) for parameter in norm.parameters() if parameter.dim() == 1), None)


def _takes_channels_first(old: Any) -> bool:
    """Return whether a LayerNorm of somebody's has its features on axis 1, as torchvision's LayerNorm2d.

    Its class may move axes in any way: an input with different sizes on all axes shows which one it takes.
    """
    if len(old.normalized_shape) != 1 or type(old) in _PER_POSITION:
        return False
    size = old.normalized_shape[0]
    num, height, width = [other for other in range(2, 6) if other != size][:3]
    like = next(old.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            old(torch.zeros(num, size, height, width, dtype=like.dtype, device=like.device))
    except Exception:  # its class may raise anything for a shape that it does not take
        return False
    return True


@torch.no_grad()
def _carry_over(old: nn.Module, new: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what means the same in both layers; return the names of what was carried over, and of what was not."""
    theirs = {**dict(old.named_parameters()), **dict(old.named_buffers())}
    ours = {**dict(new.named_parameters()), **dict(new.named_buffers())}
    is_known = type(new).__module__.partition(".")[0] in {"bnlab", "torch"}
    both_average = getattr(new, "formula", None) == "batch" or isinstance(new, _BatchNorm)
    both_average &= isinstance(old, _BatchNorm) or getattr(old, "formula", None) == "batch"
    carried = []
    for name, value in theirs.items():
        wanted = ours.get(name)
        if wanted is None or not is_known or not (name in {"weight", "bias"} or (name in _RUNNING and both_average)):
            continue
        if (per_channel := _per_channel(value, wanted)) is None:
            continue
        if not wanted.is_meta:
            wanted.copy_(per_channel)
        wanted.requires_grad_(value.requires_grad)
        carried.append(name)
    return tuple(carried), tuple(name for name in theirs if name not in carried)


def _per_channel(value: Tensor, wanted: Tensor) -> Tensor | None:
    """Return a value per channel in the wanted shape; None where it differs between positions."""
    if value.shape == wanted.shape:
        return value
    if value.dim() < 2 or wanted.shape != value.shape[:1]:
        return None
    rows = value.flatten(1)
    return rows[:, 0] if value.is_meta or bool((rows == rows[:, :1]).all()) else None


def _transform_weights(model: nn.Module, build_norm: Callable[[int], nn.Module], num_channels: int) -> None:
    """Let the weights of linear maps go through the norm's ``weight_parametrization``, if it declares one."""
    if getattr(build_norm(num_channels), "weight_parametrization", None) is None:
        return
    maps = [part for part in model.modules() if isinstance(part, LINEAR_MAPS)]
    last = next((part for part in reversed(maps) if isinstance(part, nn.Linear)), None)
    for part in maps:
        if part is last or is_parametrized(part, "weight") or getattr(part, "transposed", False):
            continue
        transform = build_norm(len(part.weight)).weight_parametrization()  # type: ignore[operator]
        register_parametrization(part, "weight", transform.to(device=part.weight.device))
