"""How torch computes: in which float type, with how many threads, and reproducibly."""

import contextlib
from collections.abc import Iterator

import torch


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context for forward passes of a precision: autocast for bfloat16, otherwise one that does nothing.

    Args:
        precision: ``float32``, or ``bfloat16`` for autocast.
        device: The device of the model.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def computing_with(num_threads: int, noise_seed: int, device: torch.device) -> Iterator[None]:
    """Set threads, determinism and torch's random state for one run; at the end, restore the caller's.

    The random state serves layers that draw during training: dropout, norms that add noise, a user's own layer.
    Initial weights and batches have random streams of their own.

    Args:
        num_threads: The number of CPU threads that torch computes with.
        noise_seed: The seed of torch's global random state.
        device: The device of the model; the device's random state is set too.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(noise_seed)  # torch.manual_seed would move other devices' states too
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(noise_seed)
        torch.set_num_threads(num_threads)
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            cudnn.deterministic, cudnn.benchmark = before[1:]
