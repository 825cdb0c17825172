"""Turns one seed into separate random generators.

Every purpose has a random stream of its own, with a name. So a diagnostic that draws cannot change the order of
batches, an extra layer in one arm cannot change the initial weights of other layers, and the caller's random state does
not change.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def stream_seed(seed: int, *purpose: str) -> int:
    """Return the seed of one stream: 63 bits out of SHA-256 of the seed and the purpose.

    Args:
        seed: The seed of the run, or of the data split.
        *purpose: The name of the stream, in parts, such as ``"init", "hidden1"``.

    Example:
        >>> stream_seed(0, "order") == stream_seed(0, "order") != stream_seed(1, "order")
        True
    """
    digest = hashlib.sha256("/".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *purpose: str) -> torch.Generator:
    """Return a CPU generator for one purpose of one seed.

    It is on the CPU, so that batches and initial weights of a run do not depend on the device.

    Args:
        seed: The seed of the run, or of the data split.
        *purpose: The name of the stream, in parts, such as ``"init", "hidden1"``.
    """
    return torch.Generator().manual_seed(stream_seed(seed, *purpose))


@contextlib.contextmanager
def seeded_alike(seed: int = 0) -> Iterator[None]:
    """Let torch's, NumPy's and Python's random numbers begin at a seed, and leave the caller's alone.

    Args:
        seed: Of torch's and Python's generators; NumPy's takes its last 32 bits.
    """
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would queue work for absent devices
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)
