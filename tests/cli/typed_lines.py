"""The command lines that pages, comments and help texts show, and what they need so that a test can type them.

What differs from a reader's own typing stands here, all of it: runs are cut to a few steps of small networks, since
some commands take minutes; words such as RUN stand for a run; and lines for a cluster are left to tests/cluster.
"""

import contextlib
import functools
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import typer
from costs import cpu_seconds
from fake_files import cifar_contents, idx_bytes, md5, write_all
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from bnlab import provenance
from bnlab.cli import dashboard_command
from bnlab.cli.app import app
from bnlab.config import compose, swept_values
from bnlab.experiment import slicing
from bnlab.loggers.tensorboard import serving
from bnlab.report import style
from bnlab.sweeps import execute, search_execution, search_plan

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *[ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "AGENTS.md")],
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if path.name not in {"data.md", "commands.md"} and not path.name.startswith("claims")
    ),
]
"""tests/data/test_data_docs.py types the lines of docs/data.md, after its Python has written the files. The pages of
claims repeat the commands of conf/study/*.yaml, whose first lines are typed as comments of conf/, and docs/commands.md
those of the help texts."""

LARGEST = {
    "train": {"steps": 5, "batch_size": 60},
    "model": {"width": 16, "depth": 10},  # studies ask for the tenth layer
    "data": {"limit": 200},
    "diagnostics": {"probe_size": 60, "population_size": 60},
}
"""Sizes that a command's runs are cut to: what is tested is that the command works, not what it measures."""

MEASURED = {"saturation", "gradient_norm", "effective_rank", "accuracy_by_statistics", "sharpness"}
"""What runs measure whose config names more than ten diagnostics: one or two of a kind, and those that lines name.

tests/cli/test_every_instrument_is_shown.py draws all.
"""

ON_A_CLUSTER = ("hydra/launcher=slurm", "hydra/launcher=submitit_slurm", "hydra/launcher=ray")
"""Beginnings of the words of commands that tests/cluster types."""

OF_EXTRAS = {
    **{f"--to {name}": name for name in ("mlflow", "wandb", "trackio")},
    **{f"loggers=[tensorboard,{name}]": name for name in ("mlflow", "wandb", "trackio")},
    "--to parquet": "pyarrow",
}
"""Words of commands that need a package of an extra; where it is not installed, they are not typed."""

NOT_LINES = {
    f"bnlab {name}"
    for name in (
        "sweep",
        "check",
        "compare",
        "explain",
        "show",
        "judge",
        "power",
        "export",
        "race",
        "report",
        "study",
        "study NAME",
        "sweep sweep=NAME",
    )
}
"""Names of commands in a sentence, which nobody is to type."""

STATUS = {
    **dict.fromkeys(("bnlab runs rm last", "bnlab runs rm my_sweep", "bnlab runs rm my_sweep --where 'lr>1'"), 2),
    "bnlab check my_layers:MaxNorm --like layer": 1,
    "bnlab check torch.nn:GroupNorm norm.num_groups=2 --like group": 1,  # findings/group-norm-channels-last.sh
}
"""The exit status of commands that find something wrong: the page says so, or a script in findings/ does. Nobody
answers here the question of those that remove runs."""

MODULE_WITH = {
    "class MaxNorm": "my_layers",
    "class LargestWeight": "my_instruments",
    "class SmallNet": "my_models",
    "def wine": "my_data",
}
"""What stands in a block of Python on a page, and the module that the page calls it. All other blocks of a page are
``page_own`` or ``page_models``, which tests run as they stand."""

OWN_LAYER = '''
from bnlab.norms.batch import BatchNorm


class MyBatchNorm(BatchNorm):
    """The layer of bnlab, as a layer of a reader's own."""
'''

OWN_DIAGNOSTIC = '''
from bnlab.diagnostics.diagnostic import Diagnostic


class MyDiagnostic(Diagnostic):
    """The largest weight of each layer."""

    name = "mine"
    unit = "weight"

    def measure(self, seen):
        return {role: weight.abs().max() for role, weight in seen.weights.items()}
'''


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code in a language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def lines_of_pages() -> list[str]:
    """Return the commands of bnlab on all pages, in their order: of the blocks, then of the running text."""
    shown, told = [], []
    for page in PAGES:
        joined = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
        shown += [line for line in joined.splitlines() if line.startswith("bnlab ")]
        told += re.findall(r"`(bnlab [a-z-][^`]*)`", page.read_text(encoding="utf-8"))
    return _each_once([*shown, *told, *(f"bnlab list {name}" for name in ("models", "data", "runs"))])


