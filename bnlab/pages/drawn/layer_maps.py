"""A diagnostic layer by layer over the steps, as a heat map per arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LogNorm, Normalize

from bnlab.pages.amounts import number
from bnlab.pages.drawn.inline_svg import to_inline
from bnlab.pages.drawn.picture import WIDTH, DataTable, Drawing, Picture, labels_of, new_axes, spread_out, text_table
from bnlab.pages.words import Words
from bnlab.report.network.heatmaps import SHARES
from bnlab.report.network.read import NETWORK
from bnlab.report.palette import COLORS, INK, SMALL
from bnlab.results.curves import Curve
from bnlab.stats.estimate import FloatArray

ROW, BESIDE, LEFT, LETTER = 0.2, 0.5, 0.12, 0.068
"""Inches of a layer's row, and of all else; left of the map, and a letter of a layer's name there."""

LEAST, MOST_COLUMNS, MOST_LAYERS, MOST_DRAWN = 3, 24, 16, 4
"""Steps from which on there is a map; steps, layers and arms that it shows, at most."""

LOG_FROM = 100.0
"""Largest over smallest value above which the colors stand for powers of ten."""

SHARES_OF_UNITS = {"saturation", "dead_fraction"}
"""Diagnostics whose values are shares, from 0 to 1."""


@dataclass(frozen=True)
class LayerValues:
    """One diagnostic of one arm: values by layer and step, NaN where nothing was measured.

    Attributes:
        label: The arm.
        layers: Roles, from the input to the output.
        steps: The steps, rising.
        matrix: (layers, steps), means over seeds.
    """

    label: str
    layers: tuple[str, ...]
    steps: tuple[int, ...]
    matrix: FloatArray


Curves = Sequence[tuple[str, Mapping[str, Curve]]]
"""Label of each arm, and its curves by tag: ``<diagnostic>/<layer>`` or ``<diagnostic>/<layer>/<facet>``."""


def recorded_by_layer(curves: Curves) -> list[str]:
    """Return the diagnostics with one value for each of two or more layers, at three or more steps."""
    found: dict[str, set[str]] = {}
    for _, of_arm in curves:
        for tag, curve in of_arm.items():
            parts = tag.split("/")
            if (
                len(parts) == 2
                and parts[0] not in {"train", "eval"}
                and parts[1] != NETWORK
                and len(curve.steps) >= LEAST
            ):
                found.setdefault(parts[0], set()).add(parts[1])
    return [name for name, layers in found.items() if len(layers) > 1]


def draw_layers(curves: Curves, diagnostic: str, name: str, words: Words) -> Picture | None:
    """Return the heat maps of a diagnostic, one per arm, on one scale of colors; None where no value is finite.

    Args:
        curves: The arms and their curves.
        diagnostic: Name of a diagnostic, one of `recorded_by_layer`.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    found = [values for label, of in curves if (values := _values(label, of, diagnostic)) is not None][:MOST_DRAWN]
    finite = np.concatenate([values.matrix[np.isfinite(values.matrix)] for values in found] or [np.zeros(0)])
    if not finite.size:
        return None
    norm = _scale(finite, diagnostic in SHARES_OF_UNITS)
    what = words.metric(diagnostic)
    title = words("fig_layers", what=what)
    drawings = []
    for place, values in enumerate(found):
        own = values.matrix[np.isfinite(values.matrix)]
        ends = (
            {"low": number(float(own.min())), "high": number(float(own.max()))} if own.size else {"low": "", "high": ""}
        )
        sizes = {"layers": len(values.layers), "steps": len(values.steps)}
        description = words("alt_layers", what=what, arm=values.label, **sizes, **ends)
        drawings.append(Drawing(_map(values, norm, f"{name}-{place}", title, description, words), values.label))
    ramp = (_end(norm.vmin, diagnostic), _end(norm.vmax, diagnostic))
    return Picture(title, words("fig_layers_note"), tuple(drawings), _layer_table(found, words), ramp=ramp)


def _values(label: str, of_arm: Mapping[str, Curve], diagnostic: str) -> LayerValues | None:
    (label,) = labels_of([label])
    layers = {tag.partition("/")[2]: curve for tag, curve in of_arm.items() if tag.partition("/")[0] == diagnostic}
    layers = {role: curve for role, curve in layers.items() if "/" not in role and role != NETWORK}
    steps = sorted({step for curve in layers.values() for step in curve.steps})
    if len(steps) < LEAST:
        return None
    kept = [steps[place] for place in spread_out(len(steps), MOST_COLUMNS)]
    roles = [list(layers)[place] for place in spread_out(len(layers), MOST_LAYERS)]
    matrix = np.full((len(roles), len(kept)), np.nan)
    for row, role in enumerate(roles):
        by_step = dict(zip(layers[role].steps, layers[role].mean, strict=True))
        matrix[row] = [by_step.get(step, np.nan) for step in kept]
    return LayerValues(label, tuple(labels_of(roles)), tuple(kept), matrix)


def _scale(finite: FloatArray, is_share: bool) -> Normalize:
    low, high = float(finite.min()), float(finite.max())
    if is_share:
        return Normalize(0.0, max(high, 0.1))
    if low > 0 and high > LOG_FROM * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1.0)


def _end(value: float | None, diagnostic: str) -> str:
    assert value is not None
    return f"{100 * value:.0f}%" if diagnostic in SHARES_OF_UNITS else number(value)


def _map(values: LayerValues, norm: Normalize, name: str, title: str, description: str, words: Words) -> Markup:
    left = LEFT + LETTER * max(map(len, values.layers))
    page, axes = new_axes(BESIDE + ROW * len(values.layers), left=min(left, WIDTH / 3), across=words("axis_step"))
    masked = np.ma.masked_invalid(values.matrix)
    axes.imshow(masked, cmap=SHARES.with_extremes(bad=COLORS[1]), norm=norm, aspect="auto", interpolation="none")
    axes.set_yticks(range(len(values.layers)), list(values.layers), fontsize=SMALL, color=INK)
    places = spread_out(len(values.steps), 5)
    axes.set_xticks(places, [f"{values.steps[place]:,}" for place in places])
    axes.tick_params(axis="y", length=0)
    return to_inline(page, name, f"{title}: {values.label}", description)


def _layer_table(found: Sequence[LayerValues], words: Words) -> DataTable:
    rows = []
    for values in found:
        for row, layer in enumerate(values.layers):
            own = values.matrix[row]
            rows.append((f"{values.label}, {layer}", *(number(float(own[place])) for place in (0, len(own) // 2, -1))))
    steps = found[0].steps
    headings = [f"{words('step')} {steps[place]:,}" for place in (0, len(steps) // 2, -1)]
    return text_table((words("arm"), *headings), rows)
