"""State of a layer that eval mode reads, but training neither reads nor moves: running statistics without an update."""

import copy

import torch
from torch import Tensor, nn

from bnlab.seeding import seeded_alike

NUM_PASSES = 50
"""Training passes after which a buffer that has not moved is taken for one that never does."""

_KNOWN = ("torch", "bnlab")
"""Packages whose layers are left out: they update what they should, or keep it on purpose."""


def find_unmoved_state(layer: nn.Module, x: Tensor) -> list[str]:
    """Return the names of the buffers that eval mode depends on, while training mode neither reads nor changes them.

    Constants such as eps, masks and the statistics of a frozen norm are none of these, since training reads them too.
    Buffers of one value are left out: some layers use such a constant in eval mode alone.

    Args:
        layer: The layer; it is copied.
        x: An input of it.
    """
    names = [
        f"{path}.{name}".removeprefix(".")
        for path, part in layer.named_modules()
        for name, buffer in part._buffers.items()
        if type(part).__module__.partition(".")[0] not in _KNOWN
        and buffer is not None
        and buffer.is_floating_point()
        and buffer.numel() > 1
    ]
    names = [name for name in names if _is_read(layer, name, x, False) and not _is_read(layer, name, x, True)]
    return _still(layer, names, x) if names else []


def _is_read(layer: nn.Module, name: str, x: Tensor, training: bool) -> bool:
    """Return whether the output depends on a buffer."""
    outputs = []
    for shift in (0.0, 0.5):
        changed = copy.deepcopy(layer).train(training)
        changed.get_buffer(name).add_(shift)
        with seeded_alike():
            outputs.append(changed(x.clone()))
    return not torch.equal(outputs[0].nan_to_num(), outputs[1].nan_to_num())


def _still(layer: nn.Module, names: list[str], x: Tensor) -> list[str]:
    """Return the buffers that many training steps leave as they are, on other inputs and with other weights each."""
    trained = copy.deepcopy(layer).train()
    before = {name: trained.get_buffer(name).clone() for name in names}
    with seeded_alike():
        for step in range(NUM_PASSES):
            with torch.enable_grad():
                y = trained(((1 + 0.1 * step) * x + 0.3 * step).requires_grad_())
                y.float().square().mean().backward()
            for parameter in trained.parameters():  # an average of weights moves with them
                parameter.data.mul_(1.01).add_(0.01)
            names = [name for name in names if torch.equal(trained.get_buffer(name), before[name])]
            if not names:
                break
    return names
