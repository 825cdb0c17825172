"""Laws of behavior: which values an output depends on, and how the layer behaves as a module.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import copy
import pickle
from collections.abc import Callable

import torch
from torch import nn

from bnlab.conformance.examples import Example
from bnlab.conformance.explaining import PRECISE, SINGLE, agrees, difference
from bnlab.conformance.inputs import general_shape, random_input, steps_along
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails, fails_if, only_if
from bnlab.conformance.states import changed, states_of, tensor_named
from bnlab.conformance.subject import LayerError, Subject, first_line

LARGE = 1e3
INVARIANT = 1e-4
"""Largest change allowed, as a share of the output. At a variance of 1e6, eps changes an output by 1e-11, FRN's and a
float32 layer's by more; a broken law changes it by about 1."""


def _takes_inputs(subject: Subject) -> Verdict:
    names = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
    taken = [names[num_axes] for num_axes in sorted(subject.shapes)]
    refused = [f"{names[num_axes]} refused: {line}" for num_axes, line in sorted(subject.refusals.items())]
    if taken:
        subject.findings["gives numbers"] = bool(torch.isfinite(subject.output(random_input(subject.shape))).all())
    if taken and not subject.findings["gives numbers"]:
        example = Example("training mode, float64, ordinary random values", subject.shape)
        return fails("its output is not a number, or infinite, where its input is ordinary", example)
    if taken:
        subject.facts["takes"] = ", ".join(taken)
        for num_axes, shape in subject.shapes.items():
            if num_axes > 2 and len(set(shape)) == 1:
                return fails(f"it runs on {names[num_axes]} only if all axes have the same size: it confuses two axes")
        if refused:
            subject.facts["does not take"] = ", ".join(names[num_axes] for num_axes in sorted(subject.refusals))
        return HOLDS
    shape = general_shape(min(subject.refusals), subject.num_channels)
    return fails(f"it takes no input at all. {refused[0]}", Example("training mode, float32", shape))


def _input_untouched(subject: Subject) -> Verdict:
    for training in (True, False):
        x = random_input(subject.shape)
        before = x.clone()
        subject.output(x, training=training)
        if not torch.equal(x, before):
            mode = "training" if training else "eval"
            return fails(f"the input is modified in place in {mode} mode, which damages the output of the layer before")
    return HOLDS


