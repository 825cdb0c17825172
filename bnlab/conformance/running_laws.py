"""Laws of the running statistics: how training updates them, that eval mode does not, and where they are kept."""

from dataclasses import replace

import torch

from bnlab.conformance.examples import Example, show
from bnlab.conformance.explaining import PRECISE, agrees
from bnlab.conformance.inputs import random_input, small_input
from bnlab.conformance.law_results import HOLDS, Law, NotApplicableError, Verdict, fails, fails_if, only_if
from bnlab.conformance.layer_building import with_option
from bnlab.conformance.observing import correct_variant, set_running
from bnlab.conformance.running_fit import History, Move, move_of, record, reshaped, roles_of
from bnlab.conformance.states import changed, states_of
from bnlab.conformance.subject import LayerError, Subject, named_options

NEAR = 1e-4
"""Shares that differ by less than this are equal: running values may be float32."""

COUNT = "num_batches_tracked"

VARIANCES = ("biased variance", "unbiased variance")
"""The variances that a running variance may average: bnlab and the article use the first, PyTorch the second."""

NONE_KEPT = "it keeps no running statistics"


def _move(subject: Subject) -> Verdict:
    only_if(subject.claims.keeps_running_statistics, NONE_KEPT)
    history, names = record(subject), roles_of(subject)
    if not subject.states:
        example = None if names is None else _moved_example(history, names, [None, None])
        return fails("training moves nothing: the running statistics are never updated", example)
    if subject.claims.formula != "batch":
        return HOLDS
    if names is None:
        return fails("no running mean and variance per channel are found among the layer's tensors")
    moves = [move_of(history, name) for name in names]
    causes = _wrong_moves(subject, history, names, moves)
    subject.findings["moves are wrong"] = bool(causes)
    if causes:
        only_the_count = causes == _wrong_count(history)
        example = _counted_example(history) if only_the_count else _moved_example(history, names, moves)
        return replace(fails_if(causes), example=example)
    mean, var = moves
    assert mean is not None
    assert var is not None
    subject.facts["running variance"] = f"{names[1]} averages the {var.statistic}" + (
        ", as PyTorch" if var.statistic.startswith("unbiased") else ", as bnlab and the article"
    )
    subject.facts["momentum"] = _sense(subject, mean)
    return HOLDS


def _wrong_moves(subject: Subject, history: History, names: tuple[str, str], moves: list[Move | None]) -> list[str]:
    mean, var = names
    moved = [not torch.equal(history.values[name][0], history.values[name][-1]) for name in names]
    if moved != [True, True]:
        return [f"{name} is never updated" for name, moves_at_all in zip(names, moved, strict=True) if not moves_at_all]
    kinds = [None if move is None else move.statistic for move in moves]
    if kinds[1] == "mean" and kinds[0] in VARIANCES:
        return [f"mean and variance are swapped: {mean} takes the variance, {var} the mean"]
    causes = []
    wanted = {mean: ("mean",), var: VARIANCES}
    for name, move in zip(names, moves, strict=True):
        if move is None:
            causes.append(f"no known cause explains how {name} moves")
        elif move.statistic not in wanted[name]:
            causes.append(f"{name} takes the batch's {move.statistic}, not its {wanted[name][0]}")
        else:
            causes += _wrong_share(subject, name, move)
    shares = [move.share for move in moves if move is not None]
    if not causes and abs(shares[0] - shares[1]) > NEAR:
        causes.append(f"{mean} moves by a share of {shares[0]:.4g} per batch, {var} by {shares[1]:.4g}")
    causes += _wrong_start(history, names) + _wrong_count(history)
    return list(dict.fromkeys(causes))


