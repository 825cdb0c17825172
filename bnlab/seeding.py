"""One seed in, separate generators out.

Every purpose draws from a stream of its own, keyed by name. So a diagnostic that draws cannot move the batch
order, one arm's extra layer cannot move another layer's initial weights, and the caller's own random state is
never touched.
"""

import hashlib

import torch


def stream_seed(seed: int, *purpose: str) -> int:
    """Return the seed of one stream: 63 bits out of SHA-256 of the seed and the purpose.

    Args:
        seed: The run's (or the split's) seed.
        *purpose: What the stream is for, such as ``"init", "hidden1"``.

    Example:
        >>> stream_seed(0, "order") == stream_seed(0, "order") != stream_seed(1, "order")
        True
    """
    digest = hashlib.sha256("/".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *purpose: str) -> torch.Generator:
    """Return a CPU generator for one purpose of one seed.

    On the CPU whatever the device: then the batches and the initial weights of a run do not depend on it.

    Args:
        seed: The run's (or the split's) seed.
        *purpose: What the stream is for, such as ``"init", "hidden1"``.
    """
    return torch.Generator().manual_seed(stream_seed(seed, *purpose))
