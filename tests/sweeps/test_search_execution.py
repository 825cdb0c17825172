"""Searches: the same trials whatever happens on the way, and what a trial comes to."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pretended_runs import EVALUATIONS, Killed, PretendedRuns, loss_at
from written_runs import write_runs

from bnlab.config.swept_values import Axis
from bnlab.errors import ConfigError, RunBusyError
from bnlab.results.sweep_plan import read_plan
from bnlab.runfolder.folder import RunFolder
from bnlab.schema import RunConfig
from bnlab.sweeps import search_execution
from bnlab.sweeps.grid import expand_one
from bnlab.sweeps.samplers import OLDEST, PRUNERS
from bnlab.sweeps.search_execution import run_search
from bnlab.sweeps.search_plan import JOURNAL, Search
from bnlab.sweeps.sweeper_words import Method
from bnlab.sweeps.trials import SearchResult, Trial
from bnlab.training.interruption import Interruption

optuna = pytest.importorskip(
    "optuna", minversion=f"{OLDEST}.0", reason=f"no Optuna {OLDEST}: pip install 'bnlab[optuna]'"
)

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]
RATE = Axis("optim.lr", ("0.001", "10.0"), is_interval=True, is_log=True)
NORM = Axis("norm", ("batch", "none"))
SEARCH = Search(
    folder=Path("runs/s"),
    overrides=["optim.lr=...", "norm=batch,none"],
    fixed=[],
    axes=[RATE, NORM],
    launcher=[],
    method=Method("random"),
    num_trials=6,
    num_at_a_time=2,
    config_dir=None,
    warnings=[],
)
PRUNER_OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "median": {"n_startup_trials": 2},
    "percentile": {"percentile": 50.0, "n_startup_trials": 2},
    "hyperband": {"min_resource": 20, "max_resource": 100, "reduction_factor": 2},
    "successive_halving": {"min_resource": 20, "reduction_factor": 2},
    "threshold": {"upper": 2.0},
    "patient": {"patience": 1},
    "wilcoxon": {"p_threshold": 0.5},
}


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra takes a tenth of a second for each config, and the disk as long for the lines of each trial."""
    monkeypatch.setattr(search_execution, "expand_one", config_of)
    monkeypatch.setattr("os.fsync", lambda _: None)


@functools.cache
def _config_with(norm: str) -> RunConfig:
    return expand_one([*QUICK, f"norm={norm}"])


def config_of(overrides: Sequence[str], _config_dir: Path | None = None) -> RunConfig:
    words = dict(word.split("=", 1) for word in overrides)
    config = _config_with(words["norm"])
    optim = {key.removeprefix("optim."): float(value) for key, value in words.items() if key.startswith("optim.")}
    return config.model_copy(update={"optim": config.optim.model_copy(update=optim)})


def outcomes(result: SearchResult) -> list[Trial]:
    return list(result.trials.values())


def started_anew(folder: str = "runs") -> Search:
    return replace(SEARCH, folder=Path(folder, "s"))


def test_a_search_ends_with_its_trials_and_the_best_of_them() -> None:
    backend = PretendedRuns()
    result = run_search(SEARCH, backend=backend)
    assert list(result.trials) == list(range(6))
    for trial in outcomes(result):
        config = config_of([f"{key}={value}" for key, value in trial.chosen.items()])
        assert trial.value == min(loss_at(config, 0), loss_at(config, 100))
        assert (trial.problem, trial.pruned_at) == (None, None)
    assert result.best is not None
    assert result.trials[result.best].value == min(trial.value or math.inf for trial in outcomes(result))
    assert json.loads(Path("runs/s/sweep.json").read_text())["runs"] == [one.run_id for one in result.sweep.summaries]
    assert not Path("runs/s/.parts").exists()


