"""What all tests share: one thread, none of the developer's own settings, signals, processes, real data."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from processes import processes_that_end, take_signals

if TYPE_CHECKING:
    import subprocess

pytest_plugins = ["costs", "pytester"]

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # no test asks how fast the machine is
settings.load_profile("repeatable")  # a test that fails for one draw in a thousand would fail in somebody else's work

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real MNIST and CIFAR-10, where a developer keeps them beside the checkout. Tests that need them skip without."""


OF_THE_SCREEN = (
    *("FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH", "GITHUB_ACTIONS"),
)
"""Variables by which rich and typer color and wrap what is printed; typer colors its help wherever the last one is set.
"""


_TRACKIO = tempfile.TemporaryDirectory(prefix="bnlab-trackio-", ignore_cleanup_errors=True)


@pytest.hookimpl(trylast=True)  # pytest's own colors, which the variables are for as well, have been chosen by then
def pytest_configure() -> None:
    """Compute on one thread, as with xdist there is one process per core; take signals, however the run was started."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    os.environ["TRACKIO_DIR"] = _TRACKIO.name  # Trackio reads it once, when it is imported
    for name in OF_THE_SCREEN:  # before a console is made
        os.environ.pop(name, None)
    take_signals()


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a folder of its own to stand in, and none of the caller's settings."""
    for name in ("BNLAB_RUNS", "BNLAB_DATA", "MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute on one thread where something has imported torch before OMP_NUM_THREADS was set."""
    import torch  # noqa: PLC0415  (after the variable is set)

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Begin each test with the same random numbers; what fixtures of a module draw depends on the tests before."""
    import torch  # noqa: PLC0415  (after the variable is set)

    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def _each_run_is_trained(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no run over from another folder: a test that trains the same run twice compares the two."""
    from bnlab.experiment import elsewhere  # noqa: PLC0415  (after the variable is set)

    if "taken_over" not in request.fixturenames:
        monkeypatch.setattr(elsewhere, "_beside", lambda sweep: [])  # noqa: ARG005


@pytest.fixture
def taken_over() -> None:
    """Take runs over from other folders, as a user's commands do."""


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a process by the words of its command; it ends with the test, and all that it has started with it."""
    with processes_that_end() as start:
        yield start


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, or a skip."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data sets are not in {REAL_DATA}")
    return REAL_DATA


@dataclass(frozen=True)
class Answer:
    """The exit status and both streams of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def bnlab_says(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command line in this process; give its exit status and both streams."""
    from bnlab.cli.app import main  # noqa: PLC0415  (many tests need no command line)

    def say(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bnlab", *words])
        capfd.readouterr()
        try:
            main()
            status = 0
        except SystemExit as ending:
            status = int(ending.code or 0)
        captured = capfd.readouterr()
        return Answer(status, captured.out, captured.err)

    return say
