"""Ctrl-C at an unlucky moment."""

import functools
import signal
import subprocess
import sys
import textwrap

import pytest

from bnlab.cli.interrupts import hearing_interruptions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

PRESSED_IN_AN_IMPORT = """
import os, signal, sys, threading, time

def press():
    while not hasattr(sys.modules.get("MODULE"), "ATTRIBUTE"):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    import MODULE
    time.sleep(LONG)
    print("not heard")
except KeyboardInterrupt:
    time.sleep(0.2)  # no second one comes
    print("heard with", MODULE.LAST.__name__)  # it is there as a whole
"""

PRESSED_IN_A_DESTRUCTOR = """
import os, signal, time

class Mortal:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

try:
    Mortal()
    time.sleep(3600)
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
    ours = "from bnlab.cli.interrupts import hearing_interruptions\nwith hearing_interruptions():\n"
    command = [sys.executable, "-c", heard + before + ours + textwrap.indent(program, "    ")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def pressed_in_an_import_of(module: str, attribute: str, last: str, sleeps_s: int = 3600) -> str:
    words = {"MODULE": module, "ATTRIBUTE": attribute, "LAST": last, "LONG": str(sleeps_s)}
    return functools.reduce(lambda program, word: program.replace(word, words[word]), words, PRESSED_IN_AN_IMPORT)


@pytest.mark.parametrize(
    ("module", "attribute", "last"),
    [
        pytest.param("torch", "_C", "compile", marks=pytest.mark.slow),
        ("bnlab.sweeps.backends.local", "__name__", "LocalBackend"),
    ],
)
def test_it_waits_for_the_end_of_an_import(module: str, attribute: str, last: str) -> None:
    done = run(pressed_in_an_import_of(module, attribute, last))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"heard with {last}\n", "")


def test_it_is_not_forgotten_in_a_destructor_and_ends_the_sleep_after_it() -> None:
    done = run(PRESSED_IN_A_DESTRUCTOR)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\n", "")


def test_where_it_is_ignored_it_stays_so() -> None:
    program = pressed_in_an_import_of("typing", "__name__", "Any", sleeps_s=1)
    done = run(program, "signal.signal(signal.SIGINT, signal.SIG_IGN)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "not heard\n", "")


def test_all_is_as_before_in_the_end() -> None:
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with hearing_interruptions():
        pass
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_other_errors_of_destructors_reach_who_wanted_them_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with hearing_interruptions():
        exec(RAISED_IN_A_DESTRUCTOR, {})
    signal.signal(signal.SIGINT, before)
    assert seen == [ValueError]
