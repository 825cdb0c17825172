"""The processes that share one run, as `torchrun` or a scheduler starts them. No torch.

Each of them has RANK, WORLD_SIZE and MASTER_ADDR in its environment, as torch.distributed reads them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bnlab.errors import ConfigError


@dataclass(frozen=True)
class World:
    """The processes that share a run, seen from one of them.

    Attributes:
        rank: The number of this process, from 0. Process 0 records the run.
        size: The number of processes.
        local_rank: The number of this process among those of its machine, from 0: the number of its GPU.
        local_size: The number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process records the run."""
        return self.rank == 0


def find_world() -> World:
    """Return the processes that share a run with this one; a process that was started by itself is alone.

    Raises:
        ConfigError: The environment says that there are several, and not which of them this is.
    """
    given = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")}
    if not all(given.values()) or given["WORLD_SIZE"] == "1":
        return World()
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except ValueError as error:
        raise ConfigError(
            "RANK and WORLD_SIZE in the environment must be whole numbers, as torchrun sets them, got "
            f"RANK={given['RANK']} WORLD_SIZE={given['WORLD_SIZE']}. Unset both to train in one process."
        ) from error
    if not 0 <= rank < size:
        raise ConfigError(
            f"RANK in the environment must be from 0 to WORLD_SIZE - 1, got RANK={rank} WORLD_SIZE={size}. Unset both "
            "to train in one process."
        )
    return World(rank, size, *local)


def with_processes(words: Sequence[str]) -> list[str]:
    """Return words of a config with the number of processes that were started, unless the words say a number.

    Args:
        words: Words of the config, such as ``norm=layer``.

    Example:
        >>> with_processes(["norm=layer"])
        ['norm=layer']
    """
    size = find_world().size
    says = any(word.lstrip("+").startswith("train.processes=") for word in words)
    return [*words, *([f"train.processes={size}"] if size > 1 and not says else [])]


def refuse_to_share(what: str) -> None:
    """Raise if several processes were started to share this: only one run can be shared.

    Args:
        what: What cannot be shared, such as ``a sweep``.

    Raises:
        ConfigError: There are several.
    """
    if find_world().size > 1:
        raise ConfigError(
            f"{what} is not for torchrun, which shares one run between processes: each of them would train every "
            "run. Start it without torchrun; it uses all cores by itself."
        )
