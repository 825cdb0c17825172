"""Figures of values of the whole network: the bands of the loss landscape, and the statistics comparison."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bnlab.report.network.labels import LabeledRun, legend_of, shared_settings
from bnlab.report.network.layout import heading_of
from bnlab.report.network.lines import Line, Panel, draw_panels
from bnlab.report.network.read import NETWORK, Curve, Key, Measured
from bnlab.report.palette import COLORS

TRAIN = "train_"
"""The facets of training images begin with it; the others are of held-out images."""

STATISTICS = {
    "running": (COLORS[0], "running statistics, as in eval mode"),
    "population": (COLORS[2], "population statistics, of many images"),
    "batch": (COLORS[1], "batch statistics, as in training"),
}
"""Facet -> its color, and its words in the legend."""


def draw_statistics_comparison(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return accuracy or loss with running, population and batch statistics; between running and batch it is filled.

    Args:
        name: Name of a diagnostic whose facets are kinds of statistics, on held-out images and on training images.
        runs: One or more runs, each of which has recorded it; several have a column each.
    """
    found = [each.run.measured[name] for each in runs]
    facets = {facet for measured in found for facet in measured.facets}
    sets = [prefix for prefix in ("", TRAIN) if any(prefix + kind in facets for kind in STATISTICS)]
    panels = []
    for prefix in sets:
        for each, measured in zip(runs, found, strict=True):
            images = "training images" if prefix else "held-out images"
            title = f"{each.label}: {images}" if len(runs) > 1 else images
            panels.append(Panel(title, measured.unit(measured.facets[0]), _compared(measured, prefix)))
    return draw_panels(
        heading_of(found[0], shared_settings(runs)),
        panels,
        len(runs) if len(runs) > 1 else len(sets),
        legend={words: (color, ()) for kind, (color, words) in STATISTICS.items() if {kind, TRAIN + kind} & facets},
        share_vertical="all",
        note="Filled: the gap between running and batch statistics.",
    )


def _compared(measured: Measured, prefix: str) -> list[Line]:
    curves = {kind: measured.curves.get(Key(NETWORK, prefix + kind)) for kind in STATISTICS}
    running, batch = curves["running"], curves["batch"]
    has_gap = running is not None and batch is not None and np.array_equal(running.steps, batch.steps)
    below = {"batch": running.values} if running is not None and has_gap else {}
    return [
        Line(curve, STATISTICS[kind][0], label=kind, below=below.get(kind))
        for kind, curve in curves.items()
        if curve is not None
    ]


def bands_of(measured: Measured) -> list[tuple[str, str | None, str]]:
    """Return the bands that the facets of a diagnostic are: (title, facet of the lower end, facet of the upper end).

    ``x_low`` and ``x_high``, or ``low`` and ``high``, are the two ends of one band. Every other facet is the upper end
    of a band that begins at zero; its lower end is None.
    """
    bands: list[tuple[str, str | None, str]] = []
    for facet in measured.facets:
        stem, is_low, is_high = facet.removesuffix("low"), facet.endswith("low"), facet.endswith("high")
        if is_low and f"{stem}high" in measured.facets:
            stem = stem.rstrip("_")
            bands.append(
                (f"{stem}: lowest to highest" if stem in measured.facets else stem, facet, f"{facet[:-3]}high")
            )
        elif not (is_high and f"{facet.removesuffix('high')}low" in measured.facets):
            bands.append((facet, None, facet))
    return bands


def draw_band(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return bands over the steps: how far the loss goes up and down along the gradient.

    Args:
        name: Name of a diagnostic of the whole network.
        runs: One or more runs, each of which has recorded it, a color each.
    """
    found = [each.run.measured[name] for each in runs]
    bands = list(dict.fromkeys(band for measured in found for band in bands_of(measured)))
    panels = []
    for title, low, high in bands:
        lines = [
            line
            for each, measured in zip(runs, found, strict=True)
            for line in _ends(
                each, measured.curves.get(Key(NETWORK, low or "")), measured.curves.get(Key(NETWORK, high))
            )
        ]
        panels.append(Panel(title.replace("_", " "), found[0].unit(high), lines))
    return draw_panels(
        heading_of(found[0], shared_settings(runs)),
        panels,
        min(len(bands), 2),
        legend=legend_of(runs) if len(runs) > 1 else None,
    )


def _ends(run: LabeledRun, bottom: Curve | None, top: Curve | None) -> list[Line]:
    """Return the lines at the ends of a band; one that begins at zero has its upper end only."""
    if top is None:
        return []
    if bottom is None:
        return [Line(top, run.color, run.dashes, run.label, below=0.0)]
    upper = Line(top, run.color, run.dashes, run.label, below=bottom.values)
    return [upper, Line(bottom, run.color, run.dashes, f"_{run.label}")]
