"""Values as text: shares in percent, all others with three digits."""

import math
import re

_COUNTED = re.compile(r"^share( of [a-z-]+)?$")
"""Units of shares of counted things: 0 to 1, written in percent."""

BOUNDED = frozenset({"sigmoid", "tanh"})
"""Activations of which saturation is told: near 0 is healthy there. Of relu it is the share of zeros, of which one half
is healthy: a figure that alarms where nothing is wrong. `bnlab show` has it, with its reading."""

LARGEST_WITHOUT_TRAINING = 1e-8
"""Learning rates up to this are typed by those who want to measure the network as it was at its start: 100,000 steps
with gradients of 1 move a weight by 0.001. Rates that train begin at 1e-6 or so."""


def is_without_training(learning_rate: float) -> bool:
    """Return whether a learning rate is so small that the network stays as it was at its start.

    Example:
        >>> is_without_training(1e-9), is_without_training(1e-6)
        (True, False)
    """
    return learning_rate <= LARGEST_WITHOUT_TRAINING


def is_counted_share(unit: str) -> bool:
    """Return whether a unit is a share of counted things.

    Example:
        >>> is_counted_share("share of units"), is_counted_share("share of the weights' norm")
        (True, False)
    """
    return bool(_COUNTED.match(unit))


def write_value(value: float, unit: str = "") -> str:
    """Return a value as text for a reader.

    Example:
        >>> write_value(0.1234, "share of units"), write_value(0.00041, "share of units"), write_value(1 / 3)
        ('12.3%', '0.041%', '0.333')
        >>> write_value(4.1e-6), write_value(123456.0), write_value(float("nan"))
        ('4.1e-06', '1.23e+05', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if is_counted_share(unit):
        percent = 100 * value
        if percent != 0 and abs(percent) < 0.1:
            return f"{percent:.2g}%"
        return f"{percent:.0f}%" if percent in {0.0, 100.0} else f"{percent:.1f}%"
    return f"{value:.3g}"
