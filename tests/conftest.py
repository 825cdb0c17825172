"""What all tests share: one thread, no trace of the developer's own settings, and real data if they are here."""

import os
from pathlib import Path

import pytest

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real MNIST and CIFAR-10, where a developer keeps them beside the checkout. Tests that need them skip without."""


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a folder of its own to stand in, and none of the caller's settings."""
    for name in ("BNLAB_RUNS", "BNLAB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute on one thread: with xdist there is one process per core already."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch  # noqa: PLC0415  (after the variable is set)

    torch.set_num_threads(1)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data sets are not in {REAL_DATA}")
    return REAL_DATA
