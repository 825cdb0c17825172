"""Runs in a figure or a table: what each is called there, and its color, in all of them the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnlab.report.network.read import RunInside
from bnlab.report.palette import COLORS, DASHES
from bnlab.results.arms import label_of
from bnlab.results.sweep import swept_keys

COMMON = ("norm", "model", "model.activation", "model.depth", "data", "optim.lr", "seed")
"""Settings that are said of all runs of a figure, where they are alike."""


@dataclass(frozen=True)
class Shown:
    """One run in a figure.

    Attributes:
        run: What was seen in it.
        label: What tells it from the others; its id where it is alone.
        color: Where runs are told apart by color.
        dashes: With more runs than colors.
    """

    run: RunInside
    label: str
    color: str
    dashes: tuple[float, ...]


def shown_side_by_side(runs: Sequence[RunInside]) -> list[Shown]:
    """Give each run its label and color, in all figures the same."""
    labels = [run.run_id for run in runs]
    if len(runs) > 1:
        # how often one looks changes no number of a run
        rows = [{key: value for key, value in run.row.items() if not key.startswith("diagnostics")} for run in runs]
        swept = swept_keys(rows)
        short = [label_of({key: run.row.get(key) for key in swept}) for run in runs]
        labels = short if len(set(short)) == len(runs) and all(short) else labels
    return [
        Shown(run, label, COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)])
        for place, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]


def whose(shown: Sequence[Shown]) -> str:
    """Return whose figure it is: the run's name; of several, what they have in common."""
    if len(shown) == 1:
        return shown[0].label
    rows = [each.run.row for each in shown]
    same = {key: rows[0].get(key) for key in COMMON if len({str(row.get(key)) for row in rows}) == 1}
    return label_of({key: value for key, value in same.items() if value is not None}).replace("activation=", "")
