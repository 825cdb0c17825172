import signal
import sys
import time

import psutil
import pytest
from processes import processes_that_end, take_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals and no sleep")


def is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # dead, and nobody's to bury
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("has_ended", [False, True])
def test_what_a_started_process_has_started_ends_with_the_test(has_ended: bool) -> None:
    with processes_that_end() as start:
        process = start("sh", "-c", f"sleep 600 >&- 2>&- & echo $!; {'true' if has_ended else 'wait'}")
        assert process.stdout is not None
        child = int(process.stdout.readline())
        if has_ended:
            process.wait()
        assert not is_over(child)
    for _ in range(1000):
        if is_over(child):
            break
        time.sleep(0.01)
    assert is_over(child)
    assert process.returncode == (0 if has_ended else -signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_signals_that_the_runner_ignores_are_taken_all_the_same(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        take_signals()
        assert signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}
        handler = signal.signal(number, lambda *_: None)
        assert handler is (signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    finally:
        signal.signal(number, before)


def test_handlers_that_are_there_stay() -> None:
    def handler(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        take_signals()
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)
