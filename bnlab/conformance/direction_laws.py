"""The law of the dead direction: what a norm that subtracts a sample's mean can never express.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import torch
from torch import Tensor

from bnlab.conformance.affine import affine_of
from bnlab.conformance.examples import Example
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, NotApplicableError, Verdict, fails
from bnlab.conformance.observing import correct_variant
from bnlab.conformance.states import tensor_named
from bnlab.conformance.subject import Subject

HAVE_ONE = ("layer", "group")
HAVE_NONE = ("rms", "batch")
"""Families of norms with a dead direction, and without one. An instance norm has one for each channel: its own mean,
whatever the weight is."""

CONSTANT = 1e-10
"""Largest share of variance of a direction in which nothing changes. float64 leaves 1e-30, and a layer that computes in
float32 1e-13; RMSNorm has about 1."""


def share_of_variance(y_NCS: Tensor, weight_C: Tensor) -> float:
    """Return the variance of outputs along 1/weight, as a multiple of their mean variance over all directions.

        u = 1/weight at each position, divided by its length;    share = var over N of <y, u> / mean over C, S of var y

    Args:
        y_NCS: Outputs of N samples.
        weight_C: The scale of each channel; none is 0.
    """
    u_CS = (1 / weight_C).view(-1, *[1] * (y_NCS.dim() - 2)).expand(y_NCS.shape[1:]).flatten()
    y_NF = y_NCS.flatten(1)
    along_N = y_NF @ (u_CS / u_CS.norm())
    return float(along_N.var() / y_NF.var(0).mean())


def _dead_direction(subject: Subject) -> Verdict:
    correct_variant(subject)
    family = str(subject.claims.formula)
    if family not in {*HAVE_ONE, *HAVE_NONE}:
        raise NotApplicableError("it subtracts the mean of each channel of a sample, whatever its weight is")
    layer, x = subject.fresh(), random_input(subject.shape, seed=4)
    scale = affine_of(layer, subject.num_channels).scale
    weight_C = torch.ones(subject.num_channels).double()
    if scale is not None:
        weight_C = tensor_named(layer, scale).detach().double().reshape(-1)
    share = share_of_variance(subject.run(layer, x), weight_C)
    if (share < CONSTANT) == (family in HAVE_ONE):
        return HOLDS
    example = Example(f"training mode, float64: the variance along 1/weight is {share:.3g} of the mean", subject.shape)
    if family in HAVE_ONE:
        return fails("the outputs change along 1/weight, so the mean over a sample is not subtracted", example)
    return fails("the outputs never change along 1/weight, so a mean over a sample is subtracted", example)


DIRECTION_LAWS = (
    Law(
        "dead direction",
        "along 1/weight the output never changes where a sample's mean is subtracted, and changes elsewhere",
        "output",
        _dead_direction,
    ),
)
