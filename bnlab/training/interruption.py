"""Somebody's wish that training stop where it can go on later; and the signals that bring it. No torch.

A shutdown, a scheduler and a container's end send SIGTERM. Slurm tells of a preemption or a time-out by a signal of
one's choice: SIGUSR1 and SIGUSR2 are those that are in use, by submitit too. All three leave the time that a
checkpoint takes before the process is killed. Ctrl-C (SIGINT) is left alone: whoever sits in front of it wants it to
stop now.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2")
"""By name: Windows has the first alone."""


class Interruption:
    """Somebody's wish that training stop after the step that is being made, with a checkpoint.

    Attributes:
        is_asked: Set it from a signal handler or another thread.
        signals: The signals that brought the wish, in the order they came, each once.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self.signals: list[int] = []

    @property
    def exit_status(self) -> int:
        """What a process that ends because of it says: 128 and the signal's number, as in a shell. SIGTERM: 143."""
        return 128 + (self.signals[0] if self.signals else int(signal.SIGTERM))


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the signals that announce an end into a wish to stop, as long as the context lasts.

    The same signal again changes nothing: `timeout`, systemd and Slurm send some of them twice. Signals that are
    ignored stay ignored. On the way out the handlers that were there before are put back, and a handler of somebody
    else's that would have been called (submitit's puts the job into the queue again) is called then, once, when the
    checkpoint is on disk. Where there was none, it is left to the caller to end the process with `exit_status`.

    Outside of the main thread Python allows no handlers, and nothing is changed.

    Example:
        >>> with interruptible() as interruption:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interruption.is_asked, interruption.exit_status
        (True, 143)
    """
    interruption = Interruption()

    def ask(number: int, _frame: FrameType | None) -> None:
        interruption.is_asked = True
        if number not in interruption.signals:
            interruption.signals.append(number)

    numbers = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # None: a handler that is not Python's, which could not be put back
    before = {n: handler for n in numbers if (handler := signal.getsignal(n)) not in {signal.SIG_IGN, None}}
    try:
        for number in before:
            signal.signal(number, ask)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in interruption.signals:
            if callable(before[number]):
                signal.raise_signal(number)
