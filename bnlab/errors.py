"""All errors of bnlab, as a tree.

::

    BnlabError                 exit status 2: the user can correct it
    |-- ConfigError            a setting, an option or a tensor's shape (a ValueError too)
    |-- DataError              a file: missing, damaged, of the wrong shape
    |-- RunError               exit status 1: a run failed
    |   |-- DamagedRunError         exit status 2: files of a run cannot be read
    |   |-- UnwrittenError          a figure or a page cannot be written; the runs are as they were
    |   |-- RunBusyError            another process is training it
    |   `-- ProcessLostError        one of several processes that share the run has ended
    `-- StudyError             a study file that asks something impossible

Every message has the same parts: place, law, actual value, cure. It is one to three lines long.
"""

import difflib
import math
import re
from collections.abc import Iterable


class BnlabError(Exception):
    """Base of all errors that bnlab raises on purpose."""

    exit_status = 2


class ConfigError(BnlabError, ValueError):
    """A setting, an option of a layer, or the shape of a tensor breaks a law."""


class DataError(BnlabError):
    """A data set is missing, damaged, or of another kind than its name says."""


class RunError(BnlabError):
    """A run failed, or its folder cannot be read."""

    exit_status = 1


class ProcessLostError(RunError):
    """One of several processes that share a run has ended, and the others cannot train without it."""


class DamagedRunError(RunError):
    """A file of a run cannot be read, or holds something else than was written."""

    exit_status = 2


class UnwrittenError(RunError):
    """A figure or a page of runs cannot be written; the runs themselves are as they were."""


class RunBusyError(RunError):
    """Another process is training this run."""


class StudyError(BnlabError):
    """A study file asks for something that cannot be answered."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the cure for a misspelled word: similar words, or all known words.

    Args:
        word: The word that the user typed.
        known: All words that are correct there.

    Example:
        >>> did_you_mean("bacth", ["batch", "layer"])
        'Did you mean batch?'
        >>> did_you_mean("x", ["batch", "layer"])
        'Known: batch, layer.'
        >>> did_you_mean("BatchNorm2d", ["batch", "batch_torch"])
        'Did you mean batch?'
    """
    known = sorted(set(known))
    if same := [one for one in known if _bare(one) == _bare(word)]:
        return f"Did you mean {' or '.join(same)}?"
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(known)}."


def _bare(word: str) -> str:
    """Return a name without what people write in different ways: capitals, dashes, blanks, a norm at its end."""
    return re.sub(r"norm(alization)?(\dd)?$|[-_ ]", "", word.lower())


def nearest_divisors(wanted: int, whole: int) -> str:
    """Return the cure for a number that does not divide another: the two nearest numbers that do.

    Args:
        wanted: The number that the user gave.
        whole: The number that it should divide, above 0.

    Example:
        >>> nearest_divisors(24, 64)
        '16, 32'
    """
    small = [d for d in range(1, math.isqrt(whole) + 1) if whole % d == 0]
    divisors = sorted({*small, *(whole // d for d in small)})
    return ", ".join(map(str, sorted(sorted(divisors, key=lambda d: abs(d - wanted))[:2])))