@pytest.mark.slow
def test_the_same_seed_chooses_the_same_and_another_seed_does_not() -> None:
    first = run_search(SEARCH, backend=PretendedRuns())
    assert outcomes(run_search(started_anew("twice"), backend=PretendedRuns())) == outcomes(first)
    other = replace(started_anew("other"), method=replace(SEARCH.method, seed=1))
    chosen = [trial.chosen for trial in outcomes(run_search(other, backend=PretendedRuns()))]
    assert not [trial for trial in outcomes(first) if trial.chosen in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_trials_do_not_depend_on_which_run_is_faster(pruner: str) -> None:
    method = Method("tpe", {"n_startup_trials": 3}, pruner=pruner, pruner_options=PRUNER_OPTIONS[pruner])
    results = [
        run_search(replace(started_anew(which), method=method, num_at_a_time=3), backend=PretendedRuns(which))
        for which in ("first", "last", "turns")
    ]
    assert outcomes(results[0]) == outcomes(results[1]) == outcomes(results[2])
    assert any(trial.pruned_at for trial in outcomes(results[0])) == (pruner != "none")


def test_a_search_in_which_nothing_is_missing_trains_nothing() -> None:
    first = run_search(SEARCH, backend=PretendedRuns())
    backend = PretendedRuns()
    assert outcomes(run_search(SEARCH, backend=backend)) == outcomes(first)
    assert backend.submitted == []
    further = run_search(replace(SEARCH, num_trials=8), backend=backend)
    assert outcomes(further)[:6] == outcomes(first)
    assert len(backend.submitted) == 2


def test_a_search_begun_again_makes_the_same_choices_and_trains_each_run_once_more() -> None:
    grid = replace(SEARCH, axes=[Axis("optim.lr", ("0.1", "1.0")), NORM])
    first = run_search(grid, backend=PretendedRuns())
    backend = PretendedRuns()
    assert outcomes(run_search(grid, backend=backend, again=True)) == outcomes(first)
    assert sorted(backend.submitted) == sorted({str(trial.run) for trial in outcomes(first)})


def test_trials_with_the_same_settings_share_a_run() -> None:
    search = replace(SEARCH, axes=[Axis("optim.lr", ("0.1", "1.0")), Axis("norm", ("batch",))], num_at_a_time=3)
    backend = PretendedRuns()
    result = run_search(search, backend=backend)
    assert len(result.trials) == 6
    assert len(backend.submitted) == len(result.sweep.summaries) == 2


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 7, 13, 23])
def test_a_search_that_is_killed_ends_as_one_that_was_not(killed_after: int) -> None:
    method = Method("tpe", {"n_startup_trials": 2}, pruner="median", pruner_options=PRUNER_OPTIONS["median"])
    whole = run_search(replace(started_anew("whole"), method=method), backend=PretendedRuns())
    search = replace(SEARCH, method=method)
    with pytest.raises(Killed):
        run_search(search, backend=PretendedRuns(killed_after=killed_after))
    continued = run_search(search, backend=PretendedRuns())
    assert outcomes(continued) == outcomes(whole)
    assert continued.best == whole.best


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("evaluations", [1, 8])
def test_a_search_that_is_interrupted_chooses_nothing_more_and_ends_as_one_that_was_not(evaluations: int) -> None:
    whole = run_search(started_anew("whole"), backend=PretendedRuns())
    interruption = Interruption()

    class Interrupting(PretendedRuns):
        def watch(self, timeout_s: float) -> list[Any]:
            assert not interruption.is_asked
            interruption.is_asked = len(self.evaluations) >= evaluations
            return super().watch(timeout_s)

    backend = Interrupting("first")
    cut = run_search(SEARCH, backend=backend, interruption=interruption)
    assert len(cut.trials) == evaluations // len(EVALUATIONS)
    assert len(backend.submitted) == len(cut.trials) + SEARCH.num_at_a_time
    assert outcomes(run_search(SEARCH, backend=PretendedRuns())) == outcomes(whole)


