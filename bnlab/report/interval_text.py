"""Means with their intervals as text, and the words that say what an interval is."""

import math
from collections.abc import Callable, Iterable

from bnlab.stats.estimate import Estimate


def with_interval(estimate: Estimate | None, write: Callable[[float], str]) -> str:
    """Return a mean and, where it has one, the ends of its interval.

    Args:
        estimate: The mean; None: a dash.
        write: Number -> text.

    Example:
        >>> with_interval(Estimate(0.5, 0.25, 0.75, 5), "{:.2f}".format), with_interval(None, str)
        ('0.50 [0.25, 0.75]', '-')
    """
    if estimate is None:
        return "-"
    value = write(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{write(estimate.low)}, {write(estimate.high)}]"


def share_with_interval(estimate: Estimate | None) -> str:
    """Return a mean share in percent, and the ends of its interval without the sign of percent.

    Example:
        >>> share_with_interval(Estimate(0.915, 0.909, 1.0, 5))
        '91.5% [90.9, 100]'
    """
    return with_interval(estimate, _percent).replace(" [", "% [") if _has_ends(estimate) else _alone(estimate)


def points_with_interval(estimate: Estimate | None) -> str:
    """Return a difference of shares in points, with its sign.

    Example:
        >>> points_with_interval(Estimate(-0.01, -0.021, 0.001, 5))
        '-1.0 [-2.1, +0.1]'
    """
    return with_interval(estimate, _points)


def three_digits(value: float) -> str:
    """Return a number with three digits, its last zeros included.

    Example:
        >>> three_digits(0.2290), three_digits(0.0), three_digits(123456.0), three_digits(1e-9)
        ('0.229', '0', '1.23e+05', '1e-09')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.3g}" if not 1e-3 <= abs(value) < 1e3 else f"{value:#.3g}".rstrip(".")


def signed_digits(value: float) -> str:
    """Return a number with two digits and its sign.

    Example:
        >>> signed_digits(0.0123), signed_digits(-0.5)
        ('+0.012', '-0.5')
    """
    return f"{value:+.2g}"


def label_of_interval(estimates: Iterable[Estimate | None]) -> str:
    """Return the words that say what the brackets of a table are; empty where no mean has an interval.

    Example:
        >>> label_of_interval([Estimate(0.5, 0.4, 0.6, 5)])
        'In brackets: 95% interval of the mean over 5 seeds.'
    """
    sizes = sorted({each.n for each in estimates if _has_ends(each) and each is not None})
    if not sizes:
        return ""
    number = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"In brackets: 95% interval of the mean over {number} seeds."


def _has_ends(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.low is not None and estimate.high is not None


def _alone(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{100 * estimate.value:.1f}%"


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if 0 < share < 1 else f"{100 * share:.0f}"
