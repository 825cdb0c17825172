"""Command lines that people type by mistake: one to three lines, status 2, and nothing left behind."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from loaded_scripts import SCRIPTS, load_script

from bnlab.models.catalog import MODELS

fuzz = load_script("fuzz_commands")

Say = Callable[..., "Answer"]  # noqa: F821  (of conftest)
CHEAP = {"option of a group", "form of a word", "key given twice", "own file: cfg", "own file, taken name", "argument"}
FEW = [line for line in fuzz.lines(0, 300) if line.kind in CHEAP and line.words[0] in {"train", "sweep", "dashboard"}]
QUICK = ["data=synthetic", "train.steps=2", "model.width=8", "diagnostics=none", "loggers=[]"]

LAYERS = """
from torch import nn
class Forgets(nn.Module):
    def __init__(self, num_channels): self.c = num_channels
    def forward(self, x): return x
class Lazy(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.inner = nn.LazyBatchNorm1d()
    def forward(self, x): return self.inner(x)
class LazyItself(nn.LazyBatchNorm1d): pass
class ForImages(nn.Module):
    def __init__(self, num_channels): super().__init__()
    def forward(self, x): return x[None]
class Ends(nn.Module):
    def __init__(self, num_channels): raise SystemExit(3)
class EndsLater(nn.Module):
    def __init__(self, num_channels): super().__init__()
    def forward(self, x): raise SystemExit(3)
class Talks(nn.Module):
    def __init__(self, num_channels, eps=0): super().__init__()
    def forward(self, x): print("hello"); return x
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of the user's in it."""
    (tmp_path / "input_layers.py").write_text(LAYERS)
    (tmp_path / "input_script.py").write_text("import sys\nprint('training')\nsys.exit(0)\n")
    (tmp_path / "input_parser.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("input_layers", "input_script", "input_parser"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("line", FEW[:36], ids=lambda line: line.kind)
def test_an_odd_line_is_answered_in_three_lines_and_leaves_nothing(
    line: "fuzz.Line", bnlab_says: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in line.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    answer = bnlab_says(*line.words)
    left = {str(path) for path in set(tmp_path.rglob("*")) - before}
    assert fuzz.faults(line, answer.status, answer.err, left) == []


IN_ONE_PROCESS = """
import contextlib, os, sys, tempfile
import fuzz_commands as fuzz
with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), open("printed", "w") as printed:
    for words in (["train", *fuzz.small()], ["explain", "batch"], ["check", "batch", "--only", "affine"]):
        sys.argv = ["bnlab", *words]
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            with contextlib.suppress(SystemExit):
                fuzz.app.main()
statuses = []
for seed in ("0", "1", "2"):
    sys.argv = ["fuzz_commands.py", "--lines", "70", "--seed", seed, "--show"]
    statuses.append(fuzz.main())
sys.exit(max(statuses))
"""
"""The script three times over. What the first line of a process pays is paid once, before the lines are forked."""


@pytest.mark.slow
def test_hundreds_of_odd_lines_are_well_answered() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS), *sys.path])}
    command = [sys.executable, "-c", IN_ONE_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("lines tried: 70") == 3


@pytest.mark.slow_but(8)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["norm=input_layers:Forgets"], "its constructor must call super().__init__() first"),
        (["norm=torch.nn:LazyBatchNorm1d"], "norm=torch.nn:BatchNorm1d."),
        (["norm=input_layers:Lazy"], "Use BatchNorm1d in its place."),
        (["norm=input_layers:LazyItself"], "Use a class that takes the number of channels."),
        (["norm=input_layers:ForImages"], "(60, 8) went in, (1, 60, 8) came out."),
        (["norm=input_layers:Ends"], "cannot be built for 8 channels: SystemExit: 3"),
        (["norm=input_layers:EndsLater"], "ended the program (SystemExit: 3)"),
        (["norm=input_layers:Talks", "norm.num_channels=3"], "norm.num_channels is given by bnlab"),
        (["norm=input_layers:Talks", "norm.name=x"], "input_layers:Talks is the name, and no option"),
        (["norm=input_script:Norm"], "input_script ends the program. Put its script part under"),
        (["norm=input_parser:Norm"], "input_parser ends the program"),
        (["norm.eps=1" + "0" * 27], "norm.eps must be at most 1e+18, got a number of 28 digits"),
        (["norm.eps=1" + "0" * 400], "norm.eps must be at most 1e+18"),
        (
            ["model=cnn", "model.width=1000000", "model.num_stages=20", "model.depth=20"],
            "cannot be built: Storage size calculation overflowed",
        ),
        (["diagnostics=cheap", "train.steps=1000000000", "diagnostics.schedule.every=1"], "1,000,000 at most. Try"),
        (["device=cuda:99"], "device=cuda:99 is not available"),
        (["data=npz", "data.path=/dev/zero"], "no regular file"),
        (["data=npz", "data.path='~nosuchuser/x.npz'"], "there is no such user"),
        (["data=mnist", f"data.root={'a' * 300}"], "is not a folder"),
        (["--runs", "~nosuchuser/x"], "~nosuchuser"),
        (["--runs", "a" * 300], "File name too long. Give another path."),
        (["--config-dir", "a" * 300], "File name too long. Give another path."),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir=x has no effect on a run"),
        (["hydra.job.chdir=true"], "has no effect on a run"),
        (["model@x=mlp"], "takes no @"),
        (["optim.lr=${nope.x}"], "optim.lr cannot be worked out: Interpolation key 'nope.x' not found"),
    ],
)
def test_what_cannot_be_trained_is_refused(here: Path, bnlab_says: Say, words: list[str], said: str) -> None:
    before = set(here.rglob("*"))
    quick = [word for word in QUICK if not any(word.split("=")[0] == other.split("=")[0] for other in words)]
    answer = bnlab_says("train", *quick, *words)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert len(answer.err.splitlines()) <= 3
    assert set(here.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["list", "norms", "--config-dir"],
        ["list", "sweeps", "--config-dir"],
        ["explain", "batch", "--svg"],
        ["rerun", "last", "--keep"],
        ["compare", "a", "b", "--out"],
        ["report", "a", "--output"],
    ],
)
def test_a_home_folder_is_looked_up_wherever_a_place_is_given(bnlab_says: Say, words: list[str]) -> None:
    answer = bnlab_says(*words, "~nosuchuser/x")
    assert (answer.status, answer.out) == (2, "")
    assert "~nosuchuser/x: Could not determine home directory" in answer.err


