"""--quiet leaves the progress and the results out, and no warning."""

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from bnlab.cli.sweep_view import WarningsAlone
from bnlab.cli.train_command import TerminalObserver

Say = Callable[..., Any]

SHORT = ["data=synthetic", "train.steps=3", "model.width=8", "diagnostics=none", "loggers=[]"]
"""Settings of which a warning says that the running statistics have not settled."""


def test_a_quiet_run_tells_its_warnings(bnlab_says: Say) -> None:
    answer = bnlab_says("train", *SHORT, "--quiet")
    assert (answer.status, answer.out) == (0, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("warning: norm=batch keeps 0.9 of its running statistics at each of 3 updates")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["sweep"], ["race", "norm=batch", "norm=none"], ["train", "-m"]], ids=" ".join)
def test_so_does_a_quiet_sweep(bnlab_says: Say, words: list[str]) -> None:
    answer = bnlab_says(*words, *SHORT, "--quiet")
    assert (answer.status, answer.out) == (0, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("warning: norm=batch keeps 0.9")


def test_of_the_progress_of_a_quiet_sweep_only_troubles_are_told_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = WarningsAlone(Console())
    view.take({"steps": {"a": 3}, "of": 5})
    for run in ("a", "b"):
        view.take({"trouble": "mlflow", "reason": f"mlflow: no server answers {run}"})
    view.close()
    assert capsys.readouterr().out == "warning: mlflow: no server answers a\n"


def test_a_quiet_run_does_not_tell_where_it_resumes(capfd: pytest.CaptureFixture[str]) -> None:
    quiet = TerminalObserver(quiet=True)
    quiet.on_resumed(5)
    quiet.on_trouble("mlflow", "no server answers")
    assert capfd.readouterr().err == "warning: no server answers\n"
