"""What becomes of runs whose parts end before they begin."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_backend import FakeBackend

from bnlab.config.compose import compose_run
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.dispatcher import Dispatcher
from bnlab.sweeps.parts import Part
from bnlab.sweeps.progress import Say
from bnlab.sweeps.run_states import GIVEN_UP, WAITING

FIRST, SECOND = (PlannedCohort("sequential", (compose_run(["data=digits", f"seed={seed}"]),)) for seed in (0, 1))
NAMES = [*FIRST.run_ids, *SECOND.run_ids]


@pytest.fixture
def dispatcher() -> Dispatcher:
    dispatcher = Dispatcher(Path("runs/s"), [], retries=9)
    dispatcher.add(NAMES)
    return dispatcher


def train(dispatcher: Dispatcher, cohorts: Sequence[PlannedCohort], backend: FakeBackend) -> None:
    dispatcher.submit([[cohort] for cohort in cohorts], backend)
    while dispatcher.is_training:
        dispatcher.watch()


def test_a_run_that_does_not_begin_twice_while_no_other_does_is_an_obstacle(dispatcher: Dispatcher) -> None:
    backend = FakeBackend(lambda _, __: "no such partition")
    with dispatcher:
        for obstacle in (None, "no such partition"):
            assert dispatcher.cohorts_to_submit([FIRST, SECOND]) == [FIRST, SECOND]
            train(dispatcher, [FIRST, SECOND], backend)
            assert dispatcher.obstacle == obstacle
    assert dispatcher.states.reasons[NAMES[0]] == "it could not begin: no such partition"


def test_a_run_that_does_not_begin_twice_while_another_does_is_given_up_alone(dispatcher: Dispatcher) -> None:
    def happens(runs: list[str], say: Say) -> str | None:
        if runs == NAMES[1:]:
            say({"steps": {NAMES[1]: 1}})
            say({"failed": runs, "reason": "two and two are five"})
            return None
        return "node n7 is not ready"

    backend = FakeBackend(happens)
    with dispatcher:
        train(dispatcher, [FIRST], backend)
        assert dispatcher.cohorts_to_submit([FIRST, SECOND]) == [SECOND]  # the other one waits
        train(dispatcher, [SECOND], backend)
        train(dispatcher, [FIRST], backend)
    assert dispatcher.obstacle is None
    assert dispatcher.states.those_in(GIVEN_UP) == NAMES[:1]
    assert dispatcher.states.those_in(WAITING) == NAMES[1:]


def test_a_run_is_not_submitted_again_as_long_as_its_part_has_not_ended(dispatcher: Dispatcher) -> None:
    backend = FakeBackend()
    with dispatcher:
        dispatcher.submit([[FIRST]], backend)
        for line in ({"failed": NAMES[:1], "reason": "two and two are five"}, {"busy": NAMES[:1]}):
            dispatcher.folder.take(line)
            dispatcher.look_at_folders()
            assert dispatcher.cohorts_to_submit([FIRST, SECOND]) == [SECOND]


def test_a_run_that_nobody_wants_any_more_before_it_begins_is_no_obstacle(dispatcher: Dispatcher) -> None:
    backend = FakeBackend(lambda _, __: None)
    with dispatcher:
        for _ in range(3):
            dispatcher.submit([[FIRST]], backend)
            dispatcher.stop_all_but(NAMES[1:])
            dispatcher.watch()
    assert dispatcher.obstacle is None
    assert NAMES[0] not in dispatcher.states.reasons


def test_a_suspect_waits_until_the_others_are_done_and_nothing_begins_beside_it(dispatcher: Dispatcher) -> None:
    def happens(runs: list[str], say: Say) -> str | None:
        say({"steps": dict.fromkeys(runs, 1)})
        say({"failed": runs[1:], "reason": "two and two are five"})
        return "it was killed" if runs == NAMES[:1] else None

    backend = FakeBackend(happens)
    with dispatcher:
        train(dispatcher, [FIRST], backend)
        assert dispatcher.states.num_deaths(NAMES[0]) == 1
        assert dispatcher.cohorts_to_submit([FIRST, SECOND]) == [SECOND]
        dispatcher.submit([[SECOND]], backend)
        assert dispatcher.cohorts_to_submit([FIRST, SECOND]) == []
        dispatcher.watch()
        assert dispatcher.cohorts_to_submit([FIRST]) == [FIRST]
        dispatcher.submit([[FIRST]], backend)
        assert dispatcher.cohorts_to_submit([SECOND]) == []
        dispatcher.watch()


def test_after_a_run_that_found_no_room_nothing_is_submitted_and_it_counts_as_failed() -> None:
    def happens(runs: list[str], say: Say) -> None:
        say({"steps": dict.fromkeys(runs, 1)})
        say({"failed": runs, "reason": "there is no room", "no_room": True})

    dispatcher = Dispatcher(Path("runs/s"), [])
    dispatcher.add(NAMES)
    with dispatcher:
        train(dispatcher, [FIRST], FakeBackend(happens))
        assert dispatcher.folder.is_stopped
    assert dispatcher.obstacle is not None
    assert "there is no room" in dispatcher.obstacle
    assert [one.status for one in dispatcher.read_summaries(dict.fromkeys(NAMES, 0))] == ["failed", "interrupted"]


def test_a_full_disk_is_an_obstacle_even_where_no_worker_can_say_so(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dispatcher:
        monkeypatch.setattr("bnlab.sweeps.dispatcher.has_no_room", lambda _: True)
        train(dispatcher, [FIRST], FakeBackend(lambda *_: None))
    assert "there is no room" in str(dispatcher.obstacle)


def test_a_part_that_cannot_be_written_leaves_its_runs_waiting(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Part, "write", no_room)
    backend = FakeBackend()
    with dispatcher:
        dispatcher.submit([[FIRST]], backend)
    assert backend.batches == []
    assert dispatcher.states.those_in(WAITING) == NAMES
    assert "there is no room" in str(dispatcher.obstacle)
