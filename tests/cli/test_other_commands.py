import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from bnlab.cli.app import app, main
from bnlab.cli.complete import complete_override, complete_run
from bnlab.norms.names import NORMS

Say = Callable[..., Any]


@pytest.mark.parametrize("group", ["norms", "models", "data"])
def test_list_says_what_there_is_in_three_forms(bnlab_says: Say, group: str) -> None:
    rows = json.loads(bnlab_says("list", group, "--json").out)
    table = bnlab_says("list", group).out
    lines = list(csv.DictReader(io.StringIO(bnlab_says("list", group, "--csv").out)))
    assert [row["name"] for row in rows] == [line["name"] for line in lines]
    assert all(row["name"] in table and row["description"] for row in rows)


@pytest.mark.slow
def test_list_runs_shows_status_and_figures(bnlab_says: Say) -> None:
    assert bnlab_says("list", "runs").status == 0
    bnlab_says("train", "-m", "-q", "data=synthetic", "train.steps=20", "seed=0,1", "name=s")
    bnlab_says("train", "-q", "data=synthetic", "train.steps=40", "norm=none", "optim.lr=1e5")
    rows = json.loads(bnlab_says("list", "runs", "--json").out)
    assert [(row["sweep"], row["seed"], row["status"]) for row in rows] == [
        *[("s", 0, "finished"), ("s", 1, "finished"), (None, 0, "diverged")]
    ]
    assert rows[0]["train.steps"] == 20
    assert "diverged at" in bnlab_says("list", "runs").out
    only = list(csv.DictReader(io.StringIO(bnlab_says("list", "runs", "runs/s", "--csv").out)))
    assert len(only) == 2
    assert bnlab_says("list", "runs", "nowhere").status == 2


def test_doctor_finds_nothing_wrong_here(bnlab_says: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = bnlab_says("doctor")
    assert answer.status == 0
    assert "Nothing is wrong" in answer.out
    (tmp_path / "file").touch()
    monkeypatch.setenv("BNLAB_RUNS", str(tmp_path / "file" / "runs"))
    rows = {row["what"]: row for row in json.loads(bnlab_says("doctor", "--json").out)}
    assert rows["data=mnist_5k"]["ok"]
    assert not rows["runs"]["ok"]


def test_doctor_says_that_there_is_no_home_folder(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: "~/.cache/bnlab")
    rows = {row["what"]: row for row in json.loads(bnlab_says("doctor", "--json").out)}
    assert rows["downloads"]["advice"] == "export XDG_CACHE_HOME=DIR"
    assert rows["data=mnist"]["found"] == "not on this machine yet"


def test_help_shows_an_example_for_every_command(bnlab_says: Say) -> None:
    for words in (
        ["demo"],
        ["train"],
        ["race"],
        ["dashboard"],
        ["doctor"],
        ["list", "norms"],
        ["list", "models"],
        ["list", "data"],
        ["list", "runs"],
        ["list", "diagnostics"],
        ["show"],
        ["compare"],
        ["judge"],
        ["power"],
        ["tunability"],
        ["report"],
    ):
        answer = bnlab_says(*words, "--help")
        assert answer.status == 0
        assert "bnlab " in answer.out.replace(f"Usage: bnlab {' '.join(words)}", "")


LISTS = [
    *(["--help"], ["report", "--help"], ["train", "--help"], ["show", "--help"], ["compare", "--help"]),
    *(["demo", "--help"], ["race", "--help"]),
    *(["judge", "--help"], ["list", "norms"], ["list", "data"], ["list", "runs"], ["list", "diagnostics"]),
]

AFTER_EACH = """
import contextlib, json, sys
from bnlab.cli.app import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["bnlab", *words]
    with contextlib.suppress(SystemExit):
        main()
    print("after", *words, *sorted({"torch", "pandas", "hydra", "tensorboard", "sklearn"} & {*sys.modules}))
"""
"""Runs commands one after another; after each, says which of the large libraries have been imported."""


@pytest.mark.parametrize("commands", [LISTS[:1], pytest.param(LISTS, marks=pytest.mark.slow)], ids=["one", "all"])
def test_help_and_list_do_not_wait_for_torch(commands: list[list[str]]) -> None:
    typed = [sys.executable, "-c", AFTER_EACH, json.dumps(commands)]
    done = subprocess.run(typed, capture_output=True, text=True, check=True)
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("after ")]
    assert said == commands


