"""Laws of what a layer keeps from one step to the next: it is saved, moves once per step and stays finite."""

import torch
from torch import Tensor, nn

from bnlab.conformance.examples import Example
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails, only_if
from bnlab.conformance.states import changed, states_of
from bnlab.conformance.subject import LayerError, Subject
from bnlab.seeding import seeded_alike
from bnlab.traps.unsaved_state import find_unsaved_state

WIDEST = 3e4
"""Largest value of an input for float16: its variance is about 1e7, far above float16's largest number, 65504."""


def _state_dict(subject: Subject) -> Verdict:
    layer, twin = subject.fresh(), subject.fresh()
    for tensor in [*twin.parameters(), *twin.buffers()]:
        tensor.detach().fill_(1)

    def run(layer: nn.Module, x: Tensor, training: bool) -> Tensor:
        x = x.clone().requires_grad_(training) * 1  # a layer may count on gradients in training mode, and work in place
        with seeded_alike():
            return subject.run(layer.train(training), x).detach()

    found = find_unsaved_state(layer, twin, (random_input(subject.shape, 4), random_input(subject.shape)), run)
    if found is None:
        return HOLDS
    missing = ", ".join(found.names) or "something it needs"
    if found.refusal:
        return fails(f"its state dict cannot be saved and loaded: {found.refusal}")
    if not found.loads:
        return fails(f"a layer loaded from its state dict gives another output in eval mode: {missing} is not in it")
    return fails(
        "a layer loaded from its state dict gives the same output in eval mode, but another one when it is trained "
        f"further: {missing} is not in it"
    )


def _backward(subject: Subject) -> Verdict:
    only_if(bool(subject.states), "training changes none of its tensors")
    layer = subject.fresh()
    y = subject.run(layer, random_input(subject.shape).requires_grad_() * 1)
    before = states_of(layer)
    try:
        torch.autograd.backward(y, torch.ones_like(y))
    except RuntimeError:
        only_if(False, "its backward pass fails, which other laws report")
    moved = changed(before, states_of(layer))
    if not moved:
        return HOLDS
    return fails(
        f"the backward pass updates {', '.join(moved)} again, as activation checkpointing does, which runs the forward "
        "pass a second time: each batch counts twice"
    )


def _half_state(subject: Subject) -> Verdict:
    only_if(subject.claims.keeps_running_statistics, "it keeps no running statistics")
    layer = subject.fresh(dtype=torch.float16)
    try:
        for seed in range(3):
            x = random_input(subject.shape, seed)
            subject.run(layer, (x * (WIDEST / x.abs().max())).half())
    except LayerError as crash:
        only_if(False, f"it does not take float16: {crash.line}")
    infinite = [name for name, state in states_of(layer).items() if not bool(torch.isfinite(state.value).all())]
    if not infinite:
        return HOLDS
    return fails(
        f"after .half() {', '.join(infinite)} is kept in float16, and infinite where a variance is above 65504: eval "
        "mode then gives the bias, while training looks well. Keep running statistics in float32",
        Example(f"training mode, float16, random values up to {WIDEST:g}", subject.shape),
    )


STATE_LAWS = (
    Law("state dict", "a layer that is saved and loaded goes on with the same outputs", "behavior", _state_dict),
    Law("one update per step", "the backward pass changes nothing", "running statistics", _backward),
    Law("half-precision state", "after .half() large variances leave it finite", "running statistics", _half_state),
)
