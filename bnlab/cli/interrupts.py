"""Ctrl-C at an unlucky moment."""

import _thread
import signal
import sys
import threading
from types import FrameType

LOOK_EVERY_S = 0.05
"""Seconds between two looks whether an import is at its end."""


def hear_interruptions() -> None:
    """See to it that Ctrl-C ends the command whenever it comes.

    In the middle of an import it waits for the end: C++ code of torch's that Python's exception hits there aborts the
    process, and nobody would end the workers. Where nobody can catch the exception, as in a destructor, Python would
    report it and forget it: it is raised again. Where Ctrl-C is ignored it stays so, as in a script's background.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupt())
        sys.unraisablehook = _raise_again


class _Interrupt:
    """A handler that raises KeyboardInterrupt, once, as soon as nothing is imported."""

    def __init__(self) -> None:
        self._waiting: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not _is_in_an_import(frame):
            signal.default_int_handler(number, frame)
        if self._waiting is None and "bnlab.sweeps.workers" in sys.modules:
            sys.modules["bnlab.sweeps.workers"].kill_workers()  # they import too, and the sooner it is over
        if self._waiting is None or not self._waiting.is_alive():
            self._waiting = _soon()


def _soon() -> threading.Timer:
    timer = threading.Timer(LOOK_EVERY_S, _thread.interrupt_main)
    timer.daemon = True
    timer.start()
    return timer


def _is_in_an_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _soon()
    else:
        sys.__unraisablehook__(unraisable)
