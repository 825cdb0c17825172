"""Evaluates and measures stacked runs, and leaves the state of training unchanged.

Shape letters: R runs, B images, K classes.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from bnlab import noise
from bnlab.data.splits import Split
from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Moment, ProbeBatch
from bnlab.diagnostics.measuring import looking_at, measure_with
from bnlab.diagnostics.own_instruments import is_own, refusing_changes
from bnlab.diagnostics.passes import FunctionalCalculus, Named, Passes, in_mode
from bnlab.models.network import Network
from bnlab.training.evaluate import EVAL_BATCH, logits_of
from bnlab.training.stacked.replaying import replayed


@torch.no_grad()
def evaluate_stacked(
    network: Network, parameters: Named, buffers: Named, split: Split, mirrored: bool, kind: object
) -> dict[str, Tensor]:
    """Return mean loss and accuracy over a split for each run, in eval mode; as `evaluate` does for one.

    Args:
        network: The architecture; its own parameters and buffers are not used.
        parameters: Name -> the runs' parameters, (R, *shape).
        buffers: Name -> the runs' buffers, (R, *shape).
        split: The images and labels to evaluate on.
        mirrored: As in `evaluate`.
        kind: All that decides the operations of the network's passes, but for the tensors' shapes. None: they may be
            others at each call.

    Returns:
        ``loss`` and ``accuracy``, (R,) each, on the CPU.
    """

    def outcome_of_one(own_parameters: Named, own_buffers: Named, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logits = logits_of(lambda x: functional_call(network, (own_parameters, own_buffers), (x,)), images, mirrored)
        return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()

    outcome = vmap(outcome_of_one, in_dims=(0, 0, None, None))
    outcomes = []
    with in_mode(network, training=False):
        for images, labels in zip(
            torch.split(split.images, EVAL_BATCH), torch.split(split.labels, EVAL_BATCH), strict=True
        ):
            given = (parameters, buffers, images, labels)
            outcomes.append(outcome(*given) if kind is None else replayed((kind, mirrored), outcome, *given))
    loss_R, num_right_R = (sum(part.cpu().double() for part in parts) for parts in zip(*outcomes, strict=True))
    return {"loss": loss_R / len(split), "accuracy": num_right_R / len(split)}


@dataclass(frozen=True)
class StackedState:
    """The state of R stacked runs at one step.

    Attributes:
        network: The architecture. For diagnostics that measure one run at a time, it gets each run's values in turn.
        parameters: Name -> the runs' parameters, (R, *shape).
        buffers: Name -> the runs' buffers, (R, *shape); they keep their values.
        noises: Number of samples -> the noise that the runs draw in a forward pass over so many samples, (R, *shape).
        moment: The step that the runs have just made; its tensors are stacked.
        memories: For each run, diagnostic -> the tensors that it keeps between two measurements.
        kind: All that decides the operations of the network's passes, but for the tensors' shapes.
            None: they may be others at each call.
    """

    network: Network
    parameters: Named
    buffers: Named
    noises: Mapping[int, Sequence[Tensor]]
    moment: Moment
    memories: Sequence[Mapping[str, Named]]
    kind: object = None

    def row(self, row: int) -> "StackedState":
        """Return the state of one run, with tensors that are not stacked."""
        return replace(
            self,
            parameters={name: value[row] for name, value in self.parameters.items()},
            buffers={name: value[row] for name, value in self.buffers.items()},
            noises={size: [value[row] for value in values] for size, values in self.noises.items()},
            moment=_moment_of(self.moment, row),
            memories=[self.memories[row]],
        )


def _moment_of(moment: Moment, row: int) -> Moment:
    previous = None if moment.previous is None else {name: value[row] for name, value in moment.previous.items()}
    batch = None if moment.batch is None else Batch(moment.batch.inputs[row], moment.batch.labels[row])
    return Moment(previous, batch, None if moment.lr is None else moment.lr[row])


def measure_stacked(
    diagnostics: Sequence[Diagnostic], state: StackedState, probe: ProbeBatch
) -> list[tuple[dict[str, Named], dict[str, Named]]]:
    """Measure all diagnostics in each run; as `measure_all` does for one.

    Args:
        diagnostics: The diagnostics to measure. Vectorizable ones measure all runs at once, the others one by one.
        state: The runs to measure.
        probe: The fixed held-out batch, and training batches, that all diagnostics get.

    Returns:
        For each run, diagnostic -> layer -> value, and the new memory of each diagnostic.
    """
    at_once = [diagnostic for diagnostic in diagnostics if diagnostic.vectorizable]
    one_by_one = [diagnostic for diagnostic in diagnostics if not diagnostic.vectorizable]
    num_runs = len(state.memories)
    found: list[tuple[dict[str, Named], dict[str, Named]]] = [({}, {}) for _ in range(num_runs)]
    with torch.no_grad():
        if at_once:
            values, remembered = _measure_at_once(at_once, state, probe)
            found = list(zip(_by_row(values, num_runs), _by_row(remembered, num_runs), strict=True))
        for row in range(num_runs) if one_by_one else ():
            of_row, kept_by_row = _measure_one(one_by_one, state.row(row), probe)
            found[row][0].update(of_row)
            found[row][1].update(kept_by_row)
    order = {diagnostic.name: None for diagnostic in diagnostics}
    return [({name: values[name] for name in order if name in values}, kept) for values, kept in found]


def _by_row(stacked: Mapping[str, Named], num_runs: int) -> list[dict[str, Named]]:
    rows: list[dict[str, Named]] = [{name: {} for name in stacked} for _ in range(num_runs)]
    for name, values in stacked.items():
        for role, value in values.items():
            for row, own in zip(rows, value.unbind(), strict=True):
                row[name][role] = own
    return rows


def _noise_for(num_samples: int, noises: Mapping[int, Sequence[Tensor]]) -> AbstractContextManager[object]:
    if noises and num_samples not in noises:
        raise ValueError(
            f"A diagnostic passes {num_samples} images through stacked runs whose layers draw noise, but the noise was "
            f"drawn for {', '.join(str(size) for size in sorted(noises))} images. Pass the whole probe batch, "
            "probe.few, one of probe.training_batches or moment.batch."
        )
    return noise.supplied(noises.get(num_samples, []))


def _measure_at_once(
    diagnostics: Sequence[Diagnostic], state: StackedState, probe: ProbeBatch
) -> tuple[dict[str, Named], dict[str, Named]]:
    network, moment = state.network, state.moment
    names = {diagnostic.name for diagnostic in diagnostics}
    memories = {
        name: {key: torch.stack([own[name][key] for own in state.memories]) for key in state.memories[0][name]}
        for name in state.memories[0]
        if name in names
    }

    def of_one(own: dict[str, Any], seen: Mapping[str, Any]) -> tuple[dict[str, Named], dict[str, Named]]:
        def same_noise(num_samples: int) -> AbstractContextManager[object]:
            return _noise_for(num_samples, own["noises"])

        passes = Passes(network, own["parameters"], own["buffers"], FunctionalCalculus(), same_noise)
        now = Moment(own["previous"] or None, Batch(*own["batch"]) if own["batch"] else None, own.get("lr"))
        batches = tuple(Batch(*batch) for batch in seen["training_batches"])
        same_probe = replace(probe, inputs=seen["inputs"], labels=seen["labels"], training_batches=batches)
        return measure_with(passes, diagnostics, network, same_probe, now, own["memories"])

    shared = {
        "inputs": probe.inputs,
        "labels": probe.labels,
        "training_batches": [list(batch) for batch in probe.training_batches],
    }
    stacked = {
        "parameters": state.parameters,
        "buffers": state.buffers,
        "noises": {size: list(values) for size, values in state.noises.items()},
        "previous": moment.previous or {},
        "batch": list(moment.batch or []),
        "memories": memories,
    }
    if moment.lr is not None:
        stacked["lr"] = moment.lr

    def reach() -> Named:
        weights = {f"the weight {name}": values for name, values in state.parameters.items()}
        buffers = {f"the buffer {name}": values for name, values in state.buffers.items()}
        return {**weights, **buffers, "seen.probe.inputs": probe.inputs}

    measure = vmap(of_one, in_dims=(0, None))
    if any(map(is_own, diagnostics)):  # its Python may do more than operations on tensors
        with refusing_changes(diagnostics, reach):
            return measure(stacked, shared)
    # of heavy ones there are thousands of operations: recording them takes seconds
    if state.kind is None or any(one.cost == "heavy" for one in diagnostics):
        return measure(stacked, shared)
    what = tuple((type(one), one.name, repr(vars(one))) for one in diagnostics)
    return replayed((state.kind, what, probe.activation, probe.step_size), measure, stacked, shared)


def _measure_one(
    diagnostics: Sequence[Diagnostic], state: StackedState, probe: ProbeBatch
) -> tuple[dict[str, Named], dict[str, Named]]:
    def same_noise(num_samples: int) -> AbstractContextManager[object]:
        return _noise_for(num_samples, state.noises)

    state.network.load_state_dict({**state.parameters, **state.buffers}, strict=False)
    with looking_at(state.network, same_noise) as passes:
        return measure_with(passes, diagnostics, state.network, probe, state.moment, state.memories[0])
