"""The words of a search: which sampler, which pruner, how many trials, and one sentence for words that are wrong."""

from pathlib import Path
from typing import Any

import pytest
from written_runs import write_planned

from bnlab.errors import ConfigError
from bnlab.sweeps.plan import is_search, plan_sweep
from bnlab.sweeps.samplers import OLDEST, PRUNERS, SAMPLERS, build_pruner, build_sampler
from bnlab.sweeps.search_plan import Search, plan_search
from bnlab.sweeps.sweeper_words import Method, method_of, read_sweeper

pytest.importorskip("optuna", minversion=f"{OLDEST}.0", reason=f"no Optuna {OLDEST}: pip install 'bnlab[optuna]'")

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]
LR = "optim.lr=tag(log, interval(1e-3, 10))"


def planned(*words: str, jobs: int | None = None) -> Search:
    return plan_search([*QUICK, "hydra/sweeper=optuna", *words], jobs=jobs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a search needs something to choose"),
        (["norm=batch,bacth"], "Did you mean batch"),
        (["norm=batch,none", "norm=layer"], "norm is given twice: norm=batch,none and norm=layer"),
        ([LR, "optim.lr=0.1"], "optim.lr is given twice"),
        (["optim.lr=interval(-1,1)"], "optim.lr must be greater than 0, got -1"),
        (["optim.lr=tag(log, interval(0, 1))"], r"interval\(...\) takes two numbers above 0, the smaller one first"),
        (["optim.lr=interval(1, 1)"], r"takes two numbers, the smaller one first"),
        (["model.depth=interval(1.5, 3)"], r"model.depth must be a valid integer, got 1.5"),
        ([LR, "hydra.sweeper.n_trial=3"], "hydra.sweeper.n_trial is not a setting. Did you mean n_trials"),
        ([LR, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be at least 1, got 0"),
        ([LR, "hydra.sweeper.n_trials=some"], "hydra.sweeper.n_trials must be at least 1, got some"),
        ([LR, "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs must be at least 1, got 0"),
        ([LR, "hydra.sweeper.n_trials=3,4"], "hydra.sweeper.n_trials=3,4: a search takes one value of it"),
        ([LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_trials=4"], "n_trials is given twice: 3 and 4"),
        ([LR, "hydra.sweeper.direction=maximize"], "the objective is the validation loss, which is minimized"),
        ([LR, "hydra.sweeper.params={a:1}"], "hydra.sweeper.params has no place here"),
        ([LR, "hydra.sweeper.max_failure_rate=0.5"], "a search continues after a failure, unless you give --on-error"),
        ([LR, "hydra.sweeper.sampler.seed=-1"], "sampler.seed must be a whole number from 0 to 4294967295, got -1"),
        ([LR, "hydra/sweeper/sampler=tpee"], "hydra.sweeper.sampler=tpee is not known. Did you mean tpe"),
        ([LR, "hydra/sweeper/sampler=motpe"], "hydra.sweeper.sampler=motpe is not known. Did you mean tpe"),
        ([LR, "hydra.sweeper.sampler.n_startup_trial=3"], "Did you mean n_startup_trials"),
        ([LR, "hydra.sweeper.sampler.n_startup_trials=x"], "n_startup_trials must be a valid integer, got x"),
        ([LR, "hydra.sweeper.sampler.gamma=3"], "hydra.sweeper.sampler.gamma is not a setting"),
        ([LR, "hydra/sweeper/sampler=grid"], "sampler=grid tries every combination, and optim.lr is an interval"),
        ([LR, "hydra.sweeper.pruner=medain"], "hydra.sweeper.pruner=medain is not known. Did you mean median"),
        ([LR, "hydra.sweeper.pruner.n_warmup_steps=3"], "not a setting of hydra.sweeper.pruner=none. It has no"),
        ([LR, "hydra.sweeper.pruner=percentile"], "Write hydra.sweeper.pruner.percentile=VALUE besides"),
        ([LR, "hydra.sweeper.pruner=threshold"], "threshold: Either lower or upper must be specified"),
        ([LR, "hydra.sweeper.pruner=patient", "hydra.sweeper.pruner.wrapped_pruner=x"], "wrapped_pruner is not a"),
        ([LR, "hydra/launcher=sulrm"], "Did you mean slurm"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_work_is_refused_in_one_sentence_before_any_folder_is_made(
    words: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        planned(*words)
    assert "\n" not in str(refusal.value)
    assert not Path("runs").exists()


def test_a_sweeper_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hydra/sweeper=optnua is not known\. Did you mean optuna"):
        plan_search([*QUICK, LR, "hydra/sweeper=optnua"])


def method(*words: str) -> Method:
    return method_of(read_sweeper(words)[0])


def test_the_words_say_how_a_search_chooses() -> None:
    assert method("hydra/sweeper=optuna") == Method("tpe")
    assert method(
        "hydra/sweeper/sampler=nsgaii",
        "hydra.sweeper.sampler.population_size=9",
        "hydra.sweeper.sampler.seed=7",
        "hydra.sweeper.pruner=median",
        "hydra.sweeper.pruner.n_warmup_steps=50",
        "hydra.sweeper.direction=minimize",
        "hydra.sweeper.storage=sqlite:///trials.db",
        "hydra.sweeper.study_name=mine",
    ) == Method("nsgaii", {"population_size": 9}, 7, "median", {"n_warmup_steps": 50}, "sqlite:///trials.db", "mine")
    assert not Path("trials.db").exists()
    assert method("hydra.sweeper.sampler.seed=null").seed == 0
    assert method("hydra/sweeper/pruner=hyperband", "hydra.sweeper.sampler=random") == Method(
        "random", pruner="hyperband"
    )


@pytest.mark.parametrize(
    ("words", "jobs", "expected"),
    [([], None, (20, 2)), ([], 5, (20, 5)), (["hydra.sweeper.n_jobs=3", "hydra.sweeper.n_trials=7"], 5, (7, 3))],
)
def test_the_words_say_how_many_trials_there_are(words: list[str], jobs: int | None, expected: tuple[int, int]) -> None:
    search = planned(LR, *words, jobs=jobs)
    assert (search.num_trials, search.num_at_a_time) == expected


def test_an_interval_has_numbers_of_its_settings_own_type() -> None:
    depth, rate = planned("model.depth=interval(1,3)", "optim.lr=interval(1,3)").axes
    assert (depth.values, depth.is_real_interval) == (("1", "3"), False)
    assert (rate.values, rate.is_real_interval) == (("1.0", "3.0"), True)


def test_a_grid_has_no_more_trials_than_combinations() -> None:
    assert planned("model.depth=interval(1,3)", "norm=batch,none", "hydra.sweeper.sampler=grid").num_trials == 6


def test_a_seed_that_is_searched_is_warned_of() -> None:
    assert any("the best trial will be the luckiest" in warning for warning in planned(LR, "seed=0,1").warnings)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tpe", {"n_startup_trials": 3, "constant_liar": False}),
        pytest.param("cmaes", {"x0": {"optim.lr": 1}}, marks=pytest.mark.slow),
    ],
)
def test_options_reach_the_sampler(name: str, options: dict[str, Any]) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes", reason="no cmaes: pip install 'bnlab[optuna]'")
    sampler = build_sampler(name, options, 0, [])
    assert type(sampler).__name__ == SAMPLERS[name]
    assert [getattr(sampler, f"_{option}") for option in options] == list(options.values())


def test_options_reach_the_pruner() -> None:
    pruner = build_pruner("patient", {"patience": 3, "min_delta": 0.5})
    assert type(pruner).__name__ == PRUNERS["patient"]
    assert (pruner._patience, pruner._min_delta) == (3, 0.5)


def test_a_search_is_no_sweep_and_a_file_may_ask_for_one() -> None:
    with pytest.raises(ConfigError, match="only the command bnlab sweep can search"):
        plan_sweep([*QUICK, "seed=0,1", "hydra/sweeper=optuna"])
    Path("conf/sweep").mkdir(parents=True)
    Path("conf/sweep/mine.yaml").write_text("hydra/sweeper: optuna\nnorm: [batch, none]\n")
    assert is_search(["sweep=mine"])
    assert not is_search(["hydra/sweeper=basic", "seed=0,1"])


@pytest.mark.slow
def test_settings_of_a_sweeps_file_are_not_taken_for_typed_ones(tmp_path: Path) -> None:
    before = ["data=digits", "train.steps=500", "diagnostics=none", "norm=none", "name=s"]
    write_planned(before, lambda *_: {}, tmp_path)
    words = ["sweep=lr-sensitivity", "data=digits", "norm=none", "name=s", "hydra/sweeper=optuna"]
    with pytest.raises(ConfigError, match=r"eval_every=500 by sweep=lr-sensitivity\. .* add .* train.eval_every=null"):
        plan_search(words, tmp_path)
    assert plan_search([*words, "train.eval_every=null"], tmp_path).tried
