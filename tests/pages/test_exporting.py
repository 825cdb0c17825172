"""`bnlab export`: tables by pandas, runs in other tools, claims in Trackio."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from example_studies import write_studies
from read_back import READERS, assert_same, expected, mlflow_runs

import bnlab
from bnlab.runfolder.keeping import Marks, write_marks

QUICK = ["data=synthetic", "train.steps=6", "train.log_every=2", "model.width=8", "accept=[statistics_not_settled]"]
Say = Callable[..., Any]


@pytest.fixture
def two_runs() -> list[Path]:
    """A sweep's folder with a run that finished and one that diverged, whose configs have other options."""
    words = [["norm=batch"], ["norm=none", "optim.lr=1e20", "train.log_every=1"]]
    return [Path(bnlab.train([*QUICK, "name=two", "diagnostics=none", *one]).folder) for one in words]


@pytest.mark.slow
def test_tables_are_those_of_read_runs_and_read_curves(two_runs: list[Path], bnlab_says: Say) -> None:
    for _ in range(2):  # again: the same files, not more of them
        answer = bnlab_says("export", "two", "--to", "csv")
        assert (answer.status, answer.out) == (0, "two-csv\n")
        assert sorted(path.name for path in Path("two-csv").iterdir()) == ["curves.csv", "runs.csv"]
    assert "2 runs written" in answer.err
    runs, curves = pd.read_csv("two-csv/runs.csv"), pd.read_csv("two-csv/curves.csv", keep_default_na=False)
    assert sorted(runs["run_id"]) == sorted(folder.name for folder in two_runs)
    wanted = bnlab.read_curves("two")
    assert len(curves) == len(wanted)
    assert curves["value"].astype(float).equals(wanted["value"])
    assert set(curves["split"]) <= {"train", "validation", "test", ""}
    diverged = runs[runs["status"] == "diverged"].iloc[0]
    assert pd.isna(diverged["norm.eps"])
    assert json.loads(diverged["loggers"]) == ["tensorboard"]


def test_parquet_takes_a_setting_that_is_a_number_in_one_run_and_a_word_in_another(bnlab_says: Say) -> None:
    pytest.importorskip("pyarrow")
    for lr in ("1", "2"):
        folder = Path(bnlab.train([*QUICK, "name=mixed", "diagnostics=none", f"optim.lr={lr}"]).folder)
    for name, old in (("manifest.json", '"eps": 1e-05'), ("config.yaml", "eps: 1.0e-05")):
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(
            text.replace(old, old.partition(":")[0] + ": auto" if name == "config.yaml" else '"eps": "auto"')
        )
    answer = bnlab_says("export", "mixed", "--to", "parquet", "--output", "here")
    assert (answer.status, answer.out) == (0, "here\n"), answer.err
    runs = pd.read_parquet("here/runs.parquet")
    assert set(runs["norm.eps"]) == {"1e-05", "auto"}
    assert runs["optim.lr"].dtype == "float64"
    assert pd.read_parquet("here/curves.parquet")["value"].equals(bnlab.read_curves("mixed")["value"])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mlflow", "wandb", "trackio"])
def test_an_export_brings_what_is_there_up_to_date_and_writes_nothing_twice(
    target: str, two_runs: list[Path], bnlab_says: Say
) -> None:
    pytest.importorskip(target)
    first = bnlab_says("export", "two", "--to", target)
    assert first.status == 0, first.err
    assert "2 runs written" in first.err
    for folder in two_runs:
        assert_same(READERS[target](folder), expected(folder))
    again = bnlab_says("export", "two", "--to", target)
    assert "0 runs written, 2 there already" in again.err
    assert again.out == first.out
    write_marks(two_runs[0], Marks("a note", ("good",)))
    assert "1 run written, 1 there already" in bnlab_says("export", "runs", "--to", target).err
    for folder in two_runs:
        assert_same(READERS[target](folder), expected(folder))
    if target == "mlflow":
        (run,) = mlflow_runs(two_runs[0])
        assert run["tags"]["mlflow.note.content"] == "a note"
        (run,) = mlflow_runs(two_runs[1])
        assert (run["status"], run["tags"]["bnlab.status"]) == ("FAILED", "diverged")


@pytest.mark.slow
def test_a_run_that_was_logged_in_training_is_there_already(bnlab_says: Say) -> None:
    pytest.importorskip("mlflow")
    bnlab.train([*QUICK, "name=logged", "loggers=[mlflow]"])
    assert "0 runs written, 1 there already" in bnlab_says("export", "logged", "--to", "mlflow").err
    other = bnlab_says("export", "logged", "--to", "mlflow", "--output", "elsewhere")
    assert "1 run written" in other.err
    assert other.out.strip() == f"sqlite:///{Path('elsewhere/mlflow.db').absolute()}"


def test_what_cannot_be_exported_is_said_in_a_sentence(two_runs: list[Path], bnlab_says: Say) -> None:
    Path("a_file").write_text("")
    Path("empty").mkdir()
    write_studies(Path("runs/studies"))
    wrong = [
        (["two", "--to", "csv", "--output", "a_file"], "should be a folder, it is a file"),
        (["empty", "--to", "csv"], "there are no runs in"),
        (["no_such_sweep", "--to", "csv"], "is neither a folder of runs nor the name"),
        (["runs/studies", "--to", "mlflow"], "bnlab report runs/studies --csv"),
        (["two", "--to", "excel"], "'excel' is not one of"),
    ]
    for words, said in wrong:
        answer = bnlab_says("export", *words)
        assert answer.status == 2
        assert said in answer.err.replace("\n", " ")
        assert len(answer.err.splitlines()) <= 3
        assert answer.out == ""
    (two_runs[0] / "metrics.jsonl").write_text("{\n")
    answer = bnlab_says("export", "two", "--to", "csv")  # its table tells the problem in a column of its own
    assert answer.status == 0
    assert "problem" in pd.read_csv("two-csv/runs.csv")


@pytest.mark.slow
def test_a_damaged_run_is_left_out_with_a_sentence(two_runs: list[Path], bnlab_says: Say) -> None:
    pytest.importorskip("trackio")
    (two_runs[0] / "metrics.jsonl").write_text("{\n")
    answer = bnlab_says("export", "two", "--to", "trackio")
    assert answer.status == 0
    assert f"{two_runs[0].name} was left out" in answer.err.replace("\n", " ")
    assert_same(READERS["trackio"](two_runs[1]), expected(two_runs[1]))


@pytest.mark.slow
def test_each_claim_has_a_project_in_trackio_with_the_numbers_of_its_verdict(bnlab_says: Say) -> None:
    pytest.importorskip("trackio")
    folder = write_studies(Path("runs/studies"))
    for _ in range(2):
        answer = bnlab_says("export", "runs/studies", "--to", "trackio")
        assert answer.status == 0, answer.err
    files = sorted(folder.glob("*.json"))
    assert f"{len(files)} claims written" in answer.err
    for path in files:
        result = json.loads(path.read_text())
        with sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / f"claim-{path.stem}.db") as base:
            rows = base.execute("SELECT step, metrics FROM metrics WHERE run_name = 'verdict' ORDER BY id").fetchall()
            (config,) = base.execute("SELECT config FROM configs WHERE run_name = 'verdict'").fetchone()
        step, text = rows[-1]
        last = json.loads(text)
        assert step == (result["n"] or 0)
        for name in ("effect", "low", "high", "sesoi"):
            assert last.get(name) == result.get(name)
        assert json.loads(config)["verdict"] == result["verdict"]
        assert result["claim"] in last["report"]["_value"]
        assert len([step for step, _ in rows if step == result["n"]]) <= 1