def _deterministic(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    if not torch.equal(*(subject.output(x.clone(), training=False, seed=seed) for seed in (1, 2))):
        return fails("eval mode draws random numbers")
    if not torch.equal(subject.output(x.clone()), subject.output(x.clone())):
        return fails("two new layers, the same input and the same random numbers give two outputs in training mode")
    if subject.draws_random_numbers:
        subject.facts["random numbers"] = "drawn in training mode"
    return HOLDS


def _eval_neighbors(subject: Subject) -> Verdict:
    never_mixes = subject.claims.keeps_running_statistics or not subject.claims.mixes_samples
    only_if(never_mixes, "it mixes samples and keeps no running statistics: eval mode mixes them too")
    return _neighbors(subject, training=False)


def _training_neighbors(subject: Subject) -> Verdict:
    who = "it declares that it" if subject.claims.declared else "a norm of this family"
    only_if(not subject.claims.mixes_samples, f"{who} mixes samples in training mode")
    return _neighbors(subject, training=True)


def _neighbors(subject: Subject, *, training: bool) -> Verdict:
    x = random_input(subject.shape)
    inputs = (x, torch.cat([x[:1], 3 * x[1:] + 1]))
    expected, actual = (subject.run(subject.trained().train(training), values)[:1] for values in inputs)
    if agrees(actual, expected, PRECISE):
        return HOLDS
    mode = "training" if training else "eval"
    gap = difference(actual, expected)
    setting = f"{mode} mode, float64: the first sample's output moves by {gap:.3g} when the others change"
    return fails(f"a sample's output depends on its neighbors in {mode} mode", Example(setting, subject.shape))


def _order(subject: Subject) -> Verdict:
    may_cut = subject.claims.formula is None and subject.claims.mixes_samples
    only_if(not may_cut, "it has a formula of its own, which may cut the batch in order")
    x = random_input(subject.shape)
    expected = subject.output(x).flip(0)
    if agrees(subject.output(x.flip(0)), expected, SINGLE):
        return HOLDS
    return fails("the output depends on the order of the samples in the batch")


def _invariances(subject: Subject) -> Verdict:
    only_if(bool(subject.claims.invariances), "it promises no invariance")
    x = LARGE * random_input(subject.shape, seed=6)
    expected = subject.output(x)
    causes = []
    for invariance in sorted(subject.claims.invariances):
        kind, _, change = invariance.partition("_")
        steps = steps_along(1 if kind == "channel" else 0, x.shape) + 1
        other = x + LARGE * steps if change == "shift" else x * (1 + 0.5 * steps)
        gap = difference(subject.output(other), expected)
        if not gap <= INVARIANT * float(expected.abs().max()):
            what = "adding a constant to" if change == "shift" else "multiplying"
            causes.append(f"{what} each {kind} moves the output by {gap:.3g}")
    return fails_if(causes)


def _affine_per_channel(subject: Subject) -> Verdict:
    only_if(bool(subject.affine.names), "it has no parameters per channel")
    x = random_input(subject.shape)
    before = subject.run(subject.trained(), x)
    for name in subject.affine.names:
        layer = subject.trained()  # the first batch may set its parameters
        tensor_named(layer, name).reshape(-1)[0].add_(1.0)
        moved = (subject.run(layer, x) - before).abs().transpose(0, 1).flatten(1).amax(1) > SINGLE
        if not bool(moved[0]):
            return fails(f"{name} is not used: changing it changes nothing in its channel")
        if bool(moved[1:].any()):
            return fails(f"{name}[0] changes other channels than the first: it lies along the wrong axis")
    return HOLDS


def _copies(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    layer = subject.trained()
    ways: dict[str, Callable[[], nn.Module]] = {
        "deepcopy": lambda: copy.deepcopy(layer),
        "pickle": lambda: pickle.loads(pickle.dumps(layer)),
    }
    for what, copied in ways.items():
        try:
            twin = copied()
        except Exception as error:
            return fails(f"{what} does not work: {first_line(error)}")
        if not agrees(subject.run(twin.eval(), x), subject.run(copy.copy(layer).eval(), x), PRECISE):
            return fails(f"a layer from {what} gives another output")
    return HOLDS


def _modes(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    expected = subject.output(x)
    layer = subject.fresh()
    before = states_of(layer)
    if layer.eval() is not layer or layer.training or layer.train() is not layer or not layer.training:
        return fails("train() and eval() must set self.training and return the layer")
    if changed(before, states_of(layer)):
        return fails("switching between train() and eval() changes its tensors")
    subject.run(layer.eval(), x)
    if agrees(subject.run(layer.train(), x), expected, PRECISE):
        return HOLDS
    return fails("after eval() and train() the training output differs")


def _meta(subject: Subject) -> Verdict:
    layer = subject.fresh(dtype=torch.float32)
    try:
        layer.to("meta")
        y = subject.run(layer, torch.empty(subject.shape, device="meta"))
    except Exception as error:
        line = error.line if isinstance(error, LayerError) else first_line(error)
        return fails(
            f"it does not run on the meta device, where bnlab checks a run before it starts: {line}. "
            "Avoid .item(), and tensors that .to() does not move"
        )
    if tuple(y.shape) == subject.shape:
        return HOLDS
    return fails(f"on the meta device its output has shape {tuple(y.shape)}")


def _declarations(subject: Subject) -> Verdict:
    only_if(subject.claims.declared, "it declares nothing")
    x = random_input(subject.shape)
    plain = subject.output(x)
    mixed = subject.output(torch.cat([x[:1], 3 * x[1:] + 1]))
    seen = {
        "keeps_running_statistics": bool(subject.states),
        "mixes_samples": not agrees(mixed[:1], plain[:1], SINGLE),
        "subtracts_mean": agrees(subject.output(x + 5), plain, 1e-3),
    }
    declared = vars(subject.claims)
    return fails_if(
        [
            f"{name} is declared {declared[name]}, and seen {value}"
            for name, value in seen.items()
            if declared[name] != value
        ]
    )


BEHAVIOR_LAWS = (
    Law("input", "it takes (N, C) or (N, C, *S) and gives the same shape", "output", _takes_inputs),
    Law("declarations", "the declarations of its class are true", "behavior", _declarations),
    Law("invariances", "the output ignores shifts and scales as promised", "behavior", _invariances),
    Law(
        "neighbors in eval",
        "in eval mode samples do not depend on each other",
        "behavior",
        _eval_neighbors,
    ),
    Law(
        "neighbors in training",
        "nor in training mode, unless it mixes samples",
        "behavior",
        _training_neighbors,
    ),
    Law("order", "the order of the samples does not matter", "behavior", _order),
    Law("affine", "weight and bias of a channel move that channel alone", "behavior", _affine_per_channel),
    Law("input untouched", "the input is not modified in place", "behavior", _input_untouched),
    Law("repeatable", "the same input gives the same output", "behavior", _deterministic),
    Law("copies", "deepcopy and pickle give the same layer", "behavior", _copies),
    Law("modes", "train() and eval() can be called again and again", "behavior", _modes),
    Law("meta device", "it runs without data, on the meta device", "behavior", _meta),
)
