import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bnlab.cli.app import main


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str


@pytest.fixture
def bnlab_says(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command line in this process; give its exit status and both streams."""

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
