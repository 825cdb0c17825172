"""What becomes of runs whose parts end before they begin."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_backend import FakeBackend

from bnlab.config.compose import compose_run
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.dispatcher import Dispatcher
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
