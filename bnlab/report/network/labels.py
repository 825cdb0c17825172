"""Labeled runs: each run's name and color in a figure or a table, the same in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnlab.report.network.read import FloatArray, Measured, MeasuredRun
from bnlab.report.palette import line_styles
from bnlab.results.arms import label_of
from bnlab.results.swept import swept_keys

COMMON = ("norm", "model", "model.activation", "model.depth", "data", "optim.lr", "seed")
"""Settings that the heading of a figure names if all its runs share them."""


@dataclass(frozen=True)
class LabeledRun:
    """One run in a figure or a table.

    Attributes:
        run: The run and its diagnostics.
        label: The settings that tell it from the other runs; its id if it is alone.
        color: Color of its lines, in figures that tell runs apart by color.
        dashes: Lengths of dashes and gaps of its lines; empty (solid) for the first eight runs.
    """

    run: MeasuredRun
    label: str
    color: str
    dashes: tuple[float, ...]


def label_runs(runs: Sequence[MeasuredRun]) -> list[LabeledRun]:
    """Give each run its label and color."""
    labels = [run.run_id for run in runs]
    if len(runs) > 1:
        # when and how a run is measured does not change what it is
        rows = [{key: value for key, value in run.row.items() if not key.startswith("diagnostics")} for run in runs]
        swept = swept_keys(rows)
        short = [label_of({key: run.row.get(key) for key in swept}) for run in runs]
        labels = short if len(set(short)) == len(runs) and all(short) else labels
    return [
        LabeledRun(run, label, *style) for run, label, style in zip(runs, labels, line_styles(len(runs)), strict=True)
    ]


def shared_settings(runs: Sequence[LabeledRun]) -> str:
    """Return the settings that several runs share; of one run alone, its label."""
    if len(runs) == 1:
        return runs[0].label
    rows = [each.run.row for each in runs]
    same = {key: rows[0].get(key) for key in COMMON if len({str(row.get(key)) for row in rows}) == 1}
    return label_of({key: value for key, value in same.items() if value is not None}).replace("activation=", "")


def legend_of(runs: Sequence[LabeledRun]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Return the entries of a legend: label -> color and dashes."""
    return {each.label: (each.color, each.dashes) for each in runs}


def all_steps(found: Sequence[Measured]) -> FloatArray:
    """Return the steps at which a diagnostic was measured in any of several runs, rising, each once."""
    return np.unique(np.concatenate([measured.steps for measured in found]))
