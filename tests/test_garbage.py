"""Python looks for garbage rarely until training begins, or until its first look."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bnlab import garbage
from bnlab.config.compose import compose_run
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member
from bnlab.runfolder.folder import RunFolder
from bnlab.training.stacked import program, replaying


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    garbage.look_as_usual()  # an earlier test may have run a command
    before = gc.get_threshold()
    yield
    garbage.look_as_usual()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_it_looks_rarely_and_then_as_usual() -> None:
    usual = gc.get_threshold()
    garbage.look_rarely()
    assert gc.get_threshold()[0] > 100 * usual[0]
    garbage.look_as_usual()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > 0


def test_from_its_first_look_on_it_looks_as_usual_and_keeps_nothing_for_ever() -> None:
    """A command that trains nothing, such as `bnlab check`, need not say when it has begun."""
    usual = gc.get_threshold()
    garbage.look_rarely()
    gc.collect()  # of a library that is imported: no look of Python's own
    assert gc.get_threshold() != usual
    made = [[] for _ in range(gc.get_threshold()[0])]
    made += [[] for _ in range(10)]
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0


def test_a_process_that_did_not_begin_with_a_command_stays_as_it_is() -> None:
    """In a notebook there is garbage already: freezing would keep it for ever."""
    gc.unfreeze()
    gc.set_threshold(1234)
    garbage.look_as_usual()
    assert gc.get_threshold()[0] == 1234
    assert gc.get_freeze_count() == 0


def num_modules() -> int:
    return sum(issubclass(type(one), nn.Module) for one in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sequential", "vectorized"])
def test_no_network_of_the_first_cohort_is_kept_as_garbage(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights would fill the memory of a worker, or of a GPU, until the sweep ends."""
    monkeypatch.setattr(
        program, "_programs", {}
    )  # full of other tests' programs, they would lose some, which are modules
    monkeypatch.setattr(replaying, "_kept", {})
    configs = [compose_run(["data=digits", "train.steps=2", "model.width=3", f"seed={seed}"]) for seed in (0, 1)]
    num_runs = 1 if engine == "sequential" else 2
    gc.collect()
    garbage.look_rarely()
    run_cohort([Member(one, RunFolder(tmp_path / f"{one.seed}")) for one in configs[:num_runs]], engine)
    assert gc.get_freeze_count() > 0
    gc.collect()  # all but what was there when training began
    gc.unfreeze()
    kept = num_modules()
    gc.collect()
    assert num_modules() == kept


@pytest.mark.slow
def test_commands_begin_so_and_training_looks_as_usual(bnlab_says: Callable[..., Any]) -> None:
    usual = gc.get_threshold()
    bnlab_says("list", "norms")
    assert gc.get_threshold() != usual
    bnlab_says("train", "data=digits", "train.steps=1", "model.width=2", "--quiet")
    assert gc.get_threshold() == usual
