"""Laws of behavior: which values an output depends on, and how the layer behaves as a module.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import copy
import io
import pickle

import torch
from torch import Tensor, nn

from bnlab.conformance.examples import Example
from bnlab.conformance.inputs import general_shape, random_input
from bnlab.conformance.known_faults import PRECISE, SINGLE, agrees, difference
from bnlab.conformance.law_results import HOLDS, Law, Verdict, does_not_apply, fails
from bnlab.conformance.states import states_of, tensor_named
from bnlab.conformance.subject import LayerError, Subject, first_line

_NOTHING = (None, None, None)
"""Input, result and expected result of an example that is shown by its shape only."""

LARGE = 1e3
INVARIANT = 1e-4
"""Largest change allowed, as a share of the output. At a variance of 1e6, eps changes an output by 1e-11, FRN's and a
float32 layer's by more; a broken law changes it by about 1."""


def _takes_inputs(subject: Subject) -> Verdict:
    names = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
    taken = [names[num_axes] for num_axes in sorted(subject.shapes)]
    refused = [f"{names[num_axes]} refused: {line}" for num_axes, line in sorted(subject.refusals.items())]
    if taken and not subject.gives_numbers:
        example = Example("training mode, float64, ordinary random values", subject.shape, *_NOTHING)
        return fails("its output is not a number, or infinite, where its input is ordinary", "", example)
    if taken:
        subject.facts["takes"] = ", ".join(taken)
        for num_axes, shape in subject.shapes.items():
            if num_axes in subject.refusals or (num_axes > 2 and len(set(shape)) == 1):
                return fails(f"it runs on {names[num_axes]} only if all axes have the same size: it confuses two axes")
        if refused:
            subject.facts["does not take"] = ", ".join(names[num_axes] for num_axes in sorted(subject.refusals))
        return HOLDS
    first = min(subject.refusals)
    return fails(
        f"it takes no input at all. {refused[0]}",
        "",
        Example("training mode, float32", general_shape(first, subject.num_channels), *_NOTHING),
    )