def continued_from_lines(method: Method, axes: list[Axis], every: int, first: int = 0, num_trials: int = 6) -> None:
    """Kill a search at some lines of its journal, as it were, and compare the ends."""
    search = replace(SEARCH, method=method, axes=axes, num_trials=num_trials)
    whole = run_search(search, backend=PretendedRuns())
    lines = search.journal.read_bytes().splitlines(keepends=True)
    for number in range(1 + first, len(lines), every):
        search.journal.write_bytes(b"".join(lines[:number]) + lines[number][: len(lines[number]) // 2])
        assert outcomes(run_search(search, backend=PretendedRuns())) == outcomes(whole), lines[number - 1]


@pytest.mark.slow
def test_a_search_continues_from_any_line_of_its_journal_and_from_half_a_line() -> None:
    continued_from_lines(Method("random"), [RATE, NORM], every=17)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "sampler", "options"),  # the lines are of the same kinds with each: all of them are tried together
    [
        (0, "random", {}),
        (1, "tpe", {"n_startup_trials": 2}),
        (2, "cmaes", {}),
        (3, "nsgaii", {"population_size": 2}),
        (1, "nsgaiii", {"population_size": 2}),
    ],
)
def test_a_search_continues_from_any_line_of_its_journal_with_each_sampler(
    first: int, sampler: str, options: dict[str, Any]
) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason="no cmaes: pip install 'bnlab[optuna]'")
    momentum = Axis("optim.momentum", ("0.1", "0.9"), is_interval=True)
    continued_from_lines(Method(sampler, options), [RATE, momentum, NORM], every=4, first=first, num_trials=4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_a_search_that_tries_all_combinations_continues_from_any_line_of_its_journal(sampler: str) -> None:
    continued_from_lines(Method(sampler), [Axis("optim.lr", ("0.1", "1.0", "0.5")), NORM], every=7)


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_a_grid_has_each_combination_once(sampler: str) -> None:
    search = replace(SEARCH, axes=[Axis("optim.lr", ("0.1", "1.0", "0.5")), NORM], method=Method(sampler))
    result = run_search(search, backend=PretendedRuns("last"))
    assert len({tuple(trial.chosen.items()) for trial in outcomes(result)}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["gp", "qmc"])
def test_each_sampler_chooses_the_same_again(sampler: str) -> None:
    search = replace(SEARCH, method=Method(sampler, {"n_startup_trials": 3} if sampler == "gp" else {}))
    first = run_search(search, backend=PretendedRuns())
    assert outcomes(run_search(search, backend=PretendedRuns(), again=True)) == outcomes(first)
    assert len({trial.chosen["optim.lr"] for trial in outcomes(first)}) == 6


def test_a_pruned_run_stops_and_its_trial_keeps_the_losses_up_to_then() -> None:
    method = Method("random", pruner="threshold", pruner_options={"upper": 2.1})
    backend = PretendedRuns()
    result = run_search(replace(SEARCH, method=method), backend=backend)
    pruned = [trial for trial in outcomes(result) if trial.pruned_at is not None]
    assert 0 < len(pruned) < 6
    assert result.best is not None
    assert result.trials[result.best] not in pruned
    (study,) = optuna.get_all_study_summaries(_storage())
    kept = optuna.load_study(study_name=study.study_name, storage=_storage()).trials
    for trial in pruned:
        assert RunFolder(Path("runs/s") / str(trial.run)).read_status() == "interrupted"
        assert trial.pruned_at in EVALUATIONS[1:-1]
        last = max(step for run, step in backend.evaluations if run == trial.run)
        assert last < EVALUATIONS[-1]
        (frozen,) = [one for one in kept if one.user_attrs["run"] == trial.run]
        assert (frozen.state.name, frozen.last_step, frozen.value) == ("PRUNED", trial.pruned_at, trial.value)


def _storage(journal: str = f"runs/s/{JOURNAL}") -> Any:
    return optuna.storages.journal.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))


def test_a_run_that_one_trial_gave_up_is_continued_for_another_that_does_not() -> None:
    search = replace(SEARCH, axes=[Axis("optim.lr", ("10.0",)), Axis("norm", ("none",))], num_trials=1)
    pruned = replace(search, method=Method("random", pruner="threshold", pruner_options={"upper": 2.0}))
    assert run_search(pruned, backend=PretendedRuns()).trials[0].pruned_at == 20
    other = replace(search, method=Method("random", study_name="another"))
    result = run_search(other, backend=PretendedRuns())
    assert [one.status for one in result.sweep.summaries] == ["finished"]
    assert result.trials[0].pruned_at is None


