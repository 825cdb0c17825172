"""Faults that layers often have. A known fault changes fields of the correct formula."""

from dataclasses import dataclass
from typing import Any

from bnlab.conformance.variants import Variant


@dataclass(frozen=True)
class KnownFault:
    """A fault that a layer may have.

    Attributes:
        cause: The fault in words, as a clause.
        changes: Field of `Variant` -> the value that this fault gives it.
    """

    cause: str
    changes: dict[str, Any]


def _over(axes: str) -> list[KnownFault]:
    wrong: dict[str, dict[str, Any]] = {
        "each position by itself, over the batch axis alone": {"over": "position"},
        "over all axes, channels included": {"over": "all"},
        "per sample and channel, as InstanceNorm's": {"over": "instance"},
        "per sample, as LayerNorm's": {"over": "sample"},
        "over the channels of each position": {"over": "pixel"},
        "the last axis is taken for the channels": {"over": "last", "along": "last"},
        "kept for the last axis, not for the channels": {"over": "last"},
        "over the last axis alone": {"over": "features"},
        "over the last axis alone, as torch.nn.LayerNorm": {"over": "features", "along": "last"},
        "per channel over the batch, as BatchNorm's": {"over": "channel"},
        "per group, as GroupNorm's": {"over": "group"},
        "the groups are channels c, c+G, c+2G, not neighbors": {"over": "interleaved"},
    }
    return [KnownFault(f"{axes}: {where}", {**changes, "source": "batch"}) for where, changes in wrong.items()]


WRONG_AXES = _over("the statistics are taken over the wrong axes")


def _mean_over() -> list[KnownFault]:
    wrong = {
        "over the batch axis alone": "position",
        "over all axes, channels included": "all",
        "per channel over the batch, as BatchNorm's": "channel",
        "per sample, as LayerNorm's": "sample",
        "per sample and channel, as InstanceNorm's": "instance",
        "over the channels of each position": "pixel",
        "over the last axis alone": "features",
    }
    ends = {"biased": "; the variance is taken over the right ones, about their own mean", "about center": ""}
    return [
        KnownFault(f"the mean is taken over the wrong axes: {where}{end}", {"mean_over": over, "spread": spread})
        for spread, end in ends.items()
        for where, over in wrong.items()
    ]


WRONG_MEAN = _mean_over()
"""The mean alone is wrong. Tried where no other fault explains a layer: with those, many more triples would be."""

SPREAD = [
    KnownFault("the variance in the output is the unbiased one (divided by m-1, not m)", {"spread": "unbiased"}),
    KnownFault("the mean is not subtracted", {"center": "none"}),
    KnownFault(
        "the mean is not subtracted, neither in the output nor in the variance: it divides by the root mean square",
        {"center": "none", "spread": "mean square"},
    ),
    KnownFault("the mean is not subtracted in the variance: it is the mean square", {"spread": "mean square"}),
    KnownFault("the mean is subtracted, and should not be", {"center": "mean"}),
    KnownFault(
        "it is centered and divided by the standard deviation, as LayerNorm", {"center": "mean", "spread": "biased"}
    ),
    KnownFault("the sum is subtracted in place of the mean", {"center": "sum"}),
    KnownFault("the median is subtracted in place of the mean", {"center": "median"}),
    KnownFault("the variance is a sum of squares, not their mean", {"spread": "sum"}),
    KnownFault("it divides by the mean absolute deviation, not the standard deviation", {"spread": "absolute"}),
    KnownFault("it does not divide by the standard deviation", {"spread": "none"}),
]

ROOT = [
    KnownFault("the root is missing: it divides by the variance", {"root": "none"}),
    KnownFault("it multiplies by the standard deviation in place of dividing", {"root": "multiplied"}),
    KnownFault("it divides by the variance squared", {"root": "squared"}),
]

