"""`python -m bnlab`, and the program `bnlab`: what is typed, from the first import on."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

WORD = "Starting"
"""Stands on the screen while the command line is imported: 0.3 CPU seconds, or a second where others compute."""

AT_ONCE = {"list", "runs", "doctor", "diff"}
"""Commands whose answer comes as soon as the command line is imported."""

SILENT = {"--json", "--quiet", "-q", "--help", "-h", "--version", "--install-completion", "--show-completion"}
"""Options that ask for nothing but the answer."""


def main() -> None:
    """Import the command line and run it; Ctrl-C meanwhile ends the program as it does later."""
    open_what_is_closed()
    is_said = wants_a_word(sys.argv[1:], os.environ) and say_word(sys.stderr)
    try:
        from bnlab.cli.app import main as run_what_is_typed  # noqa: PLC0415  (Ctrl-C may come while it is imported)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if is_said:
            take_word_away(sys.stderr)
    run_what_is_typed()


def open_what_is_closed() -> None:
    """Open standard streams that were closed (``>&-``, a daemon), so that no other file gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free, which is this one
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def wants_a_word(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a command line is one of those that take long, and does not ask for silence.

    Args:
        words: The words behind ``bnlab``.
        environment: The variables of the environment.
    """
    is_completion = any(name.endswith("_COMPLETE") for name in environment)
    is_plain = environment.get("TERM") in {"dumb", "unknown"}
    commands = [word for word in words if not word.startswith("-")]
    is_silent = not SILENT.isdisjoint(words) or not commands or commands[0] in AT_ONCE
    return not (is_completion or is_plain or is_silent)


def say_word(screen: TextIO | None) -> bool:
    """Write a word without an end of line, if there is a terminal; return whether there is.

    Args:
        screen: Standard error; None where a program has none.
    """
    if screen is None or not screen.isatty():
        return False
    screen.write(WORD)
    screen.flush()
    return True


def take_word_away(screen: TextIO) -> None:
    """Write blanks over the word, and go back to the beginning of the line."""
    screen.write(f"\r{' ' * len(WORD)}\r")
    screen.flush()


if __name__ == "__main__":
    main()
