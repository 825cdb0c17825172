"""Every command line that README shows, typed as it stands there."""

import functools
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
from costs import cpu_seconds
from fake_files import cifar_contents, idx_bytes, md5, write_all
from torchvision.datasets import CIFAR10

import bnlab
from bnlab import provenance
from bnlab.config import compose, grammar
from bnlab.experiment import slicing
from bnlab.report import style
from bnlab.sweeps import search_plan

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")

LARGEST = {
    "train": {"steps": 5, "batch_size": 60},
    "model": {"width": 16},
    "data": {"limit": 200},
    "diagnostics": {"probe_size": 60, "population_size": 60},
}
"""Sizes that a command's runs are cut to: what is tested is that the command works, not what it measures."""

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


def cut_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be short, small and few: of a list of numbers (seeds, learning rates) the first and the last."""
    checked, values_in_order = compose._checked, grammar._values_in_order

    def cut_short(tree: dict[str, Any]) -> Any:
        smaller = {**tree, "threads": 1}
        for section, limits in LARGEST.items():
            cut = {key: min(smaller[section][key] or most, most) for key, most in limits.items()}
            smaller[section] = {**smaller[section], **cut}
        return checked(smaller)

    def ends(override: Any) -> list[str]:
        values = values_in_order(override)
        return [values[0], values[-1]] if override.key_or_group in {"seed", "optim.lr"} else values

    count = search_plan.count
    monkeypatch.setattr(search_plan, "count", lambda *words: min(count(*words), 6))  # trials
    monkeypatch.setattr(compose, "_checked", cut_short)
    monkeypatch.setattr(grammar, "_values_in_order", ends)
    monkeypatch.setattr(provenance, "num_physical_cores", lambda: 1)  # else each sweep starts workers
    monkeypatch.setattr(style, "DPI", 20)
    monkeypatch.setattr(slicing, "slice_2d", functools.partial(slicing.slice_2d, num_points=5))


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that README tells its reader to write, data sets, and runs that are cut short."""
    write_data(tmp_path / "data", monkeypatch)
    monkeypatch.setenv("BNLAB_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path)
    for code in blocks("python"):
        name = "my_layers" if "class MaxNorm" in code else "my_instruments" if "class LargestWeight" in code else "page"
        Path(f"{name}.py").write_text(code, encoding="utf-8")
    cut_runs(monkeypatch)


def press_ctrl_c_in(process: "subprocess.Popen[str]") -> int:
    """Press Ctrl-C as soon as a command that runs until then has said something."""
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return 0 if process.returncode == 130 else process.returncode


@pytest.mark.slow
@pytest.mark.usefixtures("surroundings")
def test_every_command_line_of_the_readme_does_what_it_says(
    bnlab_says: Callable[..., Any], started: Callable[..., Any]
) -> None:
    wrong, costs = [], []
    bnlab.train(["name=my_sweep", "data=digits", "train.steps=5"])
    for command in command_lines():
        if any(word in command for word in ON_A_CLUSTER) or command == "bnlab --install-completion":
            continue
        typed, began = command, cpu_seconds()
        several = "sigmoid" if typed.count("RUN") > 1 else "wide"  # a figure per diagnostic, and wide has 45
        for manifest in sorted(Path("runs").glob(f"{several}/*/manifest.json")):
            typed = re.sub(r"\bRUN\b", manifest.parent.name, typed, count=1)
        if typed.startswith("bnlab dashboard"):
            status, err = press_ctrl_c_in(started(sys.executable, "-m", "bnlab.cli.app", *shlex.split(typed)[1:])), ""
        else:
            answer = bnlab_says(*shlex.split(typed)[1:])
            status, err = answer.status, answer.err
        costs.append(f"{cpu_seconds() - began:6.1f} CPU-s  {typed}")
        if status != STATUS.get(command, 0) or "Traceback" in err:
            wrong.append((typed, status, err[-2000:]))
    print(*costs, sep="\n")  # shown where the test fails
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
