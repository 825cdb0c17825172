"""Try odd command lines, drawn from a grammar of kinds, and count what is badly answered.

    python scripts/fuzz_commands.py                      # 1,000 lines
    python scripts/fuzz_commands.py --lines 4000 --seed 1 --show

Each line runs in an empty folder of its own, in a process forked from one that has imported everything, with little
memory and time. Counted are tracebacks, hangs, folders left behind by a line that was refused, wrong exit statuses
(2 for what must be refused, 0 for what must work, 0 to 2 else), and answers of more than three lines. The exit status
is 1 if there are any.
"""

import argparse
import functools
import gc
import importlib
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bnlab.cli import app
from bnlab.config.folders import conf_folder, config_groups, config_keys

SMALL = {
    "data": "synthetic",
    "data.limit": "200",
    "train.steps": "2",
    "train.batch_size": "20",
    "model.width": "8",
    "model.depth": "1",
    "diagnostics": "none",
    "loggers": "[]",
    "accept": "[statistics_not_settled]",
}
"""Settings of a run that takes a moment, for those keys that a line does not set itself."""

STUDY = """
claim: x
looks: [3, 5]
first_seed: 0
pack: own
conditions:
  - metric: test_accuracy
    arms: [batch, none]
    above: 0.01
    where: [seed<9]
scales:
  quick:
    seeds: 3
    minutes: 1
    parts:
      main:
        words: {norm: [batch, none], data: synthetic, data.limit: 200, train.steps: 2, train.batch_size: 20,
                model.width: 8, model.depth: 1, diagnostics: none, loggers: "[]", accept: "[statistics_not_settled]"}
"""
STUDY_PLACES = [
    *["claim", "looks", "first_seed", "pack", "conditions", "metric", "arms", "above", "where", "scales", "quick"],
    *["seeds", "minutes", "parts", "main", "words"],
]

USED_BY_SOME = [
    *[
        "conformance.laws",
        "experiment.cohort_run",
        "lessons.explanation",
        "lessons.lesson_figure",
        "norms.torch_layers",
    ],
    *["pages.studies_page", "pages.sweep_page", "studies.definitions", "studies.study_search"],
    *["sweeps.backends.local", "sweeps.checked_programs", "sweeps.execute"],
]
"""Modules that take long to import."""

LIMIT_S = 40.0
MEMORY_BYTES = 24 * 2**30
"""Address space, of which torch takes many GiB that it never uses."""

