"""What all tests share: one thread, none of the developer's own settings, signals, processes, real data."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["costs", "pytester"]

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real MNIST and CIFAR-10, where a developer keeps them beside the checkout. Tests that need them skip without."""

Started = Callable[..., "subprocess.Popen[str]"]


def pytest_configure() -> None:
    """Compute on one thread, and take signals as a program in the foreground does.

    With xdist there is one process per core already. A shell lets what it runs in the background ignore Ctrl-C, and all
    that is started from there inherits that: tests that press it would wait for ever.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a folder of its own to stand in, and none of the caller's settings."""
    for name in ("BNLAB_RUNS", "BNLAB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute on one thread where something has set the number of threads before OMP_NUM_THREADS was read."""
    import torch  # noqa: PLC0415  (after the variable is set)

    torch.set_num_threads(1)


@pytest.fixture
def started() -> Iterator[Started]:
    """Start processes, each in a session of its own; after the test, end them and all that they have started.

    A test calls it with the words of a command and options of `subprocess.Popen`, and gets the process. Both its
    streams are pipes of text. `os.killpg(process.pid, ...)` reaches the process and all that it has started.
    """
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str | Path, **options: Any) -> "subprocess.Popen[str]":
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([str(w) for w in words], start_new_session=True, **{**streams, **options}))
        return processes[-1]

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data sets are not in {REAL_DATA}")
    return REAL_DATA
