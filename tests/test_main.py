"""The program from its first import on."""

import builtins
import subprocess
import sys
from typing import Any

import pytest

import bnlab
from bnlab.__main__ import main


def test_ctrl_c_while_the_command_line_is_imported_ends_it_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def pressed(name: str, *others: Any) -> Any:
        if name == "bnlab.cli.app":
            raise KeyboardInterrupt
        return usual(name, *others)

    monkeypatch.setattr(builtins, "__import__", pressed)
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 130


@pytest.mark.slow
def test_python_runs_the_package() -> None:
    said = subprocess.run([sys.executable, "-m", "bnlab", "--version"], check=True, capture_output=True, text=True)
    assert said.stdout == f"bnlab {bnlab.__version__}\n"