LAYERS = """
import torch
from torch import nn
class Right(nn.Module):
    def __init__(self, num_channels, *, eps=1e-5):
        super().__init__()
        self.eps = eps
    def forward(self, x):
        return x / (x.square().mean(1, keepdim=True) + self.eps).sqrt()
class NoSuper(nn.Module):
    def __init__(self, num_channels): self.num_channels = num_channels
    def forward(self, x): return x
class NoArguments(nn.Module):
    def forward(self, x): return x
class TwoArguments(nn.Module):
    def __init__(self, num_channels, size): super().__init__()
    def forward(self, x): return x
class Raises(nn.Module):
    def __init__(self, num_channels): raise ValueError("no")
class Exits(nn.Module):
    def __init__(self, num_channels): raise SystemExit(3)
class Pair(Right):
    def forward(self, x): return x, x
class Nothing(Right):
    def forward(self, x): return None
class Sums(Right):
    def forward(self, x): return x.sum()
class Images(Right):
    def forward(self, x): return x[None]
class Lazy(Right):
    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.inner = nn.LazyBatchNorm1d()
    def forward(self, x): return self.inner(x)
class Plain: pass
def function(num_channels): return nn.Identity()
"""
BAD_LAYERS = [
    *["NoSuper", "NoArguments", "TwoArguments", "Raises", "Exits", "Pair", "Nothing", "Sums", "Images", "Lazy"],
    *["Plain", "function", "Missing"],
]
MODULES = {
    "ends": "import sys; print('training'); sys.exit(0)",
    "parses": "import argparse; argparse.ArgumentParser().parse_args()",
    "broken": "def (:",
    "empty": "",
    "zero": "\0",
}
BAD_FILES: dict[str, bytes] = {
    "list": b"- a\n- b\n",
    "word": b"hello\n",
    "number": b"0.1\n",
    "latin": "name: sgd\nlr: 2e-2  # f\u00fcr alle\n".encode("latin-1"),
    "binary": bytes(range(256)),
    "zeros": b"\0\0\0",
    "bracket": b"name: sgd\nlr: [0.1\n",
    "colon": b"name: sgd\nlr:0.1\n",
    "quote": b"name: 'sgd\nlr: 0.1\n",
    "tab": b"name: sgd\n\tlr: 0.1\n",
    "indent": b"name: sgd\n  lr: 0.1\n",
    "twice": b"lr: 0.1\nlr: 0.2\n",
    "recursive": b"a: &a\n  b: *a\n",
    "number key": b"1: 2\n",
    "null key": b"null: 2\n",
    "list key": b"[1, 2]: 3\n",
    "two documents": b"lr: 1\n---\nlr: 2\n",
    "tag": b"lr: !!python/object:os.system x\n",
    "deep": b"a: " + b"[" * 1500 + b"]" * 1500,
    "no default": b"defaults: [nosuch]\n",
    "itself": b"defaults: [own]\n",
    "reference": b"name: ${nope.x}\n",
    "environment": b"name: ${oc.env:NO_SUCH_VARIABLE}\n",
    "part": b"nosuch: 2e-2\n",
    "none": b"",
}
ODD_VALUES = [
    *["abc", "-1", "0", "1.5", "1e400", "nan", "inf", "-inf", "true", "null", "[]", "[1,2]", "{a:1}", "''", "'x y'"],
    *["1" + "0" * 27, "1" + "0" * 400, "99999999999999", "-99999999999999", "1e-400", "0x10", "1_000", "01", "1,5"],
    *["${nope.x}", "${oc.env:NOPE}", "???", "\u0661", "\u2212" + "1", "=", "a=b", "a b", " 1", "("],
    *["[", "{", "'", '"', "\\", "~", "#", ":", "\x1b[31m"],
    *["1,2", "range(3)", "choice()", "range(3", "interval(0,1)", "glob(*)", "nosuch(1)"],
]
ODD_NAMES = [
    *["", " ", "..", "/", "a/b", "../x", "nosuch", "BATCH", "own", "a:", ":b", "os:path", "torch.nn:Linear", "a" * 300],
]
ODD_PATHS = [
    *["/dev/zero", "/dev/null", "/", ".", "a" * 300, "/" + "a/" * 3000, "nosuch", "~nosuchuser/x", "/proc/self/mem"],
]
ODD_WORDS = [
    *["{key}", "{key}=", "{key} = 1", "{key}==1", "+{key}=1", "~{key}", "{key}.x=1", ".{key}=1", "{key}@x=1", "={key}"],
]


@dataclass(frozen=True)
class Line:
    """A command line to try.

    Attributes:
        kind: What is odd about it, for the table.
        words: The words after ``bnlab``.
        statuses: The exit statuses that are right.
        files: Files that lie in the folder, by their paths; None is a folder.
    """

    kind: str
    words: list[str]
    statuses: tuple[int, ...] = (2,)
    files: dict[str, bytes | None] = field(default_factory=dict)


def small(*words: str) -> list[str]:
    """Return words, and those of a small run for all other keys."""
    given = {word.partition("=")[0].strip().lstrip("+~") for word in words}
    return [*words, *(f"{key}={value}" for key, value in SMALL.items() if key not in given)]


@functools.cache
def _keys() -> list[str]:
    return config_keys([conf_folder()])


def _a_value(draw: random.Random) -> Line:
    key = draw.choice(_keys())
    return Line("value of a setting", ["train", *small(f"{key}={draw.choice(ODD_VALUES)}")], (0, 1, 2))


def _a_swept_value(draw: random.Random) -> Line:
    key, other = draw.sample(_keys(), 2)
    words = [f"{key}={draw.choice(ODD_VALUES)}", f"{other}={draw.choice(ODD_VALUES)}", "seed=0,1"]
    return Line("value in a sweep", ["sweep", *small(*words[: draw.randint(1, 3)]), "--dry-run"], (0, 2))


def _an_option(draw: random.Random) -> Line:
    group = draw.choice(sorted(config_groups([conf_folder()])))
    return Line("option of a group", ["train", *small(f"{group}={draw.choice(ODD_NAMES)}")])


def _a_word(draw: random.Random) -> Line:
    word = draw.choice(ODD_WORDS).format(
        key=draw.choice(["seed", "norm", "optim.lr", "data", "nosuch", "hydra.job.chdir"])
    )
    return Line("form of a word", ["train", *small(word)])


def _a_key_twice(draw: random.Random) -> Line:
    key, first, second = draw.choice([("seed", "1", "2"), ("norm", "layer", "none"), ("optim.lr", "0.1", "0.2")])
    return Line("key given twice", ["train", *small(f"{key}={first}", f"{key}={second}")])


