"""Ctrl-C at an unlucky moment."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

PRESSED_IN_AN_IMPORT = """
import os, signal, sys, threading, time

def press():
    while not hasattr(sys.modules.get("torch"), "_C"):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    import torch
    time.sleep(5)
    print("not heard")
except KeyboardInterrupt:
    print("heard with", torch.nn.__name__)  # it is there as a whole
"""

PRESSED_IN_A_DESTRUCTOR = """
import os, signal, time

class Mortal:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

try:
    Mortal()
    time.sleep(5)
    print("forgotten")
except KeyboardInterrupt:
    print("heard")
"""

RAISED_IN_A_DESTRUCTOR = """
class Mortal:
    def __del__(self):
        raise ValueError("of its own")

Mortal()
"""


def run(program: str, before: str = "") -> subprocess.CompletedProcess[str]:
    # where tests run in the background of a script, what they start ignores Ctrl-C
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    ours = "from bnlab.cli.interrupts import hear_interruptions\nhear_interruptions()\n"
    command = [sys.executable, "-c", heard + before + ours + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_waits_for_the_end_of_an_import() -> None:
    done = run(PRESSED_IN_AN_IMPORT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard with torch.nn\n", "")


def test_it_is_not_forgotten_in_a_destructor() -> None:
    done = run(PRESSED_IN_A_DESTRUCTOR)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\n", "")


def test_other_errors_of_destructors_are_reported_as_ever() -> None:
    assert "ValueError: of its own" in run(RAISED_IN_A_DESTRUCTOR).stderr


def test_where_it_is_ignored_it_stays_so() -> None:
    done = run(PRESSED_IN_AN_IMPORT, "signal.signal(signal.SIGINT, signal.SIG_IGN)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "not heard\n", "")