def test_a_run_that_fails_is_a_failed_trial_and_the_search_continues() -> None:
    result = run_search(SEARCH, backend=PretendedRuns(fails=["none"]))
    failed = {number for number, trial in result.trials.items() if trial.chosen["norm"] == "none"}
    assert 0 < len(failed) < 6
    for number, trial in result.trials.items():
        assert (trial.problem == "two and two are five") == (trial.value is None) == (number in failed)
    assert set(result.sweep.reasons) == {str(result.trials[number].run) for number in failed}
    again = run_search(SEARCH, backend=PretendedRuns())  # the cause is mended: it fills in what failed
    assert list(again.trials) == list(range(6))
    assert {trial.problem for trial in outcomes(again)} == {None}
    assert [trial.chosen for trial in outcomes(again)] == [trial.chosen for trial in outcomes(result)]


def test_a_search_that_is_killed_while_it_tries_failures_again_chooses_nothing_new() -> None:
    failing = run_search(SEARCH, backend=PretendedRuns(fails=["none"]))
    failed = [trial.run for trial in outcomes(failing) if trial.problem]
    assert len(failed) > 2
    with pytest.raises(Killed):
        run_search(SEARCH, backend=PretendedRuns(killed_after=7))
    backend = PretendedRuns()
    again = run_search(SEARCH, backend=backend)
    assert set(backend.submitted) <= set(failed)
    assert [trial.run for trial in outcomes(again)] == [trial.run for trial in outcomes(failing)]
    assert {trial.problem for trial in outcomes(again)} == {None}


def test_a_run_that_fails_is_tried_again_as_often_as_asked() -> None:
    backend = PretendedRuns(fails=["none"])
    result = run_search(SEARCH, backend=backend, retries=2)
    for trial in outcomes(result):
        assert backend.submitted.count(str(trial.run)) == (3 if trial.problem else 1)


def test_after_a_failure_no_further_trial_begins_if_so_asked() -> None:
    whole = run_search(started_anew("whole"), backend=PretendedRuns(fails=["none"]))
    first = min(number for number, trial in whole.trials.items() if trial.problem)
    stopped = run_search(replace(SEARCH, num_at_a_time=1), backend=PretendedRuns(fails=["none"]), on_error="stop")
    assert list(stopped.trials) == list(range(first + 1))
    continued = run_search(replace(SEARCH, num_at_a_time=1), backend=PretendedRuns(fails=["none"]))
    assert [trial.chosen for trial in outcomes(continued)] == [trial.chosen for trial in outcomes(whole)]


def test_settings_that_make_no_config_are_a_failed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(overrides: Sequence[str], _: Path | None) -> RunConfig:
        if "norm=none" in overrides:
            raise ConfigError("these do not go together.")
        return config_of(overrides)

    monkeypatch.setattr(search_execution, "expand_one", refuse)
    result = run_search(SEARCH, backend=PretendedRuns())
    assert {trial.problem for trial in outcomes(result) if trial.chosen["norm"] == "none"} == {
        "these do not go together."
    }
    assert {trial.problem for trial in outcomes(result) if trial.chosen["norm"] == "batch"} == {None}


def test_a_run_that_kills_its_worker_each_time_is_given_up_and_takes_no_other_down() -> None:
    search = replace(SEARCH, num_at_a_time=3)
    backend = PretendedRuns(dies=["none"])
    result = run_search(search, backend=backend)
    for trial in outcomes(result):
        lost = trial.chosen["norm"] == "none"
        assert trial.problem == ("its worker was lost: SIGKILL" if lost else None)
        assert backend.submitted.count(str(trial.run)) == 3 or not lost


def test_a_backend_that_begins_nothing_ends_the_search_with_its_reason() -> None:
    class Refusing(PretendedRuns):
        def watch(self, timeout_s: float) -> list[Any]:  # noqa: ARG002
            ended = [searching_part_ended(part) for part in self.training]
            self.training.clear()
            return ended

    result = run_search(SEARCH, backend=Refusing())
    assert result.problem == "no such partition"
    assert result.trials == {}


