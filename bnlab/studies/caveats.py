"""What a reader of a verdict must be told besides its numbers."""

import math
from dataclasses import replace

from bnlab.results.arms import SweepArms
from bnlab.results.controlled_divergence import controlled_divergence
from bnlab.results.outcomes import in_words
from bnlab.stats.verdict import Verdict
from bnlab.studies.arm_pair import ArmPair
from bnlab.studies.pairs import Pairs

FEW_SEEDS = 5
"""Seeds below which a sweep is a smoke test, not a measurement."""


def sentences_of(grid: SweepArms, pair: ArmPair, verdict: Verdict, pairs: Pairs) -> list[str]:
    """Return what must be said aloud: missing runs, few seeds, best rates at an edge, bounds, runs that diverged.

    Args:
        grid: The sweep, with all of its arms.
        pair: The two arms that were compared.
        verdict: The verdict on them.
        pairs: Their figures.
    """
    of_both = replace(grid, arms=pair.arms)
    num_planned = sum(len(cell.runs) for arm in pair.arms for cell in arm.cells) + len(grid.unplaced) + grid.num_unnamed
    sentences = replace(of_both, num_runs=num_planned).sentences()
    if without := [seed for seed, d in zip(pairs.seeds, pairs.differences, strict=True) if d is None]:
        sentences.append(f"{in_words(without)}: no figure of both arms, so that the verdict stands on the others.")
    if 0 < verdict.n < FEW_SEEDS:
        sentences.append(f"{verdict.n} seeds are a smoke test, not a measurement: take 5 or more, 'seed=range(5)'.")
    sentences += [*_of_bounds(pair, pairs), *_of_edges(grid, pair, pairs), *_of_diverged(pair, pairs)]
    return [*sentences, *_of_controlled_divergence(pair, pairs)]


def _of_bounds(pair: ArmPair, pairs: Pairs) -> list[str]:
    """Return what must be said of figures that are known between bounds only."""
    infinite = [(math.isinf(least), math.isinf(greatest)) for least, greatest in pairs.brackets]
    sentences = []
    for ends, words in (
        ((False, True), "the effect is at least what is shown, since a run did not get there, or the grid ends"),
        ((True, False), "the effect is at most what is shown, since a run did not get there, or the grid ends"),
        ((True, True), "nothing is known: neither run got there, or a figure is not defined"),
    ):
        if number := infinite.count(ends):
            sentences.append(f"In {number} of {len(infinite)} pairs {words}.")
    if (between := pair.steps_between_validations()) is not None and between > 1:
        sentences.append(
            f"Steps to the target are known to {between}, since the runs were validated no more often: "
            "train.eval_every makes it finer. The interval allows for that."
        )
    return sentences


def _of_edges(grid: SweepArms, pair: ArmPair, pairs: Pairs) -> list[str]:
    """Return what must be said of arms whose best learning rate is an end of the grid."""
    if pairs.rates is None or len(grid.lrs) < 2 or pair.tuned is not None:
        return []  # of rates that were chosen on other seeds, the sweep of those seeds tells the ends
    sentences = []
    for arm, lr in zip(pair.arms, pairs.rates, strict=True):
        tried, best = [cell.lr for cell in arm.compared], arm.best()
        if best is not None and best.lr is None:
            sentences.append(f"{arm.label}: no run ended better than it started, at any learning rate of the sweep.")
        elif len(tried) > 1 and lr in {tried[0], tried[-1]}:
            end, beyond = ("lowest", "lower") if lr == tried[0] else ("highest", "higher")
            at = f"{lr:g}, the {end} learning rate of the sweep"
            sentences.append(f"{arm.label} does best at {at}: a {beyond} one may be better.")
    return sentences


def _of_diverged(pair: ArmPair, pairs: Pairs) -> list[str]:
    """Return what runs count for that diverged, or ended no better than they started."""
    sentences = []
    for arm, number in zip(pair.arms, pair.num_at_start(), strict=True):
        if number:
            runs = "1 run" if number == 1 else f"{number} runs"
            ended = "diverged, or ended no better than it" if number == 1 else "diverged, or ended no better than they"
            sentences.append(f"{arm.label}: {runs} {ended} started, and count{'s' * (number == 1)} with the start.")
    lrs = pairs.rates or ()
    cells = [cell for arm, lr in zip(pair.arms, lrs, strict=False) for cell in arm.cells if cell.lr == lr]
    number = sum(cell.num_diverged for cell in cells)
    counts = {
        "steps_to": "it has reached the target if it did so before, and has not otherwise",
        "seconds_to": "it has reached the target if it did so before, and has not otherwise",
        "diagnostic": "its diagnostics mean nothing, so that nothing is known of its pair",
    }.get(pair.quantity.kind)
    if number and counts is not None:
        sentences.append(f"{number} of the runs that are compared diverged. Of each, {counts}.")
    return sentences


def _of_controlled_divergence(pair: ArmPair, pairs: Pairs) -> list[str]:
    """Return which arms have runs whose logits diverge while they learn, where that was recorded."""
    sentences = []
    for arm, lr in zip(pair.arms, pairs.rates or (None, None), strict=True):
        rows = [run.row for cell in arm.cells if lr in {None, cell.lr} for run in cell.runs if run.row is not None]
        if number := sum(controlled_divergence(row) is not None for row in rows):
            sentences.append(
                f"{arm.label}: in {number} of {len(rows)} runs the logits diverge while the accuracy stays (controlled "
                "divergence). They are finished runs; their losses say little."
            )
    return sentences
