"""The distribution of a diagnostic's values over the steps, as a fan of quantiles per arm."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnlab.pages.amounts import number
from bnlab.pages.drawn.arm_curves import MOST_POINTS
from bnlab.pages.drawn.inline_svg import to_inline
from bnlab.pages.drawn.layer_maps import LEAST, MOST_DRAWN, Curves
from bnlab.pages.drawn.picture import Drawing, Picture, labels_of, line_style, new_axes, spread_out, text_table
from bnlab.pages.words import Words
from bnlab.report.network.read import quantile_of
from bnlab.results.curves import Curve

HEIGHT = 2.1
"""Inches."""


@dataclass(frozen=True)
class Fan:
    """The quantiles of one layer of an arm.

    Attributes:
        label: The arm.
        layer: The last layer that has quantiles.
        curves: Share, such as 0.15 -> quantile over the steps, rising by share.
    """

    label: str
    layer: str
    curves: Mapping[float, Curve]

    @property
    def median(self) -> Curve:
        """The quantile in the middle."""
        return list(self.curves.values())[len(self.curves) // 2]


def recorded_as_quantiles(curves: Curves) -> list[str]:
    """Return the diagnostics whose facets are quantiles, at three or more steps."""
    found = {
        tag.partition("/")[0]: None
        for _, of_arm in curves
        for tag, curve in of_arm.items()
        if len(tag.split("/")) == 3 and quantile_of(tag.rpartition("/")[2]) is not None and len(curve.steps) >= LEAST
    }
    return list(found)


def draw_fans(curves: Curves, diagnostic: str, name: str, words: Words) -> Picture | None:
    """Return the quantiles of the last layer over the steps, a fan per arm, on the same axes.

    Args:
        curves: The arms and their curves.
        diagnostic: Name of a diagnostic, one of `recorded_as_quantiles`.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    fans = [fan for label, of in curves if (fan := _fan(label, of, diagnostic)) is not None][:MOST_DRAWN]
    if not fans:
        return None
    what = words.metric(diagnostic)
    title = words("fig_fans", what=what)
    ends = [end for fan in fans for curve in fan.curves.values() for end in (min(curve.mean), max(curve.mean))]
    drawings = []
    for place, fan in enumerate(fans):
        page, axes = new_axes(HEIGHT, up=fan.layer, across=words("axis_step"))
        _draw(axes, fan, place)
        margin = 0.03 * (max(ends) - min(ends)) or 1.0
        axes.set_ylim(min(ends) - margin, max(ends) + margin)
        texts = {"what": what, "arm": fan.label, "layer": fan.layer, "median": number(fan.median.mean[-1])}
        svg = to_inline(page, f"{name}-{place}", f"{title}: {fan.label}", words("alt_fans", **texts))
        drawings.append(Drawing(svg, fan.label))
    shares = list(fans[0].curves)
    rows = [(fan.label, *(_from_to(fan.curves.get(share)) for share in shares)) for fan in fans]
    table = text_table((words("arm"), *(f"{100 * share:g}%" for share in shares)), rows)
    return Picture(title, words("fig_fans_note"), tuple(drawings), table)


def _fan(label: str, of_arm: Mapping[str, Curve], diagnostic: str) -> Fan | None:
    found: dict[str, dict[float, Curve]] = {}
    for tag, curve in of_arm.items():
        name, _, key = tag.partition("/")
        layer, _, facet = key.rpartition("/")
        share = quantile_of(facet)
        if name == diagnostic and layer and share is not None and len(curve.steps) >= LEAST:
            found.setdefault(layer, {})[share] = curve
    if not found:
        return None
    layer = [name for name in found if name != "output"][-1] if set(found) != {"output"} else "output"
    label, role = labels_of([label, layer])
    return Fan(label, role, dict(sorted(found[layer].items())))


def _draw(axes: Axes, fan: Fan, place: int) -> None:
    color = line_style(place).color
    curves = list(fan.curves.values())
    for number_of_pair in range(len(curves) // 2):
        low, high = curves[number_of_pair], curves[-1 - number_of_pair]
        if low.steps == high.steps:
            kept = spread_out(len(low.steps), MOST_POINTS)
            steps, below, above = ([of[i] for i in kept] for of in (low.steps, low.mean, high.mean))
            axes.fill_between(steps, below, above, color=color, alpha=0.2, linewidth=0, zorder=2)
    kept = spread_out(len(fan.median.steps), MOST_POINTS)
    axes.plot([fan.median.steps[i] for i in kept], [fan.median.mean[i] for i in kept], color=color, linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_xlim(left=0)


def _from_to(curve: Curve | None) -> str:
    return "–" if curve is None else f"{number(curve.mean[0])} → {number(curve.mean[-1])}"
