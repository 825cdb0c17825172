"""Searches: what they may choose, how good a run was, and the same end whatever happens on the way."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bnlab
from bnlab.errors import ConfigError, RunError
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.plan import is_search, plan_sweep
from bnlab.sweeps.search import plan_search
from bnlab.sweeps.searching import SearchResult, run_search
from bnlab.sweeps.trials import SearchEnded, TheEnd, objective
from bnlab.training.interruption import Interruption

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]
OPTUNA = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6"]
LR = "optim.lr=tag(log, interval(1e-3, 10))"
TROUBLE = ["norm=none,troubled_norms:Troubled", "norm.trouble=trouble.txt"]


@pytest.fixture
def optuna() -> None:
    """Skip where it is not installed."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="no Optuna: pip install 'bnlab[optuna]'")


@pytest.fixture(autouse=True)
def _norms_in_reach() -> None:
    shutil.copy(Path(__file__).with_name("troubled_norms.py"), Path.cwd())


def search(*words: str, runs: str = "runs", jobs: int = 2, **options: Any) -> SearchResult:
    given = {word.partition("=")[0] for word in words}
    common = [word for word in QUICK if word.partition("=")[0] not in given]
    return run_search(plan_search([*common, *OPTUNA, *words], Path(runs), jobs=jobs), **options)


def outcomes(result: SearchResult) -> list[tuple[Mapping[str, str], float | None]]:
    return [(trial.chosen, trial.value) for trial in result.trials.values()]


def metrics(runs: str = "runs") -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path(runs, "s").glob("*/metrics.jsonl")}


def folder_of(*words: str) -> RunFolder:
    return RunFolder(Path(bnlab.train([*QUICK, *words]).folder))


def test_the_objective_of_a_run_that_finished_is_its_validation_loss_at_the_end() -> None:
    folder = folder_of("optim.lr=0.3")
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    losses = [one["values"]["loss"] for one in lines if one["kind"] == "eval" and one["split"] == "validation"]
    assert len(losses) > 1
    assert objective(folder) == losses[-1] < losses[0]


def test_the_objective_of_a_run_that_diverged_is_its_loss_at_the_start() -> None:
    folder = folder_of("optim.lr=1e30", "norm=none")
    assert folder.read_status() == "diverged"
    standing = objective(folder_of("optim.lr=1e-30", "norm=none"))  # trained as good as not at all
    assert objective(folder) == pytest.approx(standing, rel=1e-6)


def test_a_run_without_a_number_has_no_objective() -> None:
    folder = folder_of("optim.lr=1e30", "norm=none")
    records = folder.path / "metrics.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(line for line in lines if '"eval"' not in line))
    with pytest.raises(RunError, match="it diverged, and its validation loss at the start is no number either"):
        objective(folder)
    with pytest.raises(RunError, match="it came to no end"):
        objective(RunFolder(Path("runs/s/nowhere")))


def test_a_trial_that_is_not_to_be_made_ends_the_search_though_failures_do_not() -> None:
    try:
        float(TheEnd())
    except Exception:  # what a sweeper takes for a failure
        raise AssertionError from None
    except SearchEnded:
        pass


