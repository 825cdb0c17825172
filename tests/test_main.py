"""The program from its first import on."""

import builtins
import io
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bnlab
from bnlab.__main__ import main, say_word, take_word_away, wants_a_word


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


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_word_is_said_in_a_terminal_alone_and_taken_away() -> None:
    screen, pipe = Terminal(), io.StringIO()
    assert say_word(screen)
    assert screen.getvalue() == "Starting"
    take_word_away(screen)
    assert screen.getvalue() == "Starting\r        \r"
    assert not say_word(pipe)
    assert pipe.getvalue() == ""
    assert not say_word(None)


@pytest.mark.parametrize(
    ("words", "environment", "wants"),
    [
        ("train", {}, True),
        ("demo --lang zh", {}, True),
        ("compare a b", {"TERM": "xterm"}, True),
        ("", {}, False),
        ("--help", {}, False),
        ("train --help", {}, False),
        ("train --json", {}, False),
        ("sweep norm=batch -q", {}, False),
        ("show last --quiet", {}, False),
        ("list runs", {}, False),
        ("train", {"TERM": "dumb"}, False),
        ("train", {"_BNLAB_COMPLETE": "complete_bash"}, False),
    ],
)
def test_where_it_is_wanted(words: str, environment: dict[str, str], wants: bool) -> None:
    assert wants_a_word(words.split(), environment) is wants


def test_it_is_said_before_anything_is_imported_that_takes_time() -> None:
    program = """
import sys
class Screen:
    def isatty(self): return True
    def write(self, text):
        print(repr(text), *sorted({"typer", "rich", "yaml", "pydantic", "torch"} & sys.modules.keys()), flush=True)
        raise SystemExit  # what follows is imported for nothing
    def flush(self): pass
sys.stderr, sys.argv = Screen(), ["bnlab", "train", "optim.lr=none", "--cfg", "job"]
from bnlab.__main__ import main
main()
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert said.stdout.splitlines()[0] == "'Starting'"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_trains_though_its_standard_streams_are_closed(closed: str) -> None:
    words = "train data=synthetic train.steps=3 model.width=4 diagnostics=none"
    done = subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} -m bnlab {words} {closed}"], check=False)
    assert done.returncode == 0
    assert len(list(Path("runs/single").glob("*/summary.json"))) == 1


@pytest.mark.slow
def test_a_run_goes_on_though_nobody_reads_its_progress_any_more() -> None:
    words = "train data=synthetic train.steps=40 train.eval_every=1 model.width=4 diagnostics=none"
    subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} -m bnlab {words} 2>&1 | head -1"], check=True)
    manifests = list(Path("runs/single").glob("*/manifest.json"))
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and json.loads(manifests[0].read_text(encoding="utf-8"))["status"] == "running":
        time.sleep(0.1)
    assert [json.loads(path.read_text(encoding="utf-8"))["status"] for path in manifests] == ["finished"]
