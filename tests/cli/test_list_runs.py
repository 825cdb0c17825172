import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_planned, write_runs

import bnlab
from bnlab.cli import list_runs

Say = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs, of which one diverged."""
    runs = tmp_path_factory.mktemp("trained")
    for norm in ("batch", "none"):
        for seed in (0, 1):
            bnlab.train(["data=synthetic", "train.steps=20", f"norm={norm}", f"seed={seed}", "name=s"], runs=runs)
    bnlab.train(["data=synthetic", "train.steps=40", "norm=none", "optim.lr=1e5"], runs=runs)
    return runs


@pytest.fixture(autouse=True)
def _five_runs(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "runs", ignore=shutil.ignore_patterns("*.pt", "events*"))


def test_rows_are_filtered_sorted_and_cut(bnlab_says: Say) -> None:
    words = ["--where", "norm=none", "--where", "lr<1", "--sort", "-seed", "--limit", "1", "--json"]
    (row,) = json.loads(bnlab_says("list", "runs", *words).out)
    assert (row["norm"], row["seed"], row["sweep"]) == ("none", 1, "s")
    rows = json.loads(bnlab_says("list", "runs", "--status", "diverged,failed", "--json").out)
    assert [row["optim.lr"] for row in rows] == [1e5]


def test_columns_are_chosen_for_the_table_and_for_programs_alike(bnlab_says: Say) -> None:
    words = ["list", "runs", "s", "--columns", "norm,seed,test_accuracy", "--sort", "norm,-seed"]
    lines = list(csv.reader(io.StringIO(bnlab_says(*words, "--csv").out)))
    assert lines[0] == ["norm", "seed", "test_accuracy"]
    assert [line[:2] for line in lines[1:]] == [["batch", "1"], ["batch", "0"], ["none", "1"], ["none", "0"]]
    table = bnlab_says(*words).out.split("\n")
    assert table[1].split() == ["norm", "seed", "test_accuracy"]
    assert re.fullmatch(r" none +0 +\d+\.\d% *", table[6])


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--sort", "test_acuracy"], "Did you mean test_accuracy"),
        (["--where", "nrom=batch"], "Did you mean norm"),
        (["--columns", "run_id,optim.lrr"], "Did you mean optim.lr"),
        (["--status", "finish"], "Did you mean finished"),
    ],
)
def test_a_typo_gets_one_line_that_says_what_to_type(bnlab_says: Say, words: list[str], cure: str) -> None:
    answer = bnlab_says("list", "runs", *words)
    assert (answer.status, answer.out) == (2, "")
    assert cure in answer.err
    assert answer.err.count("\n") == 1


def test_a_sweep_is_listed_by_its_name_with_how_its_runs_stand(bnlab_says: Say) -> None:
    answer = bnlab_says("list", "runs", "s")
    assert answer.out.count("finished") == 4
    assert "4 runs: 4 finished" in answer.err
    assert "Did you mean s?" in bnlab_says("list", "runs", "ss").err


def test_no_match_says_what_there_is_and_is_no_error(bnlab_says: Say) -> None:
    answer = bnlab_says("list", "runs", "--where", "lr>1e9")
    assert (answer.status, answer.out) == (0, "")
    assert "None of 5 runs is so: optim.lr goes from 0.1 to 100000." in answer.err
    assert json.loads(bnlab_says("list", "runs", "--where", "lr>1e9", "--json").out) == []


def test_no_match_has_a_heading_for_programs(bnlab_says: Say, tmp_path: Path) -> None:
    all_of_them = bnlab_says("list", "runs", "--csv").out.splitlines()
    assert bnlab_says("list", "runs", "--where", "lr>1e9", "--csv").out.splitlines() == all_of_them[:1]
    words = ["--where", "lr>1e9", "--csv", "--columns", "norm,seed"]
    assert bnlab_says("list", "runs", *words).out == "norm,seed\n"
    (tmp_path / "empty").mkdir()
    nothing = bnlab_says("list", "runs", "empty", "--csv").out
    assert nothing.startswith("run_id,status,seed,norm,")
    assert nothing.count("\n") == 1
    assert set(nothing.strip().split(",")) <= set(all_of_them[0].split(","))


def test_a_damaged_run_is_listed_and_said_to_be(bnlab_says: Say) -> None:
    manifest = next(Path("runs/s").glob("batch*s0*/manifest.json"))
    manifest.write_text('{"status": "finished"')
    answer = bnlab_says("list", "runs")
    assert answer.status == 0
    assert answer.out.count("failed") == 1
    assert f"{manifest.parent.name}: manifest.json cannot be read" in answer.err.replace("\n", "")


class Window(list_runs.OUT.__class__):  # type: ignore[misc, name-defined]
    """A console that is a window of some width."""

    is_terminal = True


@pytest.mark.parametrize(("width", "gone"), [(160, set()), (80, {"validation", "steps", "s"})])
def test_a_narrow_window_loses_columns_and_never_a_runs_name(
    bnlab_says: Say, monkeypatch: pytest.MonkeyPatch, width: int, gone: set[str]
) -> None:
    monkeypatch.setattr(list_runs, "OUT", Window(width=width, highlight=False))
    lines = bnlab_says("list", "runs").out.splitlines()
    assert max(map(len, lines)) <= width
    assert {"sweep", "run", "status", "test", "validation", "steps", "s"} - set(lines[1].split()) == gone
    ids = {path.parent.name for path in Path("runs").glob("*/*/manifest.json")}
    assert ids <= set(" ".join(lines).split())


def test_settings_that_were_swept_and_are_not_in_the_name_are_shown(bnlab_says: Say, tmp_path: Path) -> None:
    write_planned(["data=synthetic", "model.depth=1,2", "name=deep"], lambda *_: {}, tmp_path / "runs")
    assert bnlab_says("list", "runs", "deep").out.splitlines()[1].split()[:3] == ["run", "model.depth", "status"]


@pytest.mark.parametrize("where", [["mine"], []])
def test_norms_of_one_name_are_told_apart_by_a_column(bnlab_says: Say, tmp_path: Path, where: list[str]) -> None:
    for norm in ("batch", "ed:Ed", "ff:Ed"):
        write_runs(tmp_path / "runs" / "mine", lambda *_: {}, norms=(norm,), lrs=(0.1,), seeds=(len(norm),))
    lines = [line.split() for line in bnlab_says("list", "runs", *where).out.splitlines() if line.strip()]
    column = lines[0].index("norm")
    assert {line[column] for line in lines[2:]} >= {"batch", "ed:Ed", "ff:Ed"}
    assert "norm" not in bnlab_says("list", "runs", "s").out


def test_the_folder_of_all_runs_can_be_named(bnlab_says: Say, tmp_path: Path) -> None:
    write_runs(tmp_path / "elsewhere" / "other", lambda *_: {}, norms=("batch",), lrs=(0.1,), seeds=(0,))
    of_all = bnlab_says("list", "runs", "--runs", str(tmp_path / "elsewhere"), "--json")
    of_one = bnlab_says("list", "runs", "other", "--runs", str(tmp_path / "elsewhere"), "--json")
    assert [row["sweep"] for row in json.loads(of_all.out)] == ["other"]
    assert of_one.out == of_all.out
    assert "neither a folder of runs nor the name" in bnlab_says("list", "runs", "other").err


def test_a_long_list_is_the_one_that_rich_prints(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bnlab_says("list", "runs").out
    monkeypatch.setattr(list_runs, "MANY", 1)
    assert bnlab_says("list", "runs").out == expected