@pytest.mark.slow
def test_a_finished_run_is_shown_without_waiting_for_torch(bnlab_says: Say) -> None:
    words = ["train", "data=synthetic", "train.steps=20"]
    bnlab_says(*words)
    program = f"import sys; sys.argv = ['bnlab', *{words!r}]\nfrom bnlab.cli.app import main\n"
    program += "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
@pytest.mark.parametrize("optim", ["sgd", "adamw", "muon"])
def test_training_does_not_wait_for_the_compiler_of_torch(optim: str) -> None:
    words = ["train", "--quiet", "data=synthetic", "train.steps=2", f"optim={optim}"]
    program = f"import sys; sys.argv = ['bnlab', *{words!r}]\nfrom bnlab.cli.app import main\n"
    program += "try:\n    main()\nfinally:\n    print(*sorted({'torch._dynamo', 'sympy', 'pandas'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def num_records(place: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in place.glob("runs/single/*/metrics.jsonl"))


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_130_and_keeps_its_records(tmp_path: Path, started: Callable[..., Any]) -> None:
    process = started(sys.executable, "-m", "bnlab.cli.app", "train", "data=synthetic", "train.steps=1000000")
    while num_records(tmp_path) <= 3 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    (folder,) = tmp_path.glob("runs/single/*-*")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) > 3


def completions(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What bash would offer; it splits a word at its equals sign."""
    pieces = [piece for word in words for piece in re.split("(=)", word) if piece]
    if words[-1] == "":
        pieces.append("")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["bnlab", "train", *pieces]))
    monkeypatch.setenv("COMP_CWORD", str(len(pieces) + 1))
    monkeypatch.setenv("_BNLAB_COMPLETE", "complete_bash")
    monkeypatch.setattr(sys, "argv", ["bnlab"])
    with pytest.raises(SystemExit):
        main()
    return capfd.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["norm=ba"], sorted(name for name in NORMS if name.startswith("ba"))),
        (["seed=1", "norm="], sorted(NORMS)),
        (["norm=batch,no"], ["batch,none"]),
        (["optim.l"], ["optim.lr="]),
        (["model.activation=s"], ["sigmoid", "silu"]),
        (["norm=batch", "placement="], ["before", "after", "input"]),
        (["train.precision=b"], ["bfloat16"]),
        (["data.flip=t"], ["true"]),
        (["data.limit="], []),
        (["norm=batch", "dia"], [f"diagnostics{rest}" for rest in ("=", ".heavy_schedule.at=")]),
    ],
)
def test_bash_completes_overrides_as_far_as_they_are_known(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    got = completions(monkeypatch, capfd, *words)
    assert got[: len(expected)] == expected
    assert bool(got) == bool(expected)


def test_zsh_and_fish_get_whole_words() -> None:
    context = typer.Context(typer.main.get_command(app))
    assert complete_override(context, "norm=batch_t") == ["norm=batch_torch"]
    assert complete_override(context, "norm=batch,no") == ["norm=batch,none"]


def test_the_names_of_runs_and_sweeps_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_RUNS", str(tmp_path))
    for name in ("batch-1", "none-1"):
        (tmp_path / "bath" / name).mkdir(parents=True)
        (tmp_path / "bath" / name / "manifest.json").write_text("{}")
    assert complete_run("bat") == ["bath", "batch-1"]
    assert complete_run("none-1") == ["none-1"]
    assert complete_run("x") == []


@pytest.mark.parametrize("command", [["train"], ["sweep", "seed=0,1"], ["lr-sensitivity"], ["list", "norms"]])
def test_a_missing_config_dir_is_an_error_of_every_command(bnlab_says: Say, command: list[str]) -> None:
    answer = bnlab_says(*command, "--config-dir", "nowhere")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("error: --config-dir nowhere does not exist.")
    assert answer.err.count("\n") == 1


@pytest.mark.slow_but(1)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["list", "norms"], ["list", "norms", "--json"]])
def test_a_full_device_is_told_of_in_one_line(
    monkeypatch: pytest.MonkeyPatch, words: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "bnlab.cli.app", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    said = "standard output cannot be written to: No space left on device. Make room there, or write it elsewhere."
    assert (ended.returncode, ended.stderr) == (2, f"error: {said}\n")