def _wrong_share(subject: Subject, name: str, move: Move) -> list[str]:
    """Return the faults in the shares of old and new value; momentum may be either, as in bnlab or in PyTorch."""
    momentum = _momentum(subject)
    if move.counts_the_start:
        return [_start_counted(name)]
    if move.is_cumulative and momentum is not None:
        return [f"{name} is the plain average of all batches, though momentum is {momentum:g}"]
    if move.is_cumulative:
        return []
    if not move.is_constant:
        shares = ", ".join(f"{share:.3g}" for share in move.taken)
        return [f"the share by which {name} moves changes from batch to batch: {shares}"]
    if abs(move.taken[0] - move.share) > NEAR and abs(move.kept[-1] + move.share - 1) < NEAR:
        return [f"the first batch replaces the starting value of {name}"]
    if not move.adds_up and abs(move.kept[-1] - 1) < NEAR:
        return [f"{name} only grows: the old value is kept whole, and {move.share:.4g} of the new one added"]
    if not move.adds_up:
        return [f"the shares of {name} do not add up to 1: {move.kept[-1]:.4g} old and {move.share:.4g} new"]
    if momentum is None:
        return []
    shares_meant = (momentum, 1 - momentum)
    if any(abs(move.share - share) < NEAR for share in shares_meant):
        return []
    if any(abs(move.share - (1 - (1 - share) ** 2)) < NEAR for share in shares_meant):
        return [f"{name} is updated twice per batch"]
    if abs(move.share - 1) < NEAR:
        return [f"momentum is not applied to {name}: each batch replaces it"]
    return [f"{name} moves by a share of {move.share:.4g} per batch, momentum is {momentum:g}"]


def _start_counted(name: str) -> str:
    return f"the starting value is counted: batch t moves {name} by 1/(t+1), not 1/t"


def _wrong_start(history: History, names: tuple[str, str]) -> list[str]:
    causes = []
    for name, start in zip(names, (0.0, 1.0), strict=True):
        value = history.values[name][0]
        if not bool((value == start).all()):
            causes.append(
                f"{name} starts at {value.reshape(-1)[0]:g}, not {start:g}: eval mode before training is wrong"
            )
    return causes


def _wrong_count(history: History) -> list[str]:
    return [
        f"{name} does not count the batches: {came}"
        for name, (came, expected) in _counts(history).items()
        if came != expected
    ]


def _counts(history: History) -> dict[str, tuple[list[int], list[int]]]:
    """Return the values of the layer's counts of batches, by name, and the correct ones."""
    values = {name: list(map(int, seen)) for name, seen in history.values.items() if name.rpartition(".")[2] == COUNT}
    return {name: (came, list(range(came[0], came[0] + len(came)))) for name, came in values.items()}


def _counted_example(history: History) -> Example:
    came, expected = next(pair for pair in _counts(history).values() if pair[0] != pair[1])
    setting = f"{COUNT} before the first of {len(came) - 1} random batches and after each"
    return Example(setting, came=came, expected=expected)


def _momentum(subject: Subject) -> float | None:
    value: float | None = named_options(subject, "momentum", "decay")
    return value


def _sense(subject: Subject, move: Move) -> str:
    momentum = _momentum(subject)
    if move.is_cumulative:
        return "None: the plain average of all batches"
    if momentum is None:
        return f"share of the new value {move.share:.4g}; the layer has no attribute momentum"
    if abs(momentum - 0.5) < NEAR:
        return "0.5, which is the same in both senses"
    if abs(move.share - momentum) < NEAR:
        return f"{momentum:g} is the share of the new value, as in PyTorch"
    return f"{momentum:g} is the share of the old value that is kept, as in bnlab and the article"


def _moved_example(history: History, names: tuple[str, str], moves: list[Move | None]) -> Example:
    """Return the buffers after the second batch, and their correct values for the share that the mean uses.

    The layer may store the biased or the unbiased variance: the correct value is that of the one it stores.
    """
    stored = "biased variance" if moves[1] is None else moves[1].statistic
    of_var = stored if stored in VARIANCES else VARIANCES[0]
    share = next((move.share for move in moves if move is not None and move.adds_up), 0.1)
    seen = history.batches[1]
    expected = [
        (1 - share) * history.values[name][1].double().reshape(-1) + share * seen[statistic]
        for name, statistic in zip(names, ("mean", of_var), strict=True)
    ]
    actual = [history.values[name][2] for name in names]
    setting = (
        f"{names[0]} and {names[1]} after the second of two random batches; expected for a new share of {share:.4g}"
    )
    shown = {"mean": show(seen["mean"]), of_var: show(seen[of_var])}
    return Example(setting, (), shown, [show(value) for value in actual], [show(value) for value in expected])


def _cumulative(subject: Subject) -> Verdict:
    only_if(subject.claims.keeps_running_statistics, NONE_KEPT)
    only_if(subject.claims.formula == "batch", "it has a formula of its own")
    only_if(not subject.findings.get("moves are wrong", True), "see running update")
    only_if("momentum" in subject.options, "its constructor has no option momentum")
    twin = replace(subject, build=with_option(subject.build, "momentum", None), findings={})
    try:
        history = record(twin)
    except LayerError as crash:
        raise NotApplicableError(f"it does not take momentum=None: {crash.line}") from crash
    moves = {name: move_of(history, name) for name in _names_of(twin)}
    return fails_if(
        [_not_cumulative(name, move) for name, move in moves.items() if move is None or not move.is_cumulative]
    )


