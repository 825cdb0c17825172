"""By what a result was computed: versions, hardware, commit, command; for manifests and for `bnlab doctor`."""

import datetime
import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "bnlab",
    "torch",
    "torchvision",
    "numpy",
    "tensorboard",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "typer",
    "rich",
)


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that can change a result or a picture."""
    return {"python": platform.python_version(), **versions_of_distributions(PACKAGES)}


def versions_of_imports(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed packages by the names that they are imported by; unknown ones are left out."""
    wanted = set(names)
    if not wanted:
        return {}
    distributions = _distributions()
    return versions_of_distributions(one for name in wanted for one in distributions.get(name, []))


@functools.cache  # it reads all packages, which takes a second
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def versions_of_distributions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages by the names that they are installed by; ``not installed`` for a missing one."""
    return {name: _version_of(name) for name in sorted(set(names))}


@functools.cache  # what this process has imported stays, whatever is installed meanwhile; reading takes half a ms
def _version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: of a damaged file, no name at all
        return "not installed"


def hardware() -> dict[str, Any]:
    """Return facts about the machine: processor, cores, memory."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor_name(),
        "physical_cores": num_physical_cores(),
        "usable_cores": num_usable_cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
    }


def memory_bytes() -> int:
    """Return the memory of the machine, in bytes."""
    return int(psutil.virtual_memory().total)


def num_usable_cores() -> int:
    """Return the number of logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_physical_cores() -> int:
    """Return the number of physical cores that this process may use."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, num_usable_cores()))


@functools.cache
def git_state(folder: Path) -> dict[str, Any]:
    """Return commit and dirty flag of the git checkout that contains a folder; both None without a checkout.

    They are those of the first call: what changes later is not what this process has imported.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def now() -> str:
    """Return the time, in UTC, as ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


COMMAND = "BNLAB_COMMAND"
"""Name of an environment variable: in a worker, the command that its sweep was started by."""


def command() -> str:
    """Return the command line of this process, quoted for a shell; in a worker, that of its sweep."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv[0] else "python"


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