def _same_values_in_any_layout(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    apart = torch.empty((*x.shape, 2), dtype=x.dtype)[..., 0].copy_(x)
    layouts = {"not contiguous": apart, "with its axes in another order": x.movedim(1, -1).contiguous().movedim(-1, 1)}
    training = not subject.draws_random_numbers  # else they would be drawn in the order of the memory
    with torch.no_grad():
        expected = subject.run(subject.fresh(training=training), x)
        for what, other in layouts.items():
            actual = subject.run(subject.fresh(training=training), other)
            if not agrees(actual, expected, SINGLE):
                return fails(
                    f"an input that is {what} in memory gives other values: view or data_ptr in place of reshape"
                )
    return HOLDS


def _input_untouched(subject: Subject) -> Verdict:
    for training in (True, False):
        x = random_input(subject.shape)
        before = x.clone()
        with torch.no_grad():
            subject.run(subject.fresh(training=training), x)
        if not torch.equal(x, before):
            mode = "training" if training else "eval"
            return fails(f"the input is modified in place in {mode} mode, which damages the output of the layer before")
    return HOLDS


def _deterministic(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    with torch.no_grad():
        again = [subject.run(subject.fresh(), x.clone()) for _ in range(2)]
        in_eval = [subject.run(subject.fresh(training=False), x.clone(), seed=seed) for seed in (1, 2)]
    if not torch.equal(*in_eval):
        return fails("eval mode draws random numbers")
    if not torch.equal(*again):
        return fails("two new layers, the same input and the same random numbers give two outputs in training mode")
    if subject.draws_random_numbers:
        subject.facts["random numbers"] = "drawn in training mode"
    return HOLDS


def _eval_neighbors(subject: Subject) -> Verdict:
    claims = subject.claims
    if claims.mixes_samples and not claims.keeps_running_statistics:
        return does_not_apply("it mixes samples and keeps no running statistics: eval mode mixes them too")
    return _neighbors(subject, training=False)


def _training_neighbors(subject: Subject) -> Verdict:
    if subject.claims.mixes_samples:
        return does_not_apply("it mixes samples in training mode, as promised")
    return _neighbors(subject, training=True)


def _neighbors(subject: Subject, *, training: bool) -> Verdict:
    x = random_input(subject.shape)
    other = torch.cat([x[:1], 3 * x[1:] + 1])
    with torch.no_grad():
        expected, actual = (_trained_run(subject, values, training)[:1] for values in (x, other))
    if agrees(actual, expected, PRECISE):
        return HOLDS
    mode = "training" if training else "eval"
    gap = difference(actual, expected)
    setting = f"{mode} mode, float64: the first sample's output moves by {gap:.3g} when the others change"
    return fails(
        f"a sample's output depends on its neighbors in {mode} mode", "", Example(setting, subject.shape, *_NOTHING)
    )


def _trained_run(subject: Subject, x: Tensor, training: bool) -> Tensor:
    layer = subject.fresh()
    subject.run(layer, random_input(subject.shape, 4))
    return subject.run(layer.train(training), x)


def _order(subject: Subject) -> Verdict:
    if subject.claims.formula is None and subject.claims.mixes_samples:
        return does_not_apply("it has a formula of its own, which may cut the batch in order")
    x = random_input(subject.shape)
    with torch.no_grad():
        expected, actual = subject.run(subject.fresh(), x).flip(0), subject.run(subject.fresh(), x.flip(0))
    if agrees(actual, expected, SINGLE):
        return HOLDS
    return fails("the output depends on the order of the samples in the batch")


def _invariances(subject: Subject) -> Verdict:
    if not subject.claims.invariances:
        return does_not_apply("it promises no invariance")
    x = LARGE * random_input(subject.shape, seed=6)
    causes = []
    with torch.no_grad():
        expected = subject.run(subject.fresh(), x)
        for invariance in sorted(subject.claims.invariances):
            kind, _, change = invariance.partition("_")
            axis = 1 if kind == "channel" else 0
            size = [-1 if at == axis else 1 for at in range(x.dim())]
            steps = torch.arange(1, x.shape[axis] + 1, dtype=torch.float64).view(size)
            other = x + LARGE * steps if change == "shift" else x * (1 + 0.5 * steps)
            gap = difference(subject.run(subject.fresh(), other), expected)
            if not gap <= INVARIANT * float(expected.abs().max()):
                what = "adding a constant to" if change == "shift" else "multiplying"
                causes.append(f"{what} each {kind} moves the output by {gap:.3g}")
    return fails("; and ".join(causes)) if causes else HOLDS


def _affine_per_channel(subject: Subject) -> Verdict:
    names = [name for name in vars(subject.affine).values() if name is not None]
    if not names:
        return does_not_apply("it has no parameters per channel")
    x = random_input(subject.shape)
    with torch.no_grad():
        before = subject.run(subject.fresh(), x)
        for name in names:
            layer = subject.fresh()
            tensor_named(layer, name).reshape(-1)[0].add_(1.0)
            moved = (subject.run(layer, x) - before).abs().transpose(0, 1).flatten(1).amax(1) > SINGLE
            if not bool(moved[0]):
                return fails(f"{name} is not used: changing it changes nothing in its channel")
            if bool(moved[1:].any()):
                return fails(f"{name}[0] changes other channels than the first: it lies along the wrong axis")
    return HOLDS


def _state_dict(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    with torch.no_grad():
        layer = subject.fresh()
        subject.run(layer, random_input(subject.shape, 4))
        file = io.BytesIO()
        twin = subject.fresh(training=False)
        for tensor in [*twin.parameters(), *twin.buffers()]:
            tensor.fill_(1)
        try:
            torch.save(layer.state_dict(), file)
            file.seek(0)
            twin.load_state_dict(torch.load(file, weights_only=True))
        except Exception as error:
            return fails(f"its state dict cannot be saved and loaded: {first_line(error)}")
        expected, actual = subject.run(layer.eval(), x.clone()), subject.run(twin, x.clone())
    if agrees(actual, expected, PRECISE):
        return HOLDS
    return fails(f"a layer loaded from its state dict gives another output in eval mode{_missing(subject)}")


def _missing(subject: Subject) -> str:
    left = [name for name, state in subject.states.items() if state.kind in {"attribute", "buffer that is not saved"}]
    return f": {', '.join(left)} is not in it" if left else ": something it needs is not in it"


def _copies(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    layer = subject.fresh()
    with torch.no_grad():
        subject.run(layer, random_input(subject.shape, 4))
        for what, twice in (("deepcopy", copy.deepcopy), ("pickle", _pickled)):
            try:
                twin = twice(layer)
            except Exception as error:
                return fails(f"{what} does not work: {first_line(error)}")
            if not agrees(subject.run(twin.eval(), x), subject.run(copy.copy(layer).eval(), x), PRECISE):
                return fails(f"a layer from {what} gives another output")
    return HOLDS


def _pickled(layer: nn.Module) -> nn.Module:
    twin: nn.Module = pickle.loads(pickle.dumps(layer))
    return twin


def _modes(subject: Subject) -> Verdict:
    x = random_input(subject.shape)
    layer = subject.fresh()
    with torch.no_grad():
        expected = subject.run(subject.fresh(), x)
        before = states_of(layer)
        if layer.eval() is not layer or layer.training or layer.train() is not layer or not layer.training:
            return fails("train() and eval() must set self.training and return the layer")
        if any(not torch.equal(state.value, before[name].value) for name, state in states_of(layer).items()):
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
    return (
        HOLDS if tuple(y.shape) == subject.shape else fails(f"on the meta device its output has shape {tuple(y.shape)}")
    )


def _declarations(subject: Subject) -> Verdict:
    claims = subject.claims
    if not claims.declared:
        return does_not_apply("it declares nothing")
    x = random_input(subject.shape)
    with torch.no_grad():
        plain, shifted = subject.run(subject.fresh(), x), subject.run(subject.fresh(), x + 5)
        mixed = subject.run(subject.fresh(), torch.cat([x[:1], 3 * x[1:] + 1]))
    seen = {
        "keeps_running_statistics": bool(subject.states),
        "mixes_samples": not agrees(mixed[:1], plain[:1], SINGLE),
        "subtracts_mean": agrees(shifted, plain, 1e-3),
    }
    wrong = [
        f"{name} is declared {vars(claims)[name]}, and seen {value}"
        for name, value in seen.items()
        if vars(claims)[name] != value
    ]
    return fails("; and ".join(wrong)) if wrong else HOLDS


BEHAVIOR_LAWS = (
    Law("input", "it takes (N, C) or (N, C, *S) and gives the same shape", "output", _takes_inputs),
    Law("declarations", "the declarations of its class are true", "behavior", _declarations),
    Law("invariances", "the output ignores shifts and scales as promised", "behavior", _invariances),
    Law("neighbors in eval", "in eval mode samples do not depend on each other", "behavior", _eval_neighbors),
    Law("neighbors in training", "nor in training mode, unless it mixes samples", "behavior", _training_neighbors),
    Law("order", "the order of the samples does not matter", "behavior", _order),
    Law("affine", "weight and bias of a channel move that channel alone", "behavior", _affine_per_channel),
    Law(
        "memory layout", "values do not depend on the input's layout in memory", "behavior", _same_values_in_any_layout
    ),
    Law("input untouched", "the input is not modified in place", "behavior", _input_untouched),
    Law("repeatable", "the same input gives the same output", "behavior", _deterministic),
    Law("state dict", "a layer that is saved and loaded gives the same output", "behavior", _state_dict),
    Law("copies", "deepcopy and pickle give the same layer", "behavior", _copies),
    Law("modes", "train() and eval() can be called again and again", "behavior", _modes),
    Law("meta device", "it runs without data, on the meta device", "behavior", _meta),
)
