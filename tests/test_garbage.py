"""Python looks for garbage rarely until training begins."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bnlab import garbage


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_it_looks_rarely_and_then_as_usual() -> None:
    usual = gc.get_threshold()
    garbage.look_rarely()
    assert gc.get_threshold()[0] > 100 * usual[0]
    garbage.look_as_usual()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > 0


def test_a_process_that_did_not_begin_with_a_command_stays_as_it_is() -> None:
    """In a notebook there is garbage already: freezing would keep it for ever."""
    gc.unfreeze()
    gc.set_threshold(1234)
    garbage.look_as_usual()
    assert gc.get_threshold()[0] == 1234
    assert gc.get_freeze_count() == 0


@pytest.mark.slow
def test_commands_begin_so_and_training_looks_as_usual(bnlab_says: Callable[..., Any]) -> None:
    usual = gc.get_threshold()
    bnlab_says("list", "norms")
    assert gc.get_threshold() != usual
    bnlab_says("train", "data=digits", "train.steps=1", "model.width=2", "--quiet")
    assert gc.get_threshold() == usual
