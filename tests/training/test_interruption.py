import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bnlab
from bnlab.training.interruption import SIGNALS, interruptible

PATIENCE_S = 5.0
NUMBERS = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _signals_are_handled() -> Iterator[None]:
    """Set the usual handlers, whatever the process that started the tests ignores."""
    usual = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(NUMBERS, signal.SIG_DFL)}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    left = {number: signal.getsignal(number) for number in usual}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert left == usual


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_requests_a_stop_once_even_if_it_comes_twice_and_does_not_kill(number: int) -> None:
    with interruptible() as interruption:
        assert not interruption.is_asked
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert interruption.is_asked
    assert (interruption.signals, interruption.exit_status) == ([number], 128 + number)


def test_the_exit_status_is_that_of_the_first_signal() -> None:
    with interruptible() as interruption:
        for number in reversed(NUMBERS):
            signal.raise_signal(number)
    assert interruption.exit_status == 128 + NUMBERS[-1]


def test_ctrl_c_is_left_alone_before_the_first_step() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert not interruption.is_asked


def test_ctrl_c_while_steps_are_made_asks_once_and_stops_at_the_second() -> None:
    said: list[str] = []
    with interruptible(said.append) as interruption:
        interruption.begin()
        signal.raise_signal(signal.SIGINT)
        assert (interruption.is_asked, interruption.exit_status) == (True, 130)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1


def test_ctrl_c_is_answered_when_the_main_thread_has_left_what_the_answer_needs() -> None:
    """A live view draws under a lock, which is held wherever Ctrl-C may come."""
    lock, said = threading.Lock(), []

    def say(text: str) -> None:
        if lock.acquire(timeout=PATIENCE_S):  # a handler would wait in vain for what it has interrupted
            said.append(text)
            lock.release()

    with interruptible(say) as interruption:
        interruption.begin()
        with lock:
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1


def test_a_previous_handler_is_called_once_at_the_end_and_restored() -> None:
    called: list[str] = []

    def handler(number: int, frame: object) -> None:  # noqa: ARG001
        called.append("theirs")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            called.append("checkpoint")
        assert called == ["checkpoint", "theirs"]
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_previous_handler_is_called_even_if_the_run_failed() -> None:
    def requeue(number: int, frame: object) -> None:  # noqa: ARG001
        raise SystemExit(7)

    def fails() -> None:
        with interruptible():
            signal.raise_signal(signal.SIGTERM)
            raise ZeroDivisionError

    before = signal.signal(signal.SIGTERM, requeue)
    try:
        with pytest.raises(SystemExit) as caught:
            fails()
        assert caught.value.code == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_inner_context_passes_the_signal_to_the_outer_one() -> None:
    with interruptible() as outer:
        with interruptible() as inner:
            signal.raise_signal(signal.SIGTERM)
            assert not outer.is_asked
        assert inner.is_asked
        assert outer.is_asked


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            signal.raise_signal(signal.SIGTERM)
        assert not interruption.is_asked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def look() -> None:
        with interruptible() as interruption:
            seen.extend([interruption.is_asked, [signal.getsignal(number) for number in NUMBERS]])

    before = [signal.getsignal(number) for number in NUMBERS]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [False, before]


def test_it_is_known_without_torch() -> None:
    code = "import sys; import bnlab.training.interruption; print('torch' in sys.modules)"
    here = Path(bnlab.__file__).parents[1]
    said = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