@pytest.mark.parametrize("name", ["Forgets", "Lazy", "Ends"])
@pytest.mark.usefixtures("here")
def test_explain_refuses_the_same_layers(bnlab_says: Say, name: str) -> None:
    answer = bnlab_says("explain", f"input_layers:{name}")
    assert answer.status == 2
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("option", ["num_channels=3", "name=x"])
@pytest.mark.parametrize("command", ["check", "explain"])
@pytest.mark.usefixtures("here")
def test_what_bnlab_gives_to_a_layer_is_no_option(bnlab_says: Say, command: str, option: str) -> None:
    answer = bnlab_says(command, "input_layers:Talks", f"norm.{option}")
    assert answer.status == 2
    assert "is given by bnlab, and is no option. Leave it out" in answer.err


@pytest.mark.usefixtures("here")
def test_what_a_layer_prints_is_not_among_the_json(bnlab_says: Say) -> None:
    answer = bnlab_says("train", "--json", "--quiet", "norm=input_layers:Talks", *QUICK)
    assert json.loads(answer.out)["status"] == "finished"
    assert "hello" in answer.err
    assert "hello" not in bnlab_says("explain", "input_layers:Talks", "--json").out


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_nor_in_a_sweep_by_workers(bnlab_says: Say) -> None:
    words = ["norm=input_layers:Talks", "seed=0,1", "sweep.engine=sequential", *QUICK]
    answer = bnlab_says("sweep", "-j", "2", "--json", "--quiet", *words)
    assert answer.status == 0
    assert [json.loads(line)["seed"] for line in answer.out.splitlines()] == [0, 1]


@pytest.mark.slow_but(2)
@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("it's/x.npz", "data.path=it's/x.npz"),
        ("1e5", "data.path='1e5'"),
        ("a=b.npz", "data.path=a=b.npz"),
        ("${b}.npz", "data.path=\\${b}.npz"),
        ("[a].npz", "data.path=[a].npz"),
        ("\u00e9.npz", "data.path=\u00e9.npz"),
    ],
)
def test_the_cure_for_an_odd_path_works_when_typed(here: Path, bnlab_says: Say, file: str, word: str) -> None:
    images = np.random.RandomState(0).rand(60, 4)
    (here / file).parent.mkdir(exist_ok=True)
    with (here / file).open("wb") as opened:
        np.savez(opened, images=images, labels=np.arange(60) % 2)
    words = ["train", "--quiet", *QUICK[1:], "data=npz", "train.batch_size=20"]
    answer = bnlab_says(*words, word)
    if answer.status == 2:
        (cured,) = shlex.split(answer.err.partition(": ")[2].rpartition(": ")[2].rstrip().removesuffix("."))
        answer = bnlab_says(*words, cured)
    assert answer.status == 0, answer.err


