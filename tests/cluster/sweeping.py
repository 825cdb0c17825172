"""A sweep in a process of its own, as a user starts it, and a look at what it trains."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

WORDS = [
    *("data=digits", "data.limit=200", "model.width=8", "sweep.engine=sequential", "seed=0,1", "name=s"),
    *("train.steps=2000", "train.checkpoint_every=125", "diagnostics=none", "loggers=[]"),
]
"""Two runs of several seconds each, trained one by one: long enough to be caught in training."""

LONG = ["train.steps=1000000", "train.checkpoint_every=null"]
"""Words to add for runs that do not end by themselves."""

PATIENCE_S = 300.0
"""Four times what the longest of these sweeps took by itself on a slow machine: 77 s."""

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sweeps.md"

CUT_SHORT = """
import dataclasses
from bnlab.cli.app import main
from bnlab.config import compose
from bnlab.sweeps import plan

checked, expand_all = compose._checked, plan.expand_all

def with_few_steps(tree):
    return checked({**tree, "train": {**tree["train"], "steps": 10}, "threads": 1})

def with_few_seeds(*arguments):
    grid = expand_all(*arguments)
    configs = [config for config in grid.configs if config.seed < 8]
    return dataclasses.replace(grid, configs=configs, parts=[list(range(len(configs)))])

compose._checked, plan.expand_all = with_few_steps, with_few_seeds
main()
"""
"""`bnlab` with runs of ten steps, and eight seeds at most: a command's words are what is tested."""

started: list["subprocess.Popen[str]"] = []


def start(*words: str, **environment: str) -> "subprocess.Popen[str]":
    """Start `bnlab sweep` in the current folder, with the words that all have but for keys that are given.

    What a test leaves running is ended after it.
    """
    given = {word.partition("=")[0] for word in words}
    common = [word for word in WORDS if word.partition("=")[0] not in given]
    process = subprocess.Popen(
        [sys.executable, "-m", "bnlab.cli.app", "sweep", *common, "--json", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started.append(process)
    return process


def type_pages_line(word: str) -> "subprocess.Popen[str]":
    """Start the one command of docs/sweeps.md that has a word, as it stands there, with runs that are cut short."""
    commands = PAGE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (line,) = [line for line in commands if line.startswith("bnlab ") and word in line]
    process = subprocess.Popen(
        [sys.executable, "-c", CUT_SHORT, *shlex.split(line, comments=True)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started.append(process)
    return process


def end(process: "subprocess.Popen[str]", status: int = 0) -> list[dict[str, object]]:
    """Wait for its end, hold its exit status against what it should be, and return its results."""
    return [json.loads(line) for line in end_and_messages(process, status)[0].splitlines()]


def end_and_messages(process: "subprocess.Popen[str]", status: int) -> tuple[str, str]:
    """Wait for its end, hold its exit status against what it should be, and return what it wrote."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"not done after {PATIENCE_S:.0f} s:\n{out}\n{err}") from None
    assert process.returncode == status, f"{out}\n{err}"
    assert "Traceback" not in err, err
    return out, err


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {PATIENCE_S:.0f} s"
        time.sleep(0.1)


def wait_until_kept(seed: int) -> Path:
    """Wait until a run has a checkpoint, and is in training; return its folder."""
    wait_for(lambda: list(Path("runs/s").glob(f"*-s{seed}-*/checkpoint.pt")), f"a checkpoint of seed {seed}")
    (folder,) = Path("runs/s").glob(f"*-s{seed}-*")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    return folder


def trainer(folder: Path) -> psutil.Process:
    """Return the process that writes a run's records."""
    records = str((folder / "metrics.jsonl").absolute())
    for process in psutil.process_iter():
        try:
            if any(file.path == records for file in process.open_files()):
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"nobody trains {folder}")


def metrics(folder: Path = Path("runs/s")) -> dict[str, bytes]:
    """Return the records of all runs, as they are on disk."""
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("*/metrics.jsonl"))}


def times_resumed(folder: Path) -> int:
    """Return how often a run was taken up from a checkpoint."""
    return len(json.loads((folder / "manifest.json").read_text()).get("resumed", []))
