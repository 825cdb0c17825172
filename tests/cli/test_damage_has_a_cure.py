"""Whatever is wrong with a run's files is said where they are read, and what is proposed there mends it."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnlab
from bnlab.errors import DamagedRunError

Say = Callable[..., Any]

WORDS = ["data=synthetic", "train.steps=20", "train.log_every=5", "loggers=[]", "model.width=8"]


def cut_a_line(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([*lines[:3], lines[3][:40] + b"\n", *lines[4:]])


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "empty config": ("config.yaml", lambda _: b"", "config.yaml holds no settings"),
    "edited config": (
        "config.yaml",
        lambda text: text.replace(b"lr: 0.1", b"lr: 0.5"),
        "config.yaml was changed after training: optim.lr is 0.5, and was 0.1",
    ),
    "no manifest": ("manifest.json", lambda _: b"null", "manifest.json cannot be read: it holds no JSON object"),
    "a cut line": ("metrics.jsonl", cut_a_line, "metrics.jsonl, line 4 is damaged: it is no whole record"),
    "binary": ("metrics.jsonl", lambda _: bytes(range(128, 250)), "metrics.jsonl cannot be read: it holds no records"),
    "doubled": ("metrics.jsonl", lambda text: text + text, "metrics.jsonl holds more than one training"),
}
"""The file, what becomes of it, and what is said of it."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a user who has trained one."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    summary = bnlab.train(WORDS, runs=runs)
    manifest = Path(summary.folder) / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "command": shlex.join(["bnlab", "train", *WORDS])}))
    return runs


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "runs")
    return next((tmp_path / "runs" / "single").glob("*-s0-*"))


def damage(run: Path, name: str) -> str:
    file, change, problem = DAMAGES[name]
    text = (run / file).read_bytes()
    (run / file).write_bytes(change(text))
    assert change(text) != text
    later = (run / "manifest.json").stat().st_mtime + 60
    os.utime(run / file, (later, later))
    return problem


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_said_where_it_is_read(run: Path, name: str, bnlab_says: Say) -> None:
    problem = damage(run, name)
    assert f"warning: {run.name}: {problem}. " in bnlab_says("list", "runs").err
    shown = bnlab_says("show", run.name, "--no-figures")
    if name in {"a cut line", "doubled"}:  # the records themselves are read
        assert shown.status == 2
        assert f"line {4 if name == 'a cut line' else 55} is damaged" in shown.err
    else:
        assert f"warning: {run.name}: {problem}. " in shown.err
    if name in {"empty config", "edited config", "no manifest"}:
        with pytest.raises(DamagedRunError, match=problem.partition(":")[0]):
            bnlab.load_model(run)
    cure = "by the command that trained it." if name == "no manifest" else shlex.join(["bnlab", "train", *WORDS])
    assert cure in shown.err


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_the_cure_that_is_proposed_cures(run: Path, name: str, bnlab_says: Say) -> None:
    whole = (run / "metrics.jsonl").read_bytes()
    damage(run, name)
    said = bnlab_says("show", run.name, "--no-figures").err
    command = said.partition("Train the run again: ")[2].partition("\n")[0]
    words = ["train", *WORDS] if name == "no manifest" else shlex.split(command)[1:]
    assert bnlab_says(*words).status == 0
    assert (run / "metrics.jsonl").read_bytes() == whole
    assert "warning" not in bnlab_says("list", "runs").err
    bnlab.load_model(run)


def test_a_run_of_a_sweep_is_trained_again_by_the_sweeps_command(run: Path, bnlab_says: Say) -> None:
    (run.parent / "sweep.json").write_text(json.dumps({"overrides": ["seed=0,1", "name=x"], "runs": [run.name]}))
    damage(run, "no manifest")
    assert "Train the run again: bnlab sweep seed=0,1 name=x" in bnlab_says("show", run.name, "--no-figures").err


def test_a_folder_that_was_copied_a_while_ago_is_not_called_edited(run: Path, bnlab_says: Say) -> None:
    manifest = (run / "manifest.json").stat().st_mtime
    os.utime(run / "config.yaml", (manifest + 60, manifest + 60))
    assert "warning" not in bnlab_says("list", "runs").err