EPS = [
    KnownFault("eps is outside the root: added to the standard deviation, not to the variance", {"eps": "outside"}),
    KnownFault("eps is missing", {"eps": "missing"}),
    KnownFault("eps is added twice", {"eps": "twice"}),
    KnownFault("eps is added inside the root and outside it again", {"eps": "both"}),
    KnownFault("eps is a floor of the variance, not added to it", {"eps": "floor"}),
    KnownFault("eps is squared before it is added", {"eps": "squared"}),
    KnownFault("eps is subtracted, not added", {"eps": "subtracted"}),
]

AFFINE = [
    KnownFault("scale and shift are forgotten", {"scale": "none", "shift": "none"}),
    KnownFault("the scale is forgotten: the weight is not applied", {"scale": "none"}),
    KnownFault("the shift is forgotten: the bias is not applied", {"shift": "none"}),
    KnownFault("the scale is applied as 1 + weight", {"scale": "one plus"}),
    KnownFault("the weight is applied twice: the scale is its square", {"scale": "squared"}),
    KnownFault("the scale is the weight's absolute value", {"scale": "absolute"}),
    KnownFault("the scale is the exponential of the weight", {"scale": "exponential"}),
    KnownFault("it divides by the weight", {"scale": "divided"}),
    KnownFault("the weight is applied before the statistics are taken", {"scale": "before"}),
    KnownFault("the bias is multiplied by the weight: it is added before the scale", {"shift": "scaled"}),
    KnownFault("the bias is added twice", {"shift": "twice"}),
    KnownFault("the bias is subtracted", {"shift": "negative"}),
    KnownFault("scale and shift are applied along the last axis, not the channels", {"along": "last"}),
    KnownFault("scale and shift are applied along the batch axis, not the channels", {"along": "first"}),
]

RUNNING_IN_TRAINING = [
    KnownFault("it normalizes by the running statistics, not by the batch's own", {"source": "running"}),
    KnownFault("it normalizes by the running statistics, moved by this batch first", {"source": "moved"}),
]

IN_TRAINING = [*SPREAD, *EPS, *ROOT, *AFFINE, *WRONG_AXES, *RUNNING_IN_TRAINING]

OF_RMS = [
    KnownFault("it divides by the standard deviation, not the root mean square", {"spread": "biased"}),
    KnownFault("it divides by the standard deviation (by m-1), not the root mean square", {"spread": "unbiased"}),
]


def faults_in_training(correct: Variant) -> list[KnownFault]:
    """Return the faults that a formula's output in training mode may have, the likeliest first."""
    return [*OF_RMS, *IN_TRAINING] if correct.spread == "mean square" else IN_TRAINING


BATCH_IN_EVAL = KnownFault("eval mode uses the batch's own statistics, not the running ones", {"source": "batch"})

IN_EVAL = [
    BATCH_IN_EVAL,
    KnownFault("eval mode uses the statistics of the last training batch, not the running ones", {"source": "before"}),
    KnownFault("eval mode uses neither running nor batch statistics: mean 0, variance 1", {"source": "start"}),
    KnownFault("the running mean and the running variance are swapped", {"source": "swapped"}),
    KnownFault("the mean is not subtracted in eval mode", {"center": "none"}),
    KnownFault("eval mode corrects the running variance by m/(m-1) of the batch at hand", {"spread": "corrected"}),
    KnownFault("it does not divide by the running standard deviation", {"spread": "none"}),
    KnownFault("the root is missing: the running variance is read as a standard deviation", {"root": "none"}),
    *ROOT[1:],
    *EPS,
    *AFFINE,
    *_over("eval mode uses statistics of the input at hand: the statistics are taken over the wrong axes"),
]

HELD = [
    KnownFault("mean and variance are both detached: no gradient flows through them", {"held": "both"}),
    KnownFault("the mean is detached: no gradient flows through it", {"held": "mean"}),
    KnownFault("the variance is detached: no gradient flows through it", {"held": "variance"}),
]