def _an_own_file(draw: random.Random) -> Line:
    kind, content = draw.choice(list(BAD_FILES.items()))
    group = draw.choice(["optim", "model", "norm", "data", "sweep"])
    files: dict[str, bytes | None] = {f"conf/{group}/own{'_' * (group == 'norm')}.yaml": content}
    name = next(iter(files)).rpartition("/")[2].removesuffix(".yaml")
    if group == "sweep":
        return Line("own file", ["sweep", *small("sweep=own", "seed=0,1"), "--dry-run"], (2,), files)
    statuses: tuple[int, ...]
    command, statuses = draw.choice([("train", (2,)), ("sweep", (2,)), ("cfg", (2,)), ("list", (0,)), ("other", (0,))])
    if command == "list":
        return Line("own file", ["list", {"norm": "norms", "data": "data"}.get(group, "models")], statuses, files)
    if command == "other":
        return Line("own file, not used", ["train", *small()], statuses, files)
    statuses = (0, 2) if kind in {"itself", "none", "part", "reference", "environment"} else statuses
    words = small(f"{group}={name}", *(["seed=0,1"] if command == "sweep" else []))
    words = ["train", "--cfg", "job", *words] if command == "cfg" else [command, *words]
    return Line(f"own file: {command}", words, statuses, files)


def _a_taken_name(draw: random.Random) -> Line:
    name = draw.choice(["optim/sgd", "model/mlp", "norm/batch", "data/synthetic", "diagnostics/none"])
    return Line("own file, taken name", ["train", *small()], (2,), {f"conf/{name}.yaml": b"name: x\n"})


def _an_own_layer(draw: random.Random) -> Line:
    files: dict[str, bytes | None] = {"layers.py": LAYERS.encode()}
    files |= {f"{name}.py": text.encode() for name, text in MODULES.items()}
    place = draw.choice([*(f"layers:{name}" for name in BAD_LAYERS), *(f"{name}:Norm" for name in MODULES)])
    command = draw.choice(["train", "train", "sweep", "explain", "check"])
    if command in {"train", "sweep"}:
        return Line(f"own layer: {command}", [command, *small(f"norm={place}")], (2,), files)
    return Line(f"own layer: {command}", [command, place], (0, 1, 2), files)


def _an_own_option(draw: random.Random) -> Line:
    option = draw.choice(
        ["num_channels=3", "name=x", "nosuch=1", "eps=abc", "eps=[1,2]", "eps=null", "eps=1" + "0" * 27]
    )
    command = draw.choice(["train", "explain"])
    words = small("norm=layers:Right", f"norm.{option}") if command == "train" else ["layers:Right", f"norm.{option}"]
    return Line(f"option of an own layer: {command}", [command, *words], (2,), {"layers.py": LAYERS.encode()})


def _a_path(draw: random.Random) -> Line:
    path = draw.choice(ODD_PATHS)
    words = draw.choice(
        [
            ["train", *small("data=npz", f"data.path='{path}'")],
            ["train", *small("data=mnist", f"data.root='{path}'")],
            ["train", *small(), "--config-dir", path],
            ["list", "norms", "--config-dir", path],
            ["explain", "batch", "--svg", path],
        ]
    )
    known = "--config-dir" in words and path in {"/", ".", "/dev/null"}
    return Line("path", words, (0, 2) if known else (2,))


def _a_data_file(draw: random.Random) -> Line:
    content = draw.choice([b"", b"PK", b"hello", bytes(1000), b"PK\x05\x06" + bytes(18)])
    return Line("data file", ["train", *small("data=npz", "data.path=x.npz")], (2,), {"x.npz": content})


def _an_argument(draw: random.Random) -> Line:
    value = draw.choice(["-1", "0", "abc", "", "1e9", "9" * 30, "1.5"])
    options = [
        ["dashboard", "--port", draw.choice(["99999", "-1", "0", "abc", "9" * 30])],
        ["sweep", *small("seed=0,1"), "-j", draw.choice(["-1", "0", "abc", "", "1.5"]), "--dry-run"],
        ["explain", "batch", "--shape", value],
        ["check", "batch", "--like", value],
        ["check", "batch", "--only", value],
        [
            "check",
            draw.choice(["batch", "group"]),
            f"norm.{draw.choice(['nosuch', 'eps'])}={draw.choice(['-1', 'abc', '[', '{'])}",
        ],
        ["train", *small(), f"--{draw.choice(['nosuch', 'lr', 'cfg'])}=x"],
        [draw.choice(["nosuch", "--nosuch", "list nosuch"])],
    ]
    return Line("argument", draw.choice(options))


