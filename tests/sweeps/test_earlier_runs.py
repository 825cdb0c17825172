import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_files import idx_contents, write_all
from written_runs import write_planned

from bnlab.errors import ConfigError, RunBusyError
from bnlab.results.sweep import read_sweep, write_sweep
from bnlab.results.sweep_plan import read_plan
from bnlab.sweeps.earlier_runs import EarlierRuns, find_earlier
from bnlab.sweeps.execute import execute
from bnlab.sweeps.plan import Sweep, plan_sweep
from bnlab.sweeps.plan_file import write_with_earlier

BASE = ["data=digits", "train.steps=20", "name=x"]
TWO = [*BASE, "norm=batch,none", "seed=0"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The runs of one command."""
    write_planned(TWO, lambda *_: {}, tmp_path)
    return tmp_path


def planned(words: list[str], runs: Path) -> Sweep:
    sweep = plan_sweep(words, runs)
    write_with_earlier(sweep.folder, sweep.overrides, list(sweep.configs), sweep.earlier, lambda: sweep.earlier)
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


OF_FILE = ["sweep=lr-sensitivity", "norm=none", "name=x", "seed=0", "data=digits"]
"""Words with a file that sets train.steps, train.eval_every and diagnostics besides."""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "train.steps=500 by sweep=lr-sensitivity, train.eval_every=500 by sweep=lr-sensitivity, diagnostics=none"),
        (["diagnostics=cheap", "train.steps=20"], "this one has train.eval_every=500 by sweep=lr-sensitivity. Give"),
        (["model.depth=5", "train.steps=20", "train.eval_every=null"], "has model.depth=5, diagnostics=none by sweep="),
    ],
)
def test_settings_of_a_sweeps_file_are_not_taken_for_typed_ones(runs: Path, words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_sweep([*OF_FILE, *words], runs)
    assert told in str(refused.value)


def test_words_in_place_of_a_files_continue_a_sweep(runs: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_sweep(OF_FILE, runs)
    words = str(refused.value).rpartition("or add what that one has: ")[2].removesuffix(".").split()
    assert words == ["train.steps=20", "train.eval_every=null", "diagnostics=cheap"]
    assert plan_sweep([*OF_FILE, *words], runs).earlier.added.startswith("optim.lr 0.001")


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


OWN_DATA = ["train.steps=20", "name=d", "norm=batch,none"]


def own_words(key: str, place: Path | str, seed: str) -> list[str]:
    name = {"data.root": "mnist", "data.path": "npz"}[key]
    return [f"data={name}", f"{key}={place}", *OWN_DATA, f"seed={seed}"]


def write_data(key: str, place: Path, size: int) -> Path:
    """Write a small data set of the user's own, whose content its size tells."""
    if key == "data.root":
        return write_all(place, idx_contents(num_train=size))
    np.savez(place.with_suffix(".npz"), x=np.arange(4.0 * size).reshape(size, 4), y=np.arange(size) % 2)
    return place.with_suffix(".npz")


def train(words: list[str], runs: Path) -> Sweep:
    """Plan a sweep, and write its runs as if they had been trained."""
    sweep = planned(words, runs)
    plan = (sweep.folder / "sweep.json").read_bytes()
    write_planned(words, lambda *_: {}, runs)
    (sweep.folder / "sweep.json").write_bytes(plan)
    return sweep


@pytest.mark.parametrize("key", ["data.root", "data.path"])
def test_of_data_the_content_counts_wherever_it_lies(tmp_path: Path, key: str) -> None:
    first, other = write_data(key, tmp_path / "a", 40), write_data(key, tmp_path / "b", 60)
    train(own_words(key, first, "0,1"), tmp_path)
    with pytest.raises(ConfigError) as refused:
        plan_sweep(own_words(key, other, "2"), tmp_path)
    said = str(refused.value)
    assert f"holds a sweep with {key}={first}, this one has {key}={other}. Give this one another name" in said
    plan_sweep(own_words(key, said.rpartition(f"or sweep both: {key}=")[2].removesuffix("."), "2"), tmp_path)
    moved = shutil.move(first, tmp_path / f"moved{first.suffix}")
    sweep = train(own_words(key, moved, "2"), tmp_path)
    assert (len(sweep.earlier.kept), sweep.earlier.added) == (4, "seed 2")
    assert [arm.seeds for arm in read_sweep(sweep.folder).read_arms().arms] == [(0, 1, 2)] * 2


def test_other_data_at_the_same_place_are_told_by_their_content(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.sweeps.earlier_runs.content_fingerprint", lambda _: "5" * 64)
    with pytest.raises(ConfigError, match=r"data\.content=null, this one has data\.content=55555555\. .*name=x-2\.$"):
        plan_sweep([*BASE, "norm=none", "seed=1"], runs)


def test_a_run_whose_code_is_not_found_from_here_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    text = "from own_help import K\nfrom torch import nn\nclass Mine(nn.Identity):\n    k = K\n"
    (home / "own_layer.py").write_text(text)
    (home / "own_help.py").write_text("K = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(home)
    write_planned([*BASE, "norm=own_layer:Mine", "seed=0"], lambda *_: {}, tmp_path)
    more = [*BASE, "norm=batch", "seed=0"]

    def look(place: Path) -> tuple[int, int]:
        monkeypatch.setattr(sys, "path", [one for one in sys.path if Path(one).parent != tmp_path])
        monkeypatch.chdir(place)
        earlier = plan_sweep(more, tmp_path).earlier
        return len(earlier.kept), len(earlier.outdated)

    assert look(home) == (1, 0)
    assert look(elsewhere) == (1, 0)
    (home / "own_help.py").write_text("K = 2\n")
    assert look(home) == (0, 1)


def test_a_command_that_writes_finds_what_others_have_written_meanwhile(runs: Path) -> None:
    first = plan_sweep([*BASE, "norm=layer", "seed=0"], runs)  # planned before the other one writes
    other = train([*BASE, "norm=rms", "seed=0"], runs)

    def find_again() -> EarlierRuns:
        return find_earlier(first.folder, first.configs)

    earlier = write_with_earlier(first.folder, first.overrides, list(first.configs), first.earlier, find_again)
    assert set(other.configs) <= set(earlier.kept)
    assert set(read_plan(first.folder).runs) == {*first.configs, *other.configs, *first.earlier.kept}


def test_only_one_command_at_a_time_finds_and_writes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.sweeps.plan_file.PATIENCE_S", 0.01)
    sweep = plan_sweep([*BASE, "norm=layer", "seed=0"], runs)
    changed = replace(sweep.earlier, seen=read_plan(runs))  # so that they are searched again

    def write_beside() -> EarlierRuns:
        with pytest.raises(RunBusyError, match="another process has been writing"):
            write_with_earlier(sweep.folder, sweep.overrides, list(sweep.configs), sweep.earlier, EarlierRuns)
        return sweep.earlier

    write_with_earlier(sweep.folder, sweep.overrides, list(sweep.configs), changed, write_beside)
    write_with_earlier(sweep.folder, sweep.overrides, list(sweep.configs), find_earlier(sweep.folder, {}), write_beside)


def test_earlier_runs_are_searched_once_unless_another_command_has_written(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnlab.sweeps.execute.find_earlier", None)
    words, plan = [*BASE, "norm=batch,none", "seed=1"], (runs / "x" / "sweep.json").read_bytes()
    train(words, runs)
    (runs / "x" / "sweep.json").write_bytes(plan)
    sweep = plan_sweep(words, runs)
    execute(sweep, [])
    assert set(read_plan(sweep.folder).runs) == {*sweep.configs, *sweep.earlier.kept}
    assert len(sweep.earlier.kept) == 2
