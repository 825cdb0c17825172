"""Numbers and their units as a reader sees them, in English or Chinese."""

import math
from dataclasses import dataclass

from bnlab.pages.study_results import Lang
from bnlab.report.wording import is_counted_share

UNKNOWN = {"en": "not known", "zh": "未知"}
NO_BOUND = {"en": "no bound", "zh": "无界"}
UNITS_IN_CHINESE = {
    "times": "倍",
    "points": "个百分点",
    "nats": "纳特",
    "decades": "个数量级",
    "steps": "步",
    "seconds": "秒",
    "share of the way": "(占差距的份额)",
    "deviation": "(偏差)",
}

PLAIN_DOWN_TO, PLAIN_UP_TO = 1e-3, 1e6
"""Between these a number is written without a power of ten."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with three digits or so; a minus sign is one.

    Example:
        >>> number(-0.1234), number(12345.0), number(4.4e-6), number(10)
        ('−0.123', '12,300', '4.4 × 10⁻⁶', '10')
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size and not PLAIN_DOWN_TO <= size < PLAIN_UP_TO:
        mantissa, _, power = f"{size:.{digits - 1}e}".partition("e")
        text = f"{float(mantissa):g} × 10{str(int(power)).translate(_RAISED)}"
    else:
        rounded = float(f"{size:.{digits}g}")
        text = f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:.{digits}g}"
    return f"−{text}" if value < 0 else text


@dataclass(frozen=True)
class Unit:
    """How values of one quantity are written.

    Attributes:
        name: The unit as the results name it.
        is_difference: Whether the values are differences of two arms, and so have a sign.
    """

    name: str
    is_difference: bool = True

    @property
    def is_share(self) -> bool:
        """Whether the values are shares of counted things: differences are written in points, values in percent."""
        return is_counted_share(self.name)

    @property
    def is_ratio(self) -> bool:
        """Whether the values are ratios, which are shown on a logarithmic axis."""
        return self.name == "times"

    def bare(self, value: float | None) -> str:
        """Return a value without its unit, differences of shares in points."""
        if value is None:
            return "–"
        if self.is_share:
            text = f"{abs(100 * value):.2f}"
            return f"−{text}" if value < 0 and float(text) else text
        return number(value)

    def word(self, lang: Lang) -> str:
        """Return the unit's name in a language; empty where there is none."""
        name = ("points" if self.is_difference else "%") if self.is_share else self.name
        return UNITS_IN_CHINESE.get(name, name) if lang == "zh" else name

    def amount(self, value: float | None, lang: Lang, *, signed: bool = True) -> str:
        """Return a value with its unit."""
        if value is None:
            return UNKNOWN[lang]
        sign = "+" if signed and self.is_difference and not self.is_ratio and value > 0 and self.name != "law" else ""
        word = self.word(lang)
        gap = "" if word in {"", "%"} else " "
        return f"{sign}{self.bare(value)}{gap}{word}"

    def interval(self, low: float | None, high: float | None, lang: Lang) -> str:
        """Return the ends of an interval, in brackets; empty where there is none."""
        if low is None and high is None:
            return ""
        ends = (NO_BOUND[lang] if end is None else self.bare(end) for end in (low, high))
        return f"[{', '.join(ends)}]"


def unit_of(kind: str, name: str) -> Unit:
    """Return how the effects of a condition are written.

    Args:
        kind: The form of the condition: ``pair``, ``arm``, ``recovered`` or ``law``.
        name: The unit that the results name.
    """
    return Unit(name, is_difference=kind == "pair")


def value_text(value: float | None, unit: Unit) -> str:
    """Return the figure of one arm for one seed: shares in percent.

    Example:
        >>> value_text(0.9526, Unit("share of images")), value_text(380.0, Unit("times"))
        ('95.26%', '380')
    """
    if value is None:
        return "–"
    return f"{100 * value:.2f}%" if unit.is_share else number(value)