def scripts_of_pages() -> list[str]:
    """Return the scripts that the pages name, each once."""
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return sorted(set(re.findall(r"(?:scripts|\.ci)/[a-z_0-9]+(?:\.py)?(?![\w*])", texts)))


def lines_of_help() -> list[str]:
    """Return the examples in the help texts of all commands."""
    texts = [_help(command) for command in _commands(typer.main.get_command(app))]
    return _each_once(
        line for text in texts for line in re.findall(r"\[bold\](bnlab [^\[]*(?:\[[^/b][^\[]*)*)\[/\]", text)
    )


def _commands(command: Any) -> Iterable[Any]:
    yield command
    for inside in getattr(command, "commands", {}).values():
        yield from _commands(inside)


def _help(command: Any) -> str:
    return f"{command.help}\n{command.epilog or ''}"


def lines_of_comments() -> list[str]:
    """Return the commands in the comments of conf/, which stand at the end of a line."""
    found = []
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for comment in re.findall(r"#(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            found += re.findall(r"(?:^|: |\s\s+)(bnlab [a-z].*?)(?:; or .*)?$", comment)
    return _each_once(line.replace(" ...", " norm=batch,none") for line in found)


def _each_once(lines: Iterable[str]) -> list[str]:
    commands = [shlex.join(shlex.split(re.sub(r"\s+", " ", line), comments=True)) for line in lines]
    return [command for command in dict.fromkeys(commands) if command not in NOT_LINES]


def write_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write data sets in their official layouts, with few images, and let these pass for the official ones."""
    random = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        for split, number in (("train", 300), ("t10k", 100)):
            images, labels = random.integers(0, 256, (number, 28, 28), np.uint8), np.arange(number, dtype=np.uint8) % 10
            files = {f"{split}-images-idx3-ubyte": idx_bytes(images), f"{split}-labels-idx1-ubyte": idx_bytes(labels)}
            write_all(folder / name / "raw", files)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    contents = cifar_contents(names, 60)
    write_all(folder / "cifar-10-batches-py", contents)
    pairs = [[name, md5(content)] for name, content in contents.items()]
    monkeypatch.setattr(CIFAR10, "train_list", pairs[:-1])
    monkeypatch.setattr(CIFAR10, "test_list", pairs[-1:])
    hundred = cifar_contents(["train", "test"], 300, "fine_labels")
    write_all(folder / "cifar-100-python", hundred)
    pairs = [[name, md5(content)] for name, content in hundred.items()]
    monkeypatch.setattr(CIFAR100, "train_list", pairs[:1])
    monkeypatch.setattr(CIFAR100, "test_list", pairs[1:])


def cut_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be short, small and few: of several learning rates the ends, of several seeds the first three."""
    checked, values_in_order = compose._checked, swept_values._values_in_order

    def cut_short(tree: dict[str, Any]) -> Any:
        smaller = {**tree, "threads": 1}
        for section, limits in LARGEST.items():
            own = smaller[section]
            smaller[section] = {**own, **{k: min(own[k] or most, most) for k, most in limits.items() if k in own}}
        names = smaller["diagnostics"]["names"]
        smaller["diagnostics"]["names"] = [name for name in names if len(names) <= 10 or name in MEASURED]
        return checked(smaller)

    def ends(override: Any) -> list[str]:
        values = values_in_order(override)
        if override.key_or_group == "seed":  # a plan of seeds needs three; the first ones serve every look of a study
            return values[:3]
        return [values[0], values[-1]] if override.key_or_group == "optim.lr" else values

    count, open_backend, most = search_plan.count, search_execution.open_backend, {"n_trials": 6, "n_jobs": 1}
    monkeypatch.setattr(search_plan, "count", lambda sweeper, key: min(count(sweeper, key), most[key]))
    monkeypatch.setattr(search_execution, "open_backend", lambda words, jobs: open_backend(words, min(jobs, 1)))
    monkeypatch.setattr(compose, "_checked", cut_short)
    monkeypatch.setattr(swept_values, "_values_in_order", ends)
    monkeypatch.setattr(provenance, "num_physical_cores", lambda: 1)  # else each sweep starts workers
    monkeypatch.setattr(execute, "_num_jobs", lambda _: 1)  # each worker imports torch; tests/sweeps starts some
    monkeypatch.setattr(style, "DPI", 20)
    monkeypatch.setattr(slicing, "slice_2d", functools.partial(slicing.slice_2d, num_points=5))


def write_own_parts(folder: Path) -> None:
    """Write what the pages and help texts let their reader have: modules, a layer, a class, a study, pictures."""
    modules = {"my_layers": OWN_LAYER, "my_package/my_module": OWN_DIAGNOSTIC}
    for page in ("README.md", "docs/own.md", "docs/models.md"):
        for code in blocks(ROOT / page, "python"):
            name = next((name for mark, name in MODULE_WITH.items() if mark in code), f"page_{Path(page).stem}")
            modules[name] = modules.get(name, "") + code
    random = np.random.default_rng(0)
    for number in range(120):
        picture = folder / "pictures" / ("cat", "dog")[number % 2] / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (36, 40, 3), np.uint8)).save(picture)
    (study,) = blocks(ROOT / "docs" / "studies.md", "yaml")
    (folder / "my_study.yaml").write_text(study, encoding="utf-8")
    for name, code in modules.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")


