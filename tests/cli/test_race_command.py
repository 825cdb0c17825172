"""`bnlab race`: arms side by side, a table, a page, what to type next."""

import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_runs import STEPS, rising, write_judged
from rich.console import Console
from rich.text import Text

from bnlab.cli.next_command import as_text
from bnlab.cli.race_view import LiveRaceView, RaceCurves, open_race_view
from bnlab.cli.sweep_view import PlainSweepView, SweepProgress
from bnlab.pages.words import Words
from bnlab.records import EvalRecord
from bnlab.results.sweep import read_sweep
from bnlab.results.sweep_plan import read_plan
from bnlab.runfolder.json_lines import record_line
from bnlab.sweeps.execute import execute
from bnlab.sweeps.plan import plan_arms, plan_sweep

Say = Callable[..., Any]

QUICK = ["data=digits", "data.limit=200", "train.steps=30", "diagnostics=none", "model.width=8", "loggers=[]"]


@pytest.fixture(autouse=True)
def _hasty_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate how long a race takes by a step or two."""
    monkeypatch.setattr("bnlab.sweeps.time_estimate.TRIED_S", 0.01)


def proposed(said: str) -> list[str]:
    """Return the words of the command that is proposed at the end."""
    (line,) = re.findall(r"^Next +bnlab (.*)$", said, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["norm=batch", "norm=none", "train.stps=3"], "Did you mean train.steps"),
        (["norm=batch", "norm=bacth"], "Did you mean batch"),
        (["norm=batch", "norm=none", "norm.num_groups=4"], "norm.num_groups is not a setting with norm=batch,none"),
        (["norm=batch placement=before", "norm=batch"], "are the same runs"),
        (["norm=batch", "norm=none", "sweep=drift"], "sweep=drift is for bnlab sweep"),
        (["norm=batch", "norm=none", "seed=0", "seed=1"], "seed=0,1"),
        (["norm=batch"], "a race has two arms or more"),
        (["norm=batch", "--", "train.steps=3"], "got norm=batch alone"),
    ],
)
def test_wrong_words_get_one_line_and_leave_nothing(bnlab_says: Say, typed: list[str], said: str) -> None:
    answer = bnlab_says("race", *typed)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") <= 3
    assert not Path("runs").exists()


def test_the_arms_of_a_race_are_parts_of_one_sweep_with_the_ids_that_each_has_alone() -> None:
    sweep = plan_arms([["norm=batch", "optim.lr=1", "seed=0,1", *QUICK], ["norm=none", "seed=0,1", *QUICK]])
    alone = [plan_sweep([*words, "seed=0,1", *QUICK]) for words in (["norm=batch", "optim.lr=1"], ["norm=none"])]
    assert sweep.parts == [list(one.configs) for one in alone]
    assert list(sweep.configs) == [name for part in sweep.parts for name in part]
    execute(sweep, [])
    plan = read_plan(sweep.folder)
    assert plan.earlier == (("norm=batch", "optim.lr=1", "seed=0,1", *QUICK),)
    assert plan.overrides == ("norm=none", "seed=0,1", *QUICK)
    written = (sweep.folder / "sweep.json").read_bytes()
    execute(plan_arms([[*words] for words in (plan.earlier[0], plan.overrides)]), [])
    assert (sweep.folder / "sweep.json").read_bytes() == written


def test_races_whose_words_are_cut_into_other_arms_have_folders_of_their_own() -> None:
    one = plan_arms([["norm=batch", "optim.lr=1"], ["norm=none"]])
    other = plan_arms([["norm=batch"], ["optim.lr=1", "norm=none"]])
    assert one.folder != other.folder
    assert plan_arms([["norm=batch"], ["optim.lr=1", "norm=none", "device=cpu"]]).folder == other.folder


def test_an_option_that_one_arm_lacks_is_told_of_and_left_out() -> None:
    sweep = plan_arms([["norm=group", "norm.num_groups=4", *QUICK], ["norm=batch", "norm.num_groups=4", *QUICK]])
    assert any("norm.num_groups does not apply to norm=batch" in warning for warning in sweep.warnings)


@pytest.mark.slow
def test_a_race_ends_with_curves_a_table_a_page_and_what_to_type_next(bnlab_says: Say) -> None:
    arms = ["norm=layer optim.lr=1", "norm=none optim.lr=0.1"]
    answer = bnlab_says("race", *arms, *QUICK, "seed=range(3)", "name=mine", "--jobs", "1")
    assert answer.status == 0, answer.err
    assert "l layer lr=1" in answer.out
    tests = {row["run_id"]: row["test_accuracy"] for row in read_sweep(Path("runs/mine")).rows}
    for arm, norm in (("layer lr=1", "layer"), ("none lr=0.1", "none")):
        mean = sum(value for name, value in tests.items() if name.startswith(norm)) / 3
        (row,) = [line for line in answer.out.splitlines() if line.strip().startswith(arm)]
        assert f"{100 * mean:.1f}% [" in row
    page = Path("runs/mine/race.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "runs/mine/race.html" in answer.err
    assert Path("runs/mine/curves.png").exists()
    following = proposed(answer.err)
    assert following == ["race", *arms, *QUICK, "name=mine", "seed=range(5)"]
    more = bnlab_says(*following, "--jobs", "1")
    assert proposed(more.err) == ["judge", "mine", "--arms", "layer,none"]
    assert bnlab_says(*proposed(more.err)).status == 0
    assert bnlab_says("race", *arms, *QUICK, "seed=range(3)", "name=mine", "--lang", "zh").status == 0
    assert 'lang="zh' in Path("runs/mine/race.zh.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_json_has_an_object_per_run_arm_by_arm_and_quiet_is_quiet(bnlab_says: Say) -> None:
    words = ["race", "norm=none", "norm=layer", *QUICK, "seed=0,1", "--jobs", "1"]
    found = [json.loads(line) for line in bnlab_says(*words, "--json").out.splitlines()]
    assert [(one["run_id"].partition("-")[0], one["seed"]) for one in found] == [
        *(("none", 0), ("none", 1), ("layer", 0), ("layer", 1)),
    ]
    again = bnlab_says(*words, "--quiet")
    assert (again.status, again.out, again.err) == (0, "", "")
    name = next(iter(Path("runs").iterdir())).name
    following = proposed(bnlab_says(*words).err)
    assert following == [*words[:-3], f"name={as_text(name)}", "seed=range(5)"]
    assert bnlab_says(*following, "--jobs", "1").status == 0
    assert [path.name for path in Path("runs").iterdir()] == [name]


@pytest.mark.slow
def test_arms_that_differ_in_the_learning_rate_alone_are_arms(bnlab_says: Say) -> None:
    answer = bnlab_says("race", "optim.lr=0.1", "optim.lr=1", *QUICK, "name=mine", "--jobs", "1")
    assert answer.status == 0, answer.err
    rows = [line.split()[:2] for line in answer.out.splitlines() if line.strip().startswith("lr=")]
    assert rows == [["lr=0.1", "1"], ["lr=1", "1"]]


def test_curves_are_means_of_the_runs_that_have_been_there_and_grow(tmp_path: Path) -> None:
    folder = write_judged(tmp_path / "mine", lambda place: rising(0.5 + 0.2 * place.seed), seeds=range(2))
    names = [f"batch-mlp-digits-lr0.1-s{seed}-00000000" for seed in range(2)]
    curves = RaceCurves(folder, {"batch": names, "none": ["not-begun"]}, Words("en"))
    batch, none = curves.read()
    assert dict(batch.points) == pytest.approx({step: 0.1 + 0.5 * step / STEPS[-1] for step in STEPS})
    assert (none.points, none.last) == ({}, None)
    with (folder / names[1] / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(record_line(EvalRecord(250, "validation", {"loss": 0.1, "accuracy": 0.75})) + "\n")
        file.write('{"kind": "eval", "step": 300, "split": "valid')  # a line that is being written
    assert curves.read()[0].last == 0.75
    assert curves.of == "validation accuracy, mean of 2 seeds"


def test_the_curve_of_a_run_that_is_begun_anew_begins_anew(tmp_path: Path) -> None:
    folder = write_judged(tmp_path / "mine", lambda _: rising(0.9), seeds=range(1))
    name = "batch-mlp-digits-lr0.1-s0-00000000"
    curves = RaceCurves(folder, {"batch": [name]}, Words("en"))
    assert len(curves.read()[0].points) == len(STEPS)
    first = record_line(EvalRecord(0, "validation", {"loss": 2.3, "accuracy": 0.1}))
    (folder / name / "metrics.jsonl").write_text(first + "\n", encoding="utf-8")
    assert curves.read()[0].points == {0: 0.1}


def test_a_run_that_is_trained_again_has_no_curve_until_it_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "a-run" / "metrics.jsonl"
    path.parent.mkdir()
    old, new = (record_line(EvalRecord(step, "validation", {"accuracy": step / 100})) + "\n" for step in (20, 10))
    path.write_text(old)
    curves = RaceCurves(tmp_path, {"batch": ["a-run"]}, Words("en"), again=["a-run"])
    assert [line.points for line in curves.read()] == [{}]
    path.rename(tmp_path / "set aside")  # as a run's folder is, when it begins
    assert [line.points for line in curves.read()] == [{}]
    path.write_text(new)
    assert [line.points for line in curves.read()] == [{10: 0.1}]


def test_the_live_view_fits_a_narrow_window_and_a_pipe_gets_plain_lines() -> None:
    sweep = plan_sweep([*QUICK, "norm=none,layer", "seed=0,1"])
    parts = {"none": list(sweep.configs)[:2], "layer": list(sweep.configs)[2:]}
    curves = RaceCurves(sweep.folder, parts, Words("en"))
    console = Console(force_terminal=True, width=60, height=20)
    view = LiveRaceView(console, "mine", curves, SweepProgress(sweep, list(sweep.configs)))
    view.take({"steps": {next(iter(sweep.configs)): 15}, "of": 30})
    view.close()
    window = Console(width=60, height=20, record=True)
    window.print(view._picture())
    lines = window.export_text().splitlines()
    assert any("4 runs, 12% done; " in line for line in lines)  # runs of one cohort all end at last
    assert any("30 steps" in line for line in lines)
    assert all(len(line) <= 60 for line in lines)
    assert len(lines) <= 20
    written = io.StringIO()
    told = Console(force_terminal=True, width=60, height=20, file=written)
    view = LiveRaceView(told, "mine", curves, SweepProgress(sweep, list(sweep.configs)))
    view.take({"failed": ["a-run"], "reason": "no memory"})
    view.take({"trouble": "csv", "reason": "a logger stopped"})
    view.close()
    said = Text.from_ansi(written.getvalue()).plain
    assert "failed: a-run: no memory" in said
    assert "warning: a logger stopped" in said
    assert not re.search(r"failed: (failed|warning)", said)
    plain = open_race_view(Console(force_terminal=False), "mine", sweep, list(sweep.configs), curves)
    assert isinstance(plain, PlainSweepView)
