"""The table of run states: what moves a run where, and what does not."""

from folded import folded

from bnlab.sweeps.run_states import (
    _MOVES,
    BUSY,
    FAILED,
    FINAL,
    FINISHED,
    GIVEN_UP,
    INTERRUPTED,
    MOST_DEATHS,
    SUBMITTED,
    TRAINING,
    WAITING,
    RunState,
    RunStates,
)


def state_of(states: RunStates, name: str = "a") -> RunState:
    (state,) = (state for state in RunState if states.those_in(state, among=[name]))
    return state


def of(*names: str, retries: int = 0) -> RunStates:
    states = RunStates(retries)
    assert states.add(names) == list(names)
    return states


def after(*happened: str) -> RunState:
    states = of("a", "b")
    for one in happened:
        states.move(one, "a")
    assert state_of(states, "b") is WAITING
    return state_of(states)


@folded(
    ("happened", "state"),
    [
        ([], WAITING),
        (["submit"], SUBMITTED),
        (["submit", "step"], TRAINING),
        (["submit", "step", "step"], TRAINING),
        (["submit", "find busy"], BUSY),
        (["submit", "step", "interrupt"], INTERRUPTED),
        (["submit", "step", "interrupt", "step"], TRAINING),  # the cluster put its job into the queue again
        (["submit", "step", "lose"], WAITING),
        (["submit", "lose"], SUBMITTED),  # it has not begun: something else killed the worker
        (["step"], WAITING),  # a line of progress that comes late
        (["submit", "try again"], WAITING),
        (["submit", "step", "find result"], FINISHED),
    ],
)
def test_what_happens_moves_a_run(happened: list[str], state: RunState) -> None:
    assert after(*happened) is state


def test_a_run_in_a_final_state_stays_there() -> None:
    for first in (["find result"], ["submit", "fail, last try"], ["submit", "step", "lose, last try"]):
        for later in _MOVES:
            assert after(*first, later) in FINAL
            assert after(*first, later) is after(*first)


def test_every_state_but_the_final_ones_leads_to_another_and_is_reached() -> None:
    assert {state for before, _ in _MOVES.values() for state in before} == set(RunState) - FINAL
    assert {state for _, state in _MOVES.values()} == set(RunState)


def test_a_run_fails_for_good_after_its_retries() -> None:
    states = of("a", retries=1)
    for is_last in (False, True):
        states.move("submit", "a")
        assert states.fail("a", "two and two are five") is is_last
    assert state_of(states) is FAILED
    assert states.reasons == {"a": "two and two are five"}


def test_a_run_is_given_up_after_the_deaths_of_its_workers() -> None:
    states = of("a")
    for number in range(MOST_DEATHS):
        assert states.num_deaths("a") == number
        assert state_of(states) is WAITING
        states.move("submit", "a")
        states.move("step", "a")
        states.lose("a", "it was killed")
    assert state_of(states) is GIVEN_UP
    assert states.reasons == {"a": "its worker was lost: it was killed"}


def test_a_run_that_is_added_twice_stays_where_it_is() -> None:
    states = of("a")
    assert states.move("submit", "a", "unknown") == ["a"]
    assert states.add(["a", "b"]) == ["b"]
    assert [state_of(states, name) for name in "ab"] == [SUBMITTED, WAITING]
