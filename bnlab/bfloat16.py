"""Which devices compute with bfloat16."""

import torch


def computes_bfloat16(device: str) -> bool:
    """Return whether a device has instructions for products of bfloat16 numbers; without them, float32 is faster.

    A processor with AVX2 alone took ten times as long for a convolution in bfloat16.

    Args:
        device: A value of ``device=``: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:<number>``.
    """
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return True
    return any(has_it for name, has_it in torch.cpu.get_capabilities().items() if "bf16" in name)