def searching_part_ended(part: Path) -> Any:
    from bnlab.sweeps.backends.backend import PartEnded  # noqa: PLC0415

    return PartEnded(part, "no such partition")


def test_a_run_whose_folder_is_lost_is_trained_again() -> None:
    first = run_search(SEARCH, backend=PretendedRuns())
    lost = Path("runs/s") / str(first.trials[1].run)
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    backend = PretendedRuns()
    again = run_search(SEARCH, backend=backend)
    assert backend.submitted == [lost.name]
    assert outcomes(again) == outcomes(first)
    assert {one.status for one in again.sweep.summaries} == {"finished"}


def test_one_search_at_a_time_goes_on_in_a_folder() -> None:
    class Second(PretendedRuns):
        def watch(self, timeout_s: float) -> list[Any]:
            with pytest.raises(RunBusyError, match="another process executes a search here"):
                run_search(SEARCH, backend=PretendedRuns())
            return super().watch(timeout_s)

    run_search(replace(SEARCH, num_trials=1), backend=Second())


@pytest.mark.slow
def test_a_database_keeps_the_trials_if_one_is_named() -> None:
    search = replace(SEARCH, method=replace(SEARCH.method, storage="sqlite:///trials.db", study_name="mine"))
    result = run_search(search, backend=PretendedRuns())
    assert not Path("runs/s", JOURNAL).exists()
    study = optuna.load_study(study_name="mine", storage="sqlite:///trials.db")
    assert [trial.value for trial in study.trials] == [trial.value for trial in outcomes(result)]
    assert {tuple(trial.params) for trial in study.trials} == {("optim.lr", "norm")}
    with pytest.raises(ConfigError, match=r"--again would delete the study mine from sqlite:///trials.db"):
        run_search(search, backend=PretendedRuns(), again=True)
    other = replace(search, axes=[RATE, Axis("norm", ("batch", "layer"))], folder=Path("runs/other"))
    with pytest.raises(ConfigError, match=r"Give this search another hydra\.sweeper\.study_name"):
        run_search(other, backend=PretendedRuns())
    assert not Path("runs/other").exists()


@pytest.mark.slow
def test_a_database_that_is_not_there_is_told_in_one_sentence_before_any_folder_is_made() -> None:
    for url in ("sqlite:////no/such/folder/trials.db", "nosuchthing://x", "trials.db"):
        with pytest.raises(ConfigError, match=r"Give the URL of a database, such as sqlite:///") as refusal:
            run_search(replace(SEARCH, method=replace(SEARCH.method, storage=url)), backend=PretendedRuns())
        assert "\n" not in str(refusal.value)
    assert not Path("runs").exists()


def test_what_a_view_is_shown() -> None:
    class View:
        def __init__(self) -> None:
            self.lines: list[Mapping[str, Any]] = []

        def take(self, line: Mapping[str, Any]) -> None:
            self.lines.append(line)

    first, second = View(), View()
    result = run_search(replace(SEARCH, num_trials=2), backend=PretendedRuns(), view=first)
    run_search(SEARCH, backend=PretendedRuns(), view=second)
    assert sorted(line["trial"] for line in first.lines if "trial" in line) == [0, 1]
    values = [trial.value for trial in outcomes(result)]
    assert [line for line in second.lines if "told" in line] == [{"told": 2, "best": min(filter(None, values))}]
    assert sorted(line["trial"] for line in second.lines if "trial" in line) == [2, 3, 4, 5]


def test_a_search_keeps_the_runs_that_another_command_adds_to_its_folder_meanwhile() -> None:
    search = replace(SEARCH, folder=Path("runs/s")).with_its_runs_written(["trial-0"])
    beside = write_runs(Path("runs/s"), lambda *_: {}, norms=("layer",), lrs=(0.1,), seeds=(0,))
    (added,) = read_plan(beside).runs
    search.with_its_runs_written(["trial-0", "trial-1"])
    assert read_plan(search.folder).runs == (added, "trial-0", "trial-1")
