"""Every command line that README shows, typed as it stands there."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_files import cifar_contents, idx_bytes, md5, write_all
from torchvision.datasets import CIFAR10

import bnlab
from bnlab.config import compose

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")

MOST_STEPS = 10
"""Steps that a command's runs are cut to: what is tested is that the command works, not what comes out of it."""

ON_A_CLUSTER = ("hydra/launcher=slurm", "hydra/launcher=ray_cluster")
"""Words of the commands that tests/cluster types."""

STATUS = {"bnlab check my_layers:MaxNorm --like layer": 1}
"""The exit status of commands that find something wrong, as README says of them."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[str]:
    """Return the commands of bnlab in README's order: of the blocks, then of the running text."""
    joined = "\n".join(blocks("sh")).replace("\\\n", " ")
    shown = [line for line in joined.splitlines() if line.startswith("bnlab ")]
    lists = [f"bnlab list {name}" for name in ("models", "data", "runs")]
    told = [re.sub(r"\s+", " ", text) for text in re.findall(r"`(bnlab [a-z-][^`]*)`", README)]
    named = {"bnlab sweep", "bnlab check"}  # a command's name in a sentence, not a line to type
    commands = [shlex.join(shlex.split(line, comments=True)) for line in (*shown, *told, *lists)]
    return [command for command in dict.fromkeys(commands) if command not in named]


def write_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write MNIST and CIFAR-10 in their official layouts, with few images, and let these pass for the official ones."""
    random = np.random.default_rng(0)
    for split, number in (("train", 300), ("t10k", 100)):
        images, labels = random.integers(0, 256, (number, 28, 28), np.uint8), np.arange(number, dtype=np.uint8) % 10
        files = {f"{split}-images-idx3-ubyte": idx_bytes(images), f"{split}-labels-idx1-ubyte": idx_bytes(labels)}
        write_all(folder / "MNIST" / "raw", files)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    contents = cifar_contents(names, 60)
    write_all(folder / "cifar-10-batches-py", contents)
    pairs = [[name, md5(content)] for name, content in contents.items()]
    monkeypatch.setattr(CIFAR10, "train_list", pairs[:-1])
    monkeypatch.setattr(CIFAR10, "test_list", pairs[-1:])


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that README tells its reader to write, data sets, and runs that are cut short."""
    write_data(tmp_path / "data", monkeypatch)
    monkeypatch.setenv("BNLAB_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path)
    for code in blocks("python"):
        name = "my_layers" if "class MaxNorm" in code else "my_instruments" if "class LargestWeight" in code else "page"
        Path(f"{name}.py").write_text(code, encoding="utf-8")
    checked = compose._checked

    def cut_short(tree: dict[str, Any]) -> Any:
        steps = min(tree["train"]["steps"] or MOST_STEPS, MOST_STEPS)
        return checked({**tree, "train": {**tree["train"], "steps": steps}, "threads": 1})

    monkeypatch.setattr(compose, "_checked", cut_short)


def press_ctrl_c_in(command: str) -> int:
    """Type a command that goes on until Ctrl-C; press it as soon as the command says something."""
    words = [sys.executable, "-m", "bnlab.cli.app", *shlex.split(command)[1:]]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  (a shell's background ignores it)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    return 0 if process.returncode == 130 else process.returncode


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_command_line_of_the_readme_does_what_it_says(bnlab_says: Callable[..., Any]) -> None:
    wrong = []
    bnlab.train(["name=my_sweep", "data=digits", "train.steps=5"])
    for command in command_lines():
        if any(word in command for word in ON_A_CLUSTER) or command == "bnlab --install-completion":
            continue
        typed, began = command, time.monotonic()
        for run in (*Path("runs/wide").glob("*-*"), *Path("runs/my_sweep").glob("batch-*")):
            typed = typed.replace("RUN", run.name, 1)
        if typed.startswith("bnlab dashboard"):
            status, err = press_ctrl_c_in(typed), ""
        else:
            answer = bnlab_says(*shlex.split(typed)[1:])
            status, err = answer.status, answer.err
        print(f"{time.monotonic() - began:6.1f} s  {typed}")  # shown where the test fails
        if status != STATUS.get(command, 0) or "Traceback" in err:
            wrong.append((typed, status, err[-2000:]))
    assert wrong == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_completion_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    assert "bnlab --install-completion" in command_lines()
    typed = f"PATH={Path(sys.executable).parent}:$PATH; bnlab --install-completion; exit $?"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["bash", "-c", typed], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "installed" in done.stdout) == (0, True), done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_the_python_of_the_readme_runs() -> None:
    exec(Path("page.py").read_text(encoding="utf-8"), {})
