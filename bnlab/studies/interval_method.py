"""By what method an interval was made, in few words, to stand beside it."""

from collections.abc import Sequence

from bnlab.stats.verdict import Bracket, Verdict

BOTH = "Student's t and Hall"
"""The interval of a mean: at each end the outer one of two intervals, see `bnlab.stats.mean_interval`."""


def interval_method(interval: Verdict, brackets: Sequence[Bracket], *, is_paired: bool, is_log: bool) -> str:
    """Return how the interval of a verdict was made; empty where there is none.

    Args:
        interval: The verdict, whose interval it is.
        brackets: The least and the greatest value that each of its values can have.
        is_paired: Whether each value compares runs with the same seed.
        is_log: Whether values are logs of ratios.

    Example:
        >>> from bnlab.stats.verdict import judge
        >>> found = judge([0.2, 0.3, 0.25, 0.31, 0.22], sesoi=0.1, looks=3)
        >>> interval_method(found, [], is_paired=True, is_log=True)
        "paired Student's t and Hall of logs, Bonferroni over 3"
    """
    if interval.low is None and interval.high is None:
        return ""
    words = f"paired {BOTH}" if is_paired else BOTH
    if is_log:
        words += " of logs"
    if any(least != greatest for least, greatest in brackets):
        words += ", each end from bounds"
    return words if interval.looks == 1 else f"{words}, Bonferroni over {interval.looks}"
