"""Clusters for as long as the tests need them, and what one process makes of the same sweep."""

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_cluster
import slurm_cluster
import sweeping


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The records of the sweep, trained one run after another in one process."""
    from bnlab.sweeps.execute import run_sweep  # noqa: PLC0415  (it waits for torch)

    runs = tmp_path_factory.mktemp("alone")
    run_sweep(sweeping.WORDS, runs=runs, jobs=1)
    return sweeping.metrics(runs / "s")


@pytest.fixture(autouse=True)
def _no_sweep_left() -> Iterator[None]:
    yield
    for process in sweeping.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    sweeping.started.clear()


def _folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"bnlab-{name}-"))  # short: Ray's sockets have long names of their own
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def _slurm() -> Iterator[dict[str, str]]:
    reason = slurm_cluster.what_is_missing()
    if reason is None and importlib.util.find_spec("submitit") is None:
        reason = "submitit is not installed: pip install 'bnlab[slurm]'"
    if reason is not None:
        pytest.skip(f"no Slurm cluster: {reason}")
    folder = _folder("slurm")
    try:
        with slurm_cluster.slurm_cluster(folder) as variables:
            yield variables
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def slurm(_slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm cluster of one node, found by the commands of this test."""
    for name, value in _slurm.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def _ray() -> Iterator[dict[str, str]]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no Ray cluster: ray is not installed: pip install 'bnlab[ray]'")
    folder = _folder("ray")
    try:
        with ray_cluster.ray_cluster(folder) as variables:
            yield variables
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def ray(_ray: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray cluster of one node, found by the processes of this test."""
    for name, value in _ray.items():
        monkeypatch.setenv(name, value)