def _names_of(subject: Subject) -> tuple[str, str]:
    names = roles_of(subject)
    if names is None:
        raise NotApplicableError("no running mean and variance are found")
    return names


def _not_cumulative(name: str, move: Move | None) -> str:
    if move is not None and move.counts_the_start:
        return _start_counted(name)
    if move is not None and move.is_constant and move.adds_up:
        return f"momentum=None is ignored: every batch moves {name} by a share of {move.share:.4g}"
    return f"{name} is not the plain average of all batches"


def _ignored_in_training(subject: Subject) -> Verdict:
    only_if(subject.claims.keeps_running_statistics, NONE_KEPT)
    correct_variant(subject)
    _names_of(subject)
    x = small_input((2, subject.num_channels, *(2,) * (min(subject.shapes) - 2)))
    moved = subject.fresh()
    set_running(subject, moved)
    expected, actual = subject.output(x), subject.run(moved, x)
    if agrees(actual, expected, PRECISE):
        return HOLDS
    setting = "training mode, float64, with other running statistics than expected is for"
    example = Example(setting, tuple(x.shape), show(x), show(actual), show(expected))
    return fails("the training output depends on the running statistics", example)


def _left_alone_in_eval(subject: Subject) -> Verdict:
    layer = subject.fresh()
    x = random_input(subject.shape)
    subject.run(layer, x)
    layer.eval()
    before = states_of(layer)
    subject.run(layer, x + 1)
    moved = changed(before, states_of(layer))
    if not moved:
        return HOLDS
    name, state = next(iter(moved.items()))
    was = show(before[name].value) if name in before else None
    example = Example(f"{name} before and after a forward pass in eval mode", came=show(state.value), expected=was)
    return fails(f"eval mode updates {', '.join(moved)}", example)


def _kept_as_buffers(subject: Subject) -> Verdict:
    only_if(bool(subject.states), "training changes none of its tensors")
    grown = [f"{name} {before} -> {after}" for name, (before, after) in reshaped(subject).items()]
    if grown:
        return fails(
            f"a tensor takes the shape of the input ({', '.join(grown)}), so that another size, or a saved layer, does "
            "not fit. A statistic of a channel is taken over all axes but the channels'"
        )
    cures = {
        "attribute": "is a plain attribute: not saved in a state dict, not moved by .to(). Use register_buffer",
        "parameter": "is a parameter: an optimizer would train it. Use register_buffer",
        "buffer that is not saved": "is a buffer that is not saved (persistent=False)",
    }
    taken = subject.set_by_first_batch
    wrong = {n: state.kind for n, state in subject.states.items() if state.kind != "buffer" and n not in taken}
    causes = [
        f"{', '.join(name for name, its_kind in wrong.items() if its_kind == kind)} {cures[kind]}"
        for kind in dict.fromkeys(wrong.values())
    ]
    if taken:
        causes.append(
            f"the first batch sets {', '.join(taken)}, as in ActNorm: what a new layer computes depends on which batch "
            "comes first, a probe batch too. Let all arms begin with the same one"
        )
    return fails_if(causes)


def _without_graph(subject: Subject) -> Verdict:
    layer = subject.fresh()
    x = random_input(subject.shape).requires_grad_()
    subject.run(layer, x)
    named = [name for name, state in states_of(layer).items() if state.has_graph]
    if not named:
        return HOLDS
    return fails(
        f"{', '.join(named)} keeps the graph of the batch it was computed from: memory grows with every batch, or the "
        "second backward fails. Take the statistics' .detach() before they are stored"
    )


RUNNING_LAWS = (
    Law("running update", "running mean and variance move by momentum, from 0 and 1", "running statistics", _move),
    Law(
        "momentum=None",
        "without a momentum they are the plain average",
        "running statistics",
        _cumulative,
        ("running update",),
    ),
    Law("batch in training", "the training output does not depend on them", "running statistics", _ignored_in_training),
    Law(
        "eval leaves buffers", "a forward pass in eval mode changes nothing", "running statistics", _left_alone_in_eval
    ),
    Law("buffers", "what training changes is a buffer, saved with the layer", "running statistics", _kept_as_buffers),
    Law("no graph in buffers", "buffers do not keep a batch's graph alive", "running statistics", _without_graph),
)