def press_ctrl_c_in(process: "subprocess.Popen[str]") -> int:
    """Press Ctrl-C as soon as a command that runs until then has said something."""
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return 0 if process.returncode == 130 else process.returncode


@contextlib.contextmanager
def unserved() -> Iterator[None]:
    """Let `bnlab dashboard` do all but start a server, and Ctrl-C be pressed then.

    A process that serves takes seconds: the first line of a test starts one, and tests/cli/test_dashboard.py others.
    """
    pressed = mock.Mock(Event=mock.Mock(side_effect=KeyboardInterrupt))
    with (
        mock.patch.object(serving, "serve", return_value="http://127.0.0.1:1/"),
        mock.patch.object(dashboard_command, "threading", pressed),
    ):
        yield


def type_all(
    commands: Iterable[str], bnlab_says: Callable[..., Any], started: Callable[..., Any], runs_of: Callable[[str], str]
) -> list[tuple[str, int, str]]:
    """Type commands one after another; return those that end otherwise than the page says, with their last words.

    Args:
        commands: The commands, as they stand.
        bnlab_says: Runs a command line in this process.
        started: Starts a process; for commands that run until Ctrl-C.
        runs_of: Function from a command to the sweep of which a run stands for the word RUN.
    """
    wrong, costs, is_served = [], [], False
    for command in commands:
        if any(word in command for word in ON_A_CLUSTER) or command == "bnlab --install-completion":
            continue
        if any(word in command and not find_spec(package) for word, package in OF_EXTRAS.items()):
            continue
        typed, began = command.partition(" '>' ")[0], cpu_seconds()
        for manifest in sorted(Path("runs").glob(f"{runs_of(typed)}/*/manifest.json")):
            typed = re.sub(r"\bRUN\b", manifest.parent.name, typed, count=1)
        typed = typed.replace("runs/single/", f"runs/{runs_of(typed)}/") if "RUN" in command else typed
        is_dashboard = typed.startswith("bnlab dashboard") and not typed.endswith("--help")
        if is_dashboard and not is_served:
            status, err = press_ctrl_c_in(started(sys.executable, "-m", "bnlab.cli.app", *shlex.split(typed)[1:])), ""
            is_served = True
        else:
            with unserved() if is_dashboard else contextlib.nullcontext():
                answer = bnlab_says(*shlex.split(typed)[1:])
            status, err = 0 if is_dashboard and answer.status == 130 else answer.status, answer.err
        costs.append(f"{cpu_seconds() - began:6.1f} CPU-s  {typed}")
        if status != STATUS.get(command, 0) or "Traceback" in err:
            wrong.append((typed, status, err[-2000:]))
    print(*costs, sep="\n")  # shown where the test fails
    return wrong
