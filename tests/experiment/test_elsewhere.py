"""A run that was trained in one folder is found from another: it is copied where it would get the same bits."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bnlab
from bnlab.cli.app import main
from bnlab.runfolder.keeping import Marks, write_marks
from bnlab.sweeps.execute import run_sweep

ONE = ["data=synthetic", "train.steps=6", "model.width=8", "diagnostics=none", "accept=[statistics_not_settled]"]
ALONE = "sweep.engine=sequential"


@pytest.fixture(autouse=True)
def _runs_are_taken_over(taken_over: None) -> None:
    """Let this file's tests take runs over; see tests/conftest.py."""


def trained_at(folder: str | Path) -> int:
    return (Path(folder) / "metrics.jsonl").stat().st_ino


def manifest(folder: str | Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    return read


def sweep(*words: str) -> Sequence[bnlab.RunSummary]:
    return run_sweep([*ONE, *words], jobs=1).summaries


def test_a_sweep_has_the_run_that_was_trained_alone() -> None:
    alone = bnlab.train([*ONE, "norm=batch"])
    write_marks(Path(alone.folder), Marks("broken", ("thesis",)))
    runs = sweep("norm=batch,none", "name=s", ALONE)
    assert [run.folder for run in runs] == [str(Path(f"runs/s/{run.run_id}").absolute()) for run in runs]
    assert [run.cached for run in runs] == [True, False]
    first = Path(runs[0].folder)
    assert not (first / "marks.json").exists()
    assert manifest(first)["config"]["name"] == "s"  # type: ignore[index]
    assert "name: s\n" in (first / "config.yaml").read_text(encoding="utf-8")
    for name in ("metrics.jsonl", "checkpoint.pt", "summary.json"):
        assert (first / name).read_bytes() == (Path(alone.folder) / name).read_bytes()
    assert manifest(first)["taken_from"] == str(Path("..", "..", "single", alone.run_id))
    assert not list(Path("runs/s").glob(".*.tmp"))


def test_a_run_alone_is_the_one_that_a_sweep_trained_alone() -> None:
    runs = sweep("norm=batch,none", "name=s", ALONE)
    alone = bnlab.train([*ONE, "norm=none"])
    assert alone.cached
    assert Path(alone.folder).parent.name == "single"
    assert trained_at(alone.folder) != trained_at(runs[1].folder)
    assert bnlab.load_model(alone.folder) is not None


def test_runs_of_another_cohort_are_trained_again_and_those_of_the_same_are_not() -> None:
    together = sweep("norm=batch", "seed=0,1,2", "name=s", "sweep.engine=vectorized")
    assert not bnlab.train([*ONE, "norm=batch"]).cached
    assert not any(run.cached for run in sweep("norm=batch", "seed=0,1", "name=t", "sweep.engine=vectorized"))
    again = sweep("norm=batch", "seed=0,1,2", "name=u", "sweep.engine=vectorized")
    assert [run.cached for run in again] == [True] * 3
    assert [manifest(run.folder)["cohort"] for run in again] == [manifest(run.folder)["cohort"] for run in together]


@pytest.mark.parametrize("fault", ["other versions", "other threads", "damaged", "without weights", "interrupted"])
def test_what_is_no_result_as_it_would_be_here_is_not_taken(fault: str) -> None:
    folder = Path(bnlab.train([*ONE, "norm=batch"]).folder)
    facts = manifest(folder)
    if fault == "other versions":
        facts["versions"]["torch"] = "1.0"  # type: ignore[index]
    elif fault == "other threads":
        facts["threads"] = 3
    elif fault == "damaged":
        (folder / "metrics.jsonl").write_text("no record\n", encoding="utf-8")
    elif fault == "without weights":
        (folder / "checkpoint.pt").unlink()
    else:
        facts["status"] = "interrupted"
        (folder / "metrics.jsonl").write_text("", encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    (run,) = sweep("norm=batch", "name=s", ALONE)
    assert (run.status, run.cached) == ("finished", False)


def test_tensorboard_shows_a_copied_run_as_one_of_the_sweep() -> None:
    bnlab.train([*ONE, "norm=batch"])
    copied, trained = sweep("norm=batch,none", "name=s", ALONE)
    tags = []
    for run in (copied, trained):
        events = EventAccumulator(run.folder)
        events.Reload()
        tags.append(sorted(events.Tags()["scalars"]))
    assert tags[0] == tags[1]


@pytest.mark.slow
def test_a_sweep_says_what_it_copied_and_again_trains_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = bnlab.train([*ONE, "norm=batch"])

    def typed(*more: str) -> str:
        command = ["bnlab", "sweep", *ONE, "norm=batch,none", "name=s", ALONE, "--jobs", "1", "--no-figures", *more]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
        return " ".join(capsys.readouterr().err.split())

    said = f"1 run copied from {Path('runs/single').absolute()}: trained there as they would be here"
    assert "copied from" not in typed("--dry-run")
    assert said in typed()
    copied = Path("runs/s") / alone.run_id
    before = trained_at(copied)
    assert "copied from" not in typed("--again")
    assert trained_at(copied) != before


@pytest.mark.slow
def test_figures_page_and_arms_are_made_of_runs_that_were_all_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bnlab", "sweep", *ONE, ALONE, "--jobs", "1", *words])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
        return capsys.readouterr().err

    typed("norm=batch", "seed=0,1", "name=s")
    before = (Path("runs/s/report.html")).read_bytes()
    bnlab.train([*ONE, "norm=batch", "seed=2"])
    typed("norm=batch", "seed=0,1,2", "name=s")
    assert Path("runs/s/report.html").read_bytes() != before
    typed("norm=batch", "seed=0,1,2", "name=t")
    assert list(Path("runs/t/arms").iterdir())
    assert Path("runs/t/report.html").exists()


def test_loggers_and_weights_that_a_result_lacks_are_told(caplog: pytest.LogCaptureFixture) -> None:
    bnlab.train([*ONE, "norm=batch", "train.keep_weights=false"])
    caplog.clear()
    assert bnlab.train([*ONE, "norm=batch"]).cached
    assert "has no weights and is not trained again for them. --again trains it anew." in caplog.text
    bnlab.train([*ONE, "norm=none"])
    caplog.clear()
    sweep("norm=none", "name=s", ALONE)
    bnlab.train([*ONE, "norm=none", "loggers=[csv]"])
    assert "without loggers=[csv]" in caplog.text
