"""A Ray cluster of one node, this machine, with all that it writes in one folder."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

READY_WITHIN_S = 60.0

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
"""No key in the home folder, and nobody is told."""


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster; yield the environment variables by which its drivers find it.

    Args:
        folder: Of its own, with a short name: sockets have long ones.
    """
    options = ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=0", *options, "--block"]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env={**os.environ, **QUIET}, stdout=log, stderr=log, start_new_session=True)
    try:
        yield {"RAY_ADDRESS": _address(folder, head), **QUIET}
    finally:
        family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        head.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for process in alive:
            process.kill()
        head.wait()


def _address(folder: Path, head: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + READY_WITHIN_S
    log = folder / "head.log"
    while time.monotonic() < deadline and head.poll() is None:
        if "Ray runtime started" in log.read_text():
            return (folder / "ray_current_cluster").read_text().strip()
        time.sleep(0.2)
    raise RuntimeError(f"the cluster is not ready after {READY_WITHIN_S:.0f} s:\n{log.read_text()}")
