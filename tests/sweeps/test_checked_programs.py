"""What does not differ between the runs of a program is found out once for each program of a sweep."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.sweep_command import run
from bnlab.config.compose import compose_run
from bnlab.experiment import checking
from bnlab.models import catalog
from bnlab.sweeps import checked_programs
from bnlab.sweeps.checked_programs import CheckedPrograms

FOUR_RUNS = [
    "norm=batch,none",
    "seed=0,1",
    "data=digits",
    "data.limit=200",
    "train.steps=5",
    "model.width=8",
    "loggers=[]",
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often configs are checked, and models built, from now on."""
    counted: Counter[str] = Counter()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counted[function.__name__] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(checked_programs, "check", counting(checking.check))
    monkeypatch.setattr("bnlab.experiment.cohort_run.check", counting(checking.check))
    find = catalog.find_network
    monkeypatch.setattr(catalog, "find_network", lambda name: counting_builds(find(name), counted))
    return counted


def counting_builds(build: Callable[..., Any], counted: Counter[str]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        counted["build"] += 1
        return build(*arguments)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["vectorized", "sequential"])
def test_a_sweep_checks_each_program_once_and_builds_a_model_for_each_run_and_four_more_for_each_program(
    calls: Counter[str], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnlab.sweeps.plan.SHORT", 0)  # else there is no estimate
    monkeypatch.setattr("bnlab.sweeps.time_estimate.TRIED_S", 0.01)
    monkeypatch.setattr("bnlab.sweeps.time_estimate.PATIENCE_S", 1000.0)  # each program is tried, on a slow machine too
    assert run([*FOUR_RUNS, f"sweep.engine={engine}"], SweepOptions(jobs=1)) == 0
    assert calls["check"] == 2
    # a check builds 2 models, without numbers; the estimate those of one cohort; training one for each run
    estimated = {"vectorized": 4, "sequential": 2}[engine]
    assert calls["build"] == 2 * 2 + estimated + 4


@pytest.mark.slow
@pytest.mark.parametrize(("more", "num_estimated"), [([], 0), (["train.steps=2000"], 4)])
def test_a_sweep_that_is_over_sooner_than_its_time_is_told_has_no_estimate(
    more: list[str], num_estimated: int, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnlab.cli.sweep_command.execute_shown", lambda *_: 0)
    kept = [word for word in FOUR_RUNS if not (more and word.startswith("train.steps"))]
    assert run([*kept, *more, "sweep.engine=vectorized"], SweepOptions(jobs=1)) == 0
    assert calls["build"] == 2 * 2 + num_estimated


@pytest.mark.slow
def test_configs_that_differ_in_what_a_check_looks_at_are_checked_one_by_one(calls: Counter[str]) -> None:
    checks = CheckedPrograms()
    words = ["data=digits", "data.limit=200", "train.steps=5", "model.width=8"]
    for word in ("seed=0", "seed=1", "optim.lr=1", "model.init_std=0.1"):
        checks.check(compose_run([*words, word]))
    assert calls["check"] == 1
    for number, word in enumerate(("train.steps=6", "data.limit=100", "optim.weight_decay=0.1", "norm=none")):
        found = checks.check(compose_run([*words[:1], word, *words[3:]]))
        assert calls["check"] == 2 + number
        assert len(found.data.train) > 0
    assert checks.check(compose_run(["data=digits", "train.steps=6", "model.width=8"])).plan.num_steps == 6


def test_data_that_were_written_anew_are_opened_anew() -> None:
    checks = CheckedPrograms()
    config = compose_run(["data=digits", "data.limit=200", "train.steps=5", "model.width=8"])
    first = checks.check(config).data
    assert checks.check(config).data is first
    other = compose_run(["data=digits", "data.limit=100", "train.steps=5", "model.width=8"])
    assert len(checks.check(other).data.train) < len(first.train)
