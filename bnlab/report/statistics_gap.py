"""Why a network does otherwise with running statistics than with those of its batches: the cause, in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnlab.report.inside import RunInside

Cause = Literal[
    "no gap",
    "batch too small",
    "too few steps",
    "momentum too slow for the steps made",
    "shift between training and evaluation data",
]

TOLERANCE = 0.03
"""Accuracies closer than this are alike: three standard errors of a difference on some hundred images, paired."""

REMEMBERED = 0.05
"""Share of the running average that its start may still be before it matters: 0 and 1 are far from most layers'."""

USUAL_MOMENTUM = 0.9
"""Share of the old value that the article and PyTorch keep. Steps at which even this remembers its start are few."""


@dataclass(frozen=True)
class Gap:
    """What was found.

    Attributes:
        cause: Its name.
        sentence: Place, what, cure.
    """

    cause: Cause
    sentence: str


def explain_gap(inside: RunInside) -> Gap | None:
    """Return the cause of a gap between a run's statistics; None where its norms keep none, or it was not measured.

    Args:
        inside: What was measured in the run.
    """
    measured = inside.measured.get("accuracy_by_statistics")
    if measured is None:
        return None
    accuracies = {key.facet: curve.last for key, curve in measured.curves.items()}
    settings = inside.row
    return explain(
        accuracies,
        steps=int(measured.steps[-1]),
        momentum=settings.get("norm.momentum"),
        batch_size=int(settings["train.batch_size"]) // int(settings.get("train.accumulation", 1)),
    )


def explain(accuracies: Mapping[str, float], *, steps: int, momentum: Any, batch_size: int) -> Gap:
    """Return the cause of a gap between statistics.

    By these rules, in this order:

    1. On training images, batch and population statistics disagree: a batch does not stand for the population. **Batch
       too small**: no running average can repair that.
    2. There, running and population statistics disagree: the average is wrong. Either steps are so few that even the
       usual momentum would remember its start (**too few steps**), or the momentum is **too slow**: it remembers its
       start, or trails the weights.
    3. On training images all agree, on held-out ones batch statistics do otherwise than the population's: their images
       are distributed otherwise (**shift**).

    Args:
        accuracies: As `accuracy_by_statistics` records them.
        steps: Made so far.
        momentum: Share of the old running value that is kept; None: a plain average.
        batch_size: Images that go through the network at a time.
    """
    trained = {how: accuracies[f"train_{how}"] for how in ("running", "precise", "batch")}
    held_out = {how: accuracies[how] for how in ("running", "precise", "batch")}
    if abs(trained["batch"] - trained["precise"]) > TOLERANCE:
        return Gap(
            "batch too small",
            f"Batches of {batch_size} do not stand for the training set: on training images the network is right for "
            f"{trained['batch']:.0%} with their statistics, for {trained['precise']:.0%} with those of many. Raise "
            "train.batch_size, or take a norm without batch statistics (norm=group).",
        )
    if abs(trained["running"] - trained["precise"]) > TOLERANCE:
        return _wrong_average(trained, steps, momentum)
    if abs(held_out["batch"] - held_out["precise"]) > TOLERANCE:
        return Gap(
            "shift between training and evaluation data",
            f"Held-out images are distributed otherwise than training images: {held_out['precise']:.0%} are right with "
            f"the training set's statistics, {held_out['batch']:.0%} with their own. Look at how the two sets were "
            "made, or recompute the statistics on the new images (bnlab.norms.precise_batch_stats).",
        )
    return Gap("no gap", f"Running, population and batch statistics agree ({held_out['running']:.0%} right).")


def _wrong_average(trained: Mapping[str, float], steps: int, momentum: Any) -> Gap:
    gap = (
        f"{trained['running']:.0%} of the training images are right with running statistics, {trained['precise']:.0%} "
    )
    gap += "with the training set's own"
    kept = float(momentum) ** steps if isinstance(momentum, int | float) else 0.0
    remembered = f"{kept:.0%} of each running average is still its start" if kept > REMEMBERED else ""
    if USUAL_MOMENTUM**steps > REMEMBERED:
        why = remembered or "the average has seen too little"
        return Gap(
            "too few steps",
            f"After {steps} steps {why}: {gap}. Train longer, or pool the statistics "
            "(bnlab.norms.precise_batch_stats).",
        )
    why = remembered or "the average trails the weights, which move faster"
    return Gap(
        "momentum too slow for the steps made",
        f"norm.momentum={momentum} is too slow for {steps} steps, {why}: {gap}. Lower it (norm.momentum=0.9), or pool "
        "the statistics (bnlab.norms.precise_batch_stats).",
    )
