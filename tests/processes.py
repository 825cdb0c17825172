"""Processes that tests start, and the signals that reach them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def take_signals() -> None:
    """Take signals as a program in the foreground does.

    A shell lets what it runs in the background ignore Ctrl-C, and all that is started from there inherits that: a test
    that presses it would wait for ever.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)  # Windows has the first two alone
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


BNLAB_WITH_ONE_WORKER = """
from bnlab.cli.app import main
from bnlab.sweeps.backends import local

pool = local.ProcessPoolExecutor
local.ProcessPoolExecutor = lambda _, **options: pool(1, **options)
main()
"""
"""`bnlab` as a program for `python -c`: it has one worker, however many jobs are wanted. Each imports torch anew."""


@contextlib.contextmanager
def processes_that_end() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Give a function that starts processes; on the way out, kill them and all that they have started.

    The function takes the words of a command and options of `subprocess.Popen`, and returns the process. Its streams
    are pipes of text. It has a session of its own: `os.killpg(process.pid, ...)` reaches what it has started as well.
    """
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str | Path, **options: Any) -> "subprocess.Popen[str]":
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [str(word) for word in words]
        processes.append(subprocess.Popen(command, start_new_session=True, **{**streams, **options}))
        return processes[-1]

    try:
        yield start
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):  # all of them have ended
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
