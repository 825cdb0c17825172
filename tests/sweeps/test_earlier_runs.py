import json
from pathlib import Path

import pytest
from written_runs import write_planned

from bnlab.errors import ConfigError
from bnlab.results.sweep import read_plan, read_sweep, write_sweep
from bnlab.sweeps.earlier_runs import find_earlier, write_with_earlier
from bnlab.sweeps.plan import Sweep, plan_sweep

BASE = ["data=digits", "train.steps=20", "name=x"]
TWO = [*BASE, "norm=batch,none", "seed=0"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The runs of one command."""
    write_planned(TWO, lambda *_: {}, tmp_path)
    return tmp_path


def planned(words: list[str], runs: Path) -> Sweep:
    sweep = plan_sweep(words, runs)
    write_with_earlier(sweep.folder, sweep.overrides, list(sweep.configs), sweep.earlier)
    return sweep


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["norm=batch,none", "seed=1,2"], "seed 1, 2"),
        (["norm=batch,none", "seed=0", "optim.lr=1"], "optim.lr 1"),
        (["norm=layer", "seed=0"], "norm layer"),
        (["norm=batch", "norm.eps=1e-3", "seed=0"], "norm.eps 0.001"),
        (["norm=batch", "seed=0", "model.depth=3,5"], "model.depth 5"),  # 3 is what the runs have
    ],
)
def test_a_command_that_continues_a_sweep_adds_its_runs(runs: Path, words: list[str], added: str) -> None:
    before = read_plan(runs / "x").runs
    sweep = planned([*BASE, *words], runs)
    assert sweep.earlier.added == added
    assert set(read_sweep(sweep.folder).planned) == {*before, *sweep.configs}
    assert [row["run_id"] for row in read_sweep(sweep.folder).rows] == list(before)


@pytest.mark.slow_but(2)
@pytest.mark.parametrize(
    ("words", "then", "now"),
    [
        (["data=synthetic"], "data=digits", "data=synthetic"),
        (["data=digits", "data.limit=500"], "data.limit=null", "data.limit=500"),
        (["data=digits", "model=cnn"], "model=mlp", "model=cnn"),
        (["data=digits", "model.depth=5"], "model.depth=3", "model.depth=5"),
        (["data=digits", "train.steps=30"], "train.steps=20", "train.steps=30"),
        (["data=digits", "optim=adam"], "optim=sgd", "optim=adam"),
        (["data=digits", "model.depth=5,7"], "model.depth=3", "model.depth=5,7"),
        (["data=digits", "diagnostics=none"], "diagnostics=cheap", "diagnostics=none"),
    ],
)
def test_a_command_of_another_design_is_refused_with_what_differs(
    runs: Path, words: list[str], then: str, now: str
) -> None:
    steps = [] if any(word.startswith("train.steps") for word in words) else ["train.steps=20"]
    command = [*words, *steps, "name=x", "norm=batch,none", "seed=0"]
    with pytest.raises(ConfigError) as refused:
        plan_sweep(command, runs)
    assert f"holds a sweep with {then}, this one has {now}. Give this one another name: name=x-2" in str(refused.value)
    plan_sweep([*(word for word in command if word != "name=x"), "name=x-2"], runs)  # the cure cures


def test_the_other_cure_sweeps_both(runs: Path) -> None:
    with pytest.raises(ConfigError, match=r"or sweep both: model\.depth=3,5") as refused:
        plan_sweep([*TWO, "model.depth=5"], runs)
    word = str(refused.value).rpartition("sweep both: ")[2].removesuffix(".")
    assert len(planned([*TWO, word], runs).configs) == 4


def test_a_factor_that_is_compared_already_may_have_further_values(runs: Path) -> None:
    base = [*BASE[:-1], "name=y", "norm=none", "seed=0"]
    write_planned([*base, "model.depth=1,2"], lambda *_: {}, runs)
    assert planned([*base, "model.depth=4"], runs).earlier.added == "model.depth 4"
    assert planned([*base, "model.depth=1"], runs).earlier.added == ""


def test_fewer_runs_leave_the_plan_as_it_is(runs: Path) -> None:
    before = (runs / "x" / "sweep.json").read_bytes()
    sweep = planned([*BASE, "norm=none", "seed=0"], runs)
    assert (len(sweep.configs), len(sweep.earlier.kept), sweep.earlier.added) == (1, 1, "")
    assert (runs / "x" / "sweep.json").read_bytes() == before


def test_the_commands_of_all_runs_are_kept_and_tell_what_was_swept(runs: Path) -> None:
    planned([*BASE, "norm=layer", "seed=0"], runs)
    plan = json.loads((runs / "x" / "sweep.json").read_text())
    assert plan["overrides"] == [*BASE, "norm=layer", "seed=0"]
    assert plan["earlier"] == [TWO]
    assert read_sweep(runs / "x").swept == ("norm",)
    planned([*BASE, "norm=batch,none,layer", "seed=0"], runs)  # names all runs: nothing earlier is left to tell
    assert "earlier" not in json.loads((runs / "x" / "sweep.json").read_text())


def test_runs_that_never_began_are_no_part_of_the_sweep_any_more(runs: Path) -> None:
    plan = read_plan(runs / "x")
    write_sweep(runs / "x", list(plan.overrides), [*plan.runs, "batch-mlp-digits-lr0.1-s7-00000000"])
    sweep = planned([*BASE, "norm=batch,none", "seed=0,1"], runs)
    assert set(read_plan(sweep.folder).runs) == set(sweep.configs)


def test_runs_that_would_be_others_today_are_kept_apart(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = read_plan(runs / "x").runs
    monkeypatch.setattr("bnlab.identity.run_id.SCHEMA_VERSION", 99)  # as other code or data would do
    sweep = planned([*BASE, "norm=batch,none", "seed=1"], runs)
    assert (sweep.earlier.kept, set(sweep.earlier.outdated)) == ((), set(ids))
    assert set(read_plan(sweep.folder).runs) == set(sweep.configs)


def test_a_run_of_another_version_stays(runs: Path) -> None:
    name = read_plan(runs / "x").runs[0]
    manifest = json.loads((runs / "x" / name / "manifest.json").read_text())
    del manifest["config"]["placement"]  # a version that did not know it
    (runs / "x" / name / "manifest.json").write_text(json.dumps(manifest))
    assert name in find_earlier(runs / "x", plan_sweep([*BASE, "norm=layer"], runs).configs).kept
