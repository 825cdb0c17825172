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
def computing_with(num_threads: int, noise_seed: int, device: torch.device) -> Iterator[None]:
    """Set threads, determinism and torch's random state for one run, and give the caller's back.

    The random state serves what draws while it trains: dropout, norms that add noise, somebody's own layer. Initial
    weights and batches have streams of their own.

    Args:
        num_threads: Of the CPU.
        noise_seed: Of torch's global random state.
        device: Where the model lies; its random state is set too.
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