@pytest.mark.parametrize(
    ("typed", "cure"),
    [
        ("seed =1", "Leave out the blanks: seed=1."),
        ("norm = layer", "Leave out the blanks: norm=layer."),
        ("seed", "without blanks around the equals sign"),
        ("=3", "Write key=value"),
        ("seed=\uff11", "of the keyboard: seed=1."),
        ("optim.lr=\u201c0.1\u201d", "of the keyboard: optim.lr=0.1."),
        ("norm=BatchNorm2d", "Did you mean batch?"),
        ("norm=LayerNorm", "Did you mean layer?"),
        ("data=CIFAR-10", "Did you mean cifar10?"),
        ("model.activation=ReLU", "Did you mean relu?"),
        ("accept=few_values", "'accept=[few_values]'"),
        ("seed='01'", "got the text '01'"),
        ("model.name=foo", f"model=foo is not known. Known: {', '.join(sorted(MODELS))}."),
        ("device=0", "device must be auto, cpu"),
    ],
)
def test_words_as_people_type_them_get_the_right_cure(bnlab_says: Say, typed: str, cure: str) -> None:
    answer = bnlab_says("train", typed)
    assert answer.status == 2
    assert cure in answer.err


@pytest.mark.parametrize(
    ("typed", "cure"),
    [
        (["model=lstm", "model.skip_padding=true"], "Try data.padding_value=0."),
        (["model=vit", "model.width=10"], "model.width must be a multiple of model.num_heads"),
        (["model=vit", "placement=after", "data=digits"], "Use placement=before and model.order="),
        (["model=vit", "model.patch=3", "data=digits"], "Nearest divisors of 8: 2, 4."),
    ],
)
def test_words_that_do_not_go_together_get_the_right_cure(bnlab_says: Say, typed: list[str], cure: str) -> None:
    answer = bnlab_says("train", *typed)
    assert answer.status == 2
    assert cure in answer.err


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_finished_run_does_not_hide_a_missing_device(bnlab_says: Say) -> None:
    assert bnlab_says("train", "--quiet", *QUICK).status == 0
    for words in (["train"], ["train", "-m"]):
        answer = bnlab_says(*words, *QUICK, "device=cuda:99")
        assert answer.status == 2
        assert "device=cuda:99 is not available" in answer.err


@pytest.mark.usefixtures("here")
def test_torchs_plain_average_is_trained(bnlab_says: Say) -> None:
    assert bnlab_says("train", "--quiet", *QUICK, "norm=batch_torch", "norm.momentum=null").status == 0


def test_doctor_says_that_the_data_folder_is_none(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_DATA", "/nonexistent")
    rows = {row["what"]: row for row in json.loads(bnlab_says("doctor", "--json").out)}
    assert not rows["BNLAB_DATA"]["ok"]
    assert "BNLAB_DATA=/nonexistent is not a folder" in rows["BNLAB_DATA"]["found"]


@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_a_port_that_is_none_is_refused(bnlab_says: Say, port: str) -> None:
    assert bnlab_says("dashboard", "--port", port).status == 2


def test_the_whole_config_can_be_printed_with_its_references_filled_in(bnlab_says: Say) -> None:
    assert "lr: 0.1" in bnlab_says("train", "--cfg", "all", "--resolve").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=range(10000000)"], "10,000,000 values, 100,000 at most"),
        (["seed=range(1000)", "optim.lr=range(1,1000)"], "runs at most, got 999,000"),
        (["optim.lr=logspace(1,10,1000000000)"], "2 to 100,000 values"),
        (["seed=0,1", "model.depth=100000"], "model.depth must be less than or equal to 10000"),
        (["seed=0,1", "threads=100000"], "threads must be less than or equal to 1024"),
        (["seed=0,1", "train.batch_size=1000000000000", "train.accumulation=7"], "Nearest divisors: 5, 8."),
        (["seed=0,1", f"train.steps={10**21}"], "got a number of 22 digits"),
        (["seed=0,1", "diagnostics.schedule.evenly=10000000000"], "must be less than or equal to 1000000"),
    ],
)
def test_a_sweep_of_numbers_out_of_range_is_refused_at_once(bnlab_says: Say, words: list[str], said: str) -> None:
    answer = bnlab_says("sweep", "--dry-run", *words)
    assert answer.status == 2
    assert said in answer.err
