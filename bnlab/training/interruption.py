"""A request that training stop after the current step, with a checkpoint; and the signals that make it. No torch.

A shutdown, a scheduler and the end of a container send SIGTERM; a terminal that is closed sends SIGHUP, unless nohup
was typed. Slurm announces a preemption or a time limit by a signal that the user chooses: SIGUSR1 and SIGUSR2 are
usual, in submitit too. All four leave time for a checkpoint. So does Ctrl-C (SIGINT) while steps are being made: the
first one asks, the second stops at once. Before the first step there is nothing to keep, and Ctrl-C stops at once.
"""

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Names of signals, since Windows has only the first."""


class Interruption:
    """A request that training stop after the current step, with a checkpoint.

    Attributes:
        is_asked: Whether the stop is requested. A signal handler or another thread may set it.
        is_training: Whether steps are being made, so that Ctrl-C waits for a checkpoint.
        signals: The numbers of the signals that requested the stop, in the order of arrival, each once.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self.is_training = False
        self.signals: list[int] = []

    def begin(self) -> None:
        """Tell that steps are being made from now on."""
        self.is_training = True

    def end(self) -> None:
        """Tell that no steps are made for now: Ctrl-C stops at once again, as between two sweeps of a command."""
        self.is_training = False

    @property
    def exit_status(self) -> int:
        """The exit status of a process that stops on request: 128 plus the signal's number; 143 for SIGTERM."""
        return 128 + (self.signals[0] if self.signals else int(signal.SIGTERM))


@contextlib.contextmanager
def interruptible(say: Callable[[str], None] | None = None) -> Iterator[Interruption]:
    """Turn SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 into a request to stop, as long as the context lasts.

    Ctrl-C too, between `Interruption.begin` and `Interruption.end`; a second Ctrl-C reaches the handler of before.

    A second signal of the same kind changes nothing: `timeout`, systemd and Slurm send some twice. Ignored signals stay
    ignored. At the end of the context the previous handlers are restored. If a signal came and its previous handler is
    a function (submitit's puts the job back into the queue), that handler is called once, when the checkpoint is on
    disk. If it had none, the caller must end the process with `exit_status`.

    Outside the main thread Python allows no handlers, and nothing is changed.

    Args:
        say: Told, once, that Ctrl-C was heard and what another one does; by a thread of its own, since a handler
            that waited for a lock which the main thread holds, such as a console's, would wait for ever. None: nobody
            is told, and there is no thread: a worker whose memory is full could wait for ever for one to begin.

    Example:
        >>> with interruptible() as interruption:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interruption.is_asked, interruption.exit_status
        (True, 143)
    """
    interruption = Interruption()
    heard: queue.SimpleQueue[bool] = queue.SimpleQueue()  # a handler may put into it at any moment

    def answer() -> None:
        if heard.get() and say is not None:
            say("stopping after this step, with a checkpoint. Ctrl-C again stops at once.")

    answering = threading.Thread(target=answer, daemon=True)

    def ask(number: int, _frame: FrameType | None) -> None:
        interruption.is_asked = True
        if number not in interruption.signals:
            interruption.signals.append(number)

    def press(number: int, frame: FrameType | None) -> None:
        if not interruption.is_training or number in interruption.signals:
            pressed_before(number, frame)  # type: ignore[operator, misc]
            return
        ask(number, frame)
        heard.put(True)

    numbers = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # None: a handler that was not set from Python, which could not be restored
    before = {n: handler for n in numbers if (handler := signal.getsignal(n)) not in {signal.SIG_IGN, None}}
    pressed_before = signal.getsignal(signal.SIGINT) if numbers else None
    try:
        for number in before:
            signal.signal(number, ask)
        if callable(pressed_before):
            if say is not None:
                answering.start()
            signal.signal(signal.SIGINT, press)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if callable(pressed_before):
            signal.signal(signal.SIGINT, pressed_before)
            heard.put(False)  # behind a Ctrl-C: what is said of it comes before what the caller says
            if answering.ident is not None:  # it has begun
                answering.join(timeout=1.0)  # a terminal that was stopped by Ctrl-S takes no word
        for number in interruption.signals:
            if callable(before.get(number)):  # not Ctrl-C's, which would raise KeyboardInterrupt after all is kept
                signal.raise_signal(number)
