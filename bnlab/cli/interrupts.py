"""Ctrl-C at an unlucky moment, and what is said when it or a signal has cut a command off."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from bnlab.cli.consoles import say_warning

LOOK_EVERY_S = 0.05
"""Seconds between two looks whether an import has ended."""


def say_interrupted(folder: Path, what: str = "") -> None:
    """Say that a command was cut off, where its records are, and that it can be typed again.

    Args:
        folder: Where what was recorded is.
        what: What is missing; empty: nothing is said of it.
    """
    missing = f"{what} " if what else ""
    say_warning(f"interrupted; {missing}what was recorded is in {folder}; the same command continues from there")


@contextlib.contextmanager
def hearing_interruptions() -> Iterator[None]:
    """Raise KeyboardInterrupt in this context whenever Ctrl-C comes, but at a moment when that is safe.

    During an import it waits for the end of the import: there the exception would meet C++ code of torch's, which
    aborts the process, and nobody would end the workers. In a destructor, where Python prints the exception and forgets
    it, it is raised again. Where Ctrl-C is ignored, as in the background of a script, it stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    report = sys.unraisablehook

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            interrupt.soon()
        else:
            report(unraisable)

    interrupt = _Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = report
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interrupt:
    """A handler that raises KeyboardInterrupt, once, as soon as no import is under way, however often Ctrl-C comes."""

    def __init__(self) -> None:
        self._is_waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not _is_in_an_import(frame):
            self._is_waiting = False
            signal.default_int_handler(number, frame)
        self.soon()

    def soon(self) -> None:
        """Call the handler again, in a moment."""
        if not self._is_waiting:
            self._is_waiting = True
            timer = threading.Timer(LOOK_EVERY_S, self._call)
            timer.daemon = True
            timer.start()

    def _call(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            if hasattr(signal, "pthread_kill"):  # wakes the main thread where it sleeps or waits for a worker
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            else:  # Windows
                _thread.interrupt_main()


def _is_in_an_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False