def _a_study(draw: random.Random) -> Line:
    command = draw.choice(["bad file", "odd value", "odd value", "odd value", "word", "report"])
    if command == "bad file":
        content = draw.choice(list(BAD_FILES.values()))
        return Line("study: file", ["study", "own.yaml"], (2,), {"own.yaml": content})
    if command == "odd value":
        place, value = draw.choice(STUDY_PLACES), draw.choice([*ODD_VALUES[:30], "{en: x}", "[batch, none]", "no"])
        text = STUDY.replace(f"{place}: ", f"{place}: {value} #", 1)
        words = ["study", "own.yaml", "-j", "1"]  # workers would take seconds to start, for a study that is right
        return Line("study: value", words, (0, 1, 2), {"own.yaml": text.encode()})
    if command == "word":
        odd = draw.choice([*ODD_NAMES, "seed=1", "optim.lr=1", "--scale=x", "--more-seeds=-1", "--in-minutes=x"])
        return Line("study: word", ["study", *([odd] if odd.startswith("-") else [odd, "definition"])], (2,))
    return Line("report", ["report", draw.choice([*ODD_PATHS[4:], *ODD_NAMES[2:6]])], (2,))


def _a_right_line(draw: random.Random) -> Line:
    norm = draw.choice(["batch", "layer", "none", "group", "batch_torch", "torch.nn:BatchNorm1d"])
    options = draw.choice([[], ["optim=adam"], ["seed=3"], ["optim.lr= 0.3"], ["name='a'"], ["train.steps=1_0"]])
    return Line("right line", ["train", *small(f"norm={norm}", *options)], (0, 1))


KINDS: list[Callable[[random.Random], Line]] = [
    *[_a_value, _a_value, _a_swept_value, _an_option, _a_word, _a_key_twice, _an_own_file, _an_own_file],
    *[_a_taken_name, _an_own_layer, _an_own_option, _a_path, _a_data_file, _an_argument, _a_right_line, _a_study],
]


def lines(seed: int, count: int) -> list[Line]:
    """Return lines, each kind in turn."""
    draw = random.Random(seed)
    return [KINDS[number % len(KINDS)](draw) for number in range(count)]


def faults(line: Line, status: int | None, said: str, left: set[str]) -> list[str]:
    """Return what is wrong with the answer to a line; status None: it did not end."""
    found = []
    if status is None:
        return ["hang"]
    if "Traceback (most recent call last)" in said:
        found.append("traceback")
    if status not in line.statuses:
        found.append("wrong exit status")
    if status == 2 and left:
        found.append("left behind")
    if status == 2 and len(said.splitlines()) > 3:
        found.append("more than three lines")
    return found


def run(line: Line, folder: Path) -> tuple[int | None, str, set[str]]:
    """Run a line in a forked process; return its exit status, its standard error, and the files that are new."""
    work = folder / "work"
    for name, content in {"": None, **line.files}.items():
        path = work / name
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
    before = set(work.rglob("*"))
    child = os.fork()
    if child == 0:
        _be_bnlab(line.words, work, folder)
    status, end = None, time.monotonic() + LIMIT_S
    while status is None and time.monotonic() < end:
        ended, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else None
        time.sleep(0.01)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = (folder / "said").read_text(encoding="utf-8", errors="replace")
    left = {str(path.relative_to(work)) for path in set(work.rglob("*")) - before if "__pycache__" not in path.parts}
    return status, said, left


def _be_bnlab(words: list[str], work: Path, folder: Path) -> None:
    """Be the command line in this process, and end it."""
    status = 99
    try:
        os.setsid()
        os.chdir(work)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        for stream, name in ((1, "printed"), (2, "said")):
            os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = ["bnlab", *words]
        app.main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> int:
    """Try the lines, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="Print each bad line with its answer.")
    chosen = parser.parse_args()
    for module in USED_BY_SOME:
        importlib.import_module(f"bnlab.{module}")  # else each forked process would
    gc.freeze()  # else each would look through all objects, and so copy them
    counts: Counter[str] = Counter()
    tried = lines(chosen.seed, chosen.lines)
    for line in tried:
        folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        status, said, left = run(line, folder)
        shutil.rmtree(folder, ignore_errors=True)
        for fault in (found := faults(line, status, said, left)):
            counts[fault] += 1
        if found and chosen.show:
            print(f"{', '.join(found)} ({line.kind}, status {status}): bnlab {shlex.join(line.words)}"[:400])
            print("    " + "\n    ".join(said.splitlines()[-4:])[:600], flush=True)
    print(f"lines tried: {len(tried)}, different: {len({tuple(line.words) for line in tried})}")
    for fault in ("traceback", "hang", "left behind", "wrong exit status", "more than three lines"):
        print(f"{fault}: {counts[fault]}")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
