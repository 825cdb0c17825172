"""How numbers are computed: in which float type, by how many threads, how repeatably."""

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def computing_with(num_threads: int) -> Iterator[None]:
    """Set threads and determinism for one run, and give the caller's settings back.

    Args:
        num_threads: Of the CPU.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(num_threads)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
