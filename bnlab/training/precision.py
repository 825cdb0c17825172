"""In which float type the forward pass runs."""

import contextlib

import torch


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context in which forward passes of a precision run: autocast for bfloat16, else nothing.

    Args:
        precision: ``float32`` or ``bfloat16``.
        device: Where the model lies.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