@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a search needs something to choose"),
        ([LR, "norm=batch,bacth"], "Did you mean batch"),
        ([LR, "norm=batch,none", "norm=layer"], "norm is given twice: norm=batch,none and norm=layer"),
        ([LR, "optim.lr=0.1"], "optim.lr is given twice"),
        (["optim.lr=interval(-1,1)"], "optim.lr must be greater than 0, got -1"),
        (["optim.lr=tag(log, interval(0, 1))"], r"interval\(...\) takes two numbers above 0, the smaller one first"),
        (["optim.lr=interval(1, 1)"], r"takes two numbers, the smaller one first"),
        ([LR, "hydra.sweeper.n_trial=3"], "Did you mean n_trials"),
        ([LR, "hydra.sweeper.n_trials=0"], "n_trials must be at least 1, got 0"),
        ([LR, "hydra.sweeper.direction=maximize"], "the objective is the validation loss"),
        ([LR, "hydra.sweeper.storage=sqlite:///x"], "hydra.sweeper.storage has no place here"),
        ([LR, "hydra/sweeper=optnua"], "Did you mean optuna"),
    ],
)
def test_a_search_that_cannot_work_is_refused_in_one_sentence_before_any_folder_is_made(
    words: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        plan_search([*QUICK, *OPTUNA, *words])
    assert "\n" not in str(refusal.value)
    assert not Path("runs").exists()


def test_a_search_is_no_sweep_and_a_file_may_ask_for_one() -> None:
    with pytest.raises(ConfigError, match="a search goes by bnlab sweep alone"):
        plan_sweep([*QUICK, "seed=0,1", "hydra/sweeper=optuna"])
    Path("conf/sweep").mkdir(parents=True)
    Path("conf/sweep/mine.yaml").write_text("hydra/sweeper: optuna\nnorm: [batch, none]\n")
    assert is_search(["sweep=mine"])
    assert not is_search(["hydra/sweeper=basic", "seed=0,1"])


@pytest.mark.usefixtures("optuna")
def test_the_same_seed_makes_the_same_choices_and_its_runs_are_those_of_any_sweep() -> None:
    first = search(LR, "norm=batch,none", "hydra.sweeper.sampler.seed=3")
    assert outcomes(search(LR, "norm=batch,none", "hydra.sweeper.sampler.seed=3", runs="twice")) == outcomes(first)
    assert metrics("twice") == metrics()
    other = search(LR, "norm=batch,none", "hydra.sweeper.sampler.seed=4")
    assert not {trial.run for trial in other.trials.values()} & {trial.run for trial in first.trials.values()}
    for trial in list(first.trials.values())[::3]:
        bnlab.train([*QUICK, *(f"{key}={value}" for key, value in trial.chosen.items())], runs="alone")
    alone = metrics("alone")
    assert len(alone) == 2
    assert alone.items() <= metrics().items()
    assert not list(Path("runs/s").glob(".parts*"))


@pytest.mark.usefixtures("optuna")
def test_what_is_finished_is_not_trained_again() -> None:
    first = search("optim.lr=0.01,0.1", jobs=3)  # six trials, two runs: two trials at once want the same one
    assert len(first.sweep.summaries) == 2
    for path in Path("runs/s").glob("*/metrics.jsonl"):
        path.write_bytes(b"touched\n")
    again = search("optim.lr=0.01,0.1", jobs=3)
    assert outcomes(again) == outcomes(first)
    assert set(metrics().values()) == {b"touched\n"}
    assert json.loads(Path("runs/s/sweep.json").read_text())["runs"] == [one.run_id for one in again.sweep.summaries]
    search("optim.lr=0.01,0.1", again=True)
    assert b"touched\n" not in metrics().values()


@pytest.mark.usefixtures("optuna")
def test_words_arrive_as_they_are_typed() -> None:
    words = ["accept=[few_values],['small_momentum'],[]", "norm=none,troubled_norms:Troubled", "model.depth=range(1,3)"]
    result = search(*words, "hydra.sweeper.n_trials=10")
    assert {trial.problem for trial in result.trials.values()} == {None}
    assert {trial.chosen["norm"] for trial in result.trials.values()} == {"none", "troubled_norms:Troubled"}
    assert {trial.chosen["model.depth"] for trial in result.trials.values()} == {"1", "2"}
    for trial in result.trials.values():
        config = RunFolder(result.sweep.folder / str(trial.run)).read_config()
        assert str(config["model"]["depth"]) == trial.chosen["model.depth"]
        assert config["norm"]["name"] == trial.chosen["norm"]


@pytest.mark.usefixtures("optuna")
def test_a_diverged_run_is_no_failure_and_never_the_best() -> None:
    result = search("optim.lr=0.3,1e30", "norm=none")
    values = {trial.chosen["optim.lr"]: trial.value for trial in result.trials.values()}
    assert all(value is not None and math.isfinite(value) for value in values.values())
    assert {summary.status for summary in result.sweep.summaries} == {"finished", "diverged"}
    assert result.best is not None
    assert result.trials[result.best].chosen["optim.lr"] == "0.3"
    assert values["0.3"] < values["1e+30"]


@pytest.mark.usefixtures("optuna")
def test_a_failing_run_is_a_trial_without_an_objective_and_the_search_goes_on() -> None:
    Path("trouble.txt").write_text("raise")
    result = search(*TROUBLE, LR)
    failed = [trial for trial in result.trials.values() if trial.chosen["norm"] != "none"]
    assert 0 < len(failed) < len(result.trials) == 6
    assert all("ArithmeticError: two and two are five" in str(trial.problem) for trial in failed)
    assert all(trial.value is not None for trial in result.trials.values() if trial not in failed)
    assert {result.sweep.reasons[str(trial.run)] for trial in failed} == {trial.problem for trial in failed}
    stopped = search(*TROUBLE, LR, on_error="stop", jobs=1, runs="stopped")
    assert [trial.problem is None for trial in stopped.trials.values()][-1] is False
    assert len(stopped.trials) == 1 + min(n for n, trial in result.trials.items() if trial in failed)


@pytest.mark.usefixtures("optuna")
def test_a_search_in_which_every_trial_fails_comes_to_its_end() -> None:
    Path("trouble.txt").write_text("raise")
    result = search("norm=troubled_norms:Troubled", "norm.trouble=trouble.txt", LR, "hydra.sweeper.n_trials=3")
    assert [trial.value for trial in result.trials.values()] == [None] * 3
    assert (result.best, result.problem) == (None, None)


@pytest.mark.slow
@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_worker_changes_nothing(jobs: int) -> None:
    words = [*TROUBLE, LR, "train.checkpoint_every=5"]
    whole = search(*words, runs="whole", jobs=jobs)
    Path("trouble.txt").write_text("kill once")
    assert outcomes(search(*words, jobs=jobs)) == outcomes(whole)
    assert not Path("trouble.txt").exists()
    assert metrics() == metrics("whole")
    assert any(RunFolder(Path("runs/s") / name).read_manifest().get("resumed") for name in metrics())


@pytest.mark.slow
@pytest.mark.usefixtures("optuna")
def test_a_run_that_kills_its_worker_each_time_is_given_up_and_the_search_goes_on() -> None:
    Path("trouble.txt").write_text("kill")
    result = search("norm=troubled_norms:Troubled,none", "norm.trouble=trouble.txt", "optim.lr=0.1,0.2")
    problems = {str(trial.run): trial.problem for trial in result.trials.values()}
    assert len(result.trials) == 6
    assert any(problem is None for problem in problems.values())
    for name, problem in problems.items():
        expected = "its worker was lost each time" if name.startswith("Troubled") else "None"
        assert str(problem).startswith(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("optuna")
def test_a_search_that_is_cut_off_ends_as_one_that_was_not() -> None:
    words = [LR, "train.steps=3000", "train.checkpoint_every=50", "hydra.sweeper.n_trials=3"]
    whole = search(*words, runs="whole")
    interruption = Interruption()

    class View:
        def take(self, line: Mapping[str, Any]) -> None:
            interruption.is_asked |= "steps" in line

    cut = search(*words, view=View(), interruption=interruption)
    assert "interrupted" in {summary.status for summary in cut.sweep.summaries}
    assert len(cut.trials) <= 2
    assert not list(Path("runs/s").glob(".parts*"))
    assert outcomes(search(*words)) == outcomes(whole)
    assert metrics() == metrics("whole")
