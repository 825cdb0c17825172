"""Evaluating and watching runs that are trained together; nothing here moves what training goes on with.

Shape letters: R replicas, B images, K classes.
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
from bnlab.diagnostics.passes import FunctionalCalculus, Named, Passes, in_mode
from bnlab.models.network import Network
from bnlab.training.evaluate import EVAL_BATCH


@torch.no_grad()
def evaluate_replicas(network: Network, parameters: Named, buffers: Named, split: Split) -> dict[str, Tensor]:
    """Return mean loss and accuracy over a split for each replica, in eval mode; as `evaluate` does for one.

    Args:
        network: For its layers.
        parameters: Stacked.
        buffers: Stacked.
        split: On what.

    Returns:
        ``loss`` and ``accuracy``, (R,) each, on the CPU.
    """

    def outcome_of_one(own_parameters: Named, own_buffers: Named, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logits = functional_call(network, (own_parameters, own_buffers), (images,))
        return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()

    outcomes = []
    with in_mode(network, training=False):
        for images, labels in zip(
            torch.split(split.images, EVAL_BATCH), torch.split(split.labels, EVAL_BATCH), strict=True
        ):
            outcomes.append(vmap(outcome_of_one, in_dims=(0, 0, None, None))(parameters, buffers, images, labels))
    loss_R, num_right_R = (sum(part.cpu().double() for part in parts) for parts in zip(*outcomes, strict=True))
    return {"loss": loss_R / len(split), "accuracy": num_right_R / len(split)}


@dataclass(frozen=True)
class StackedReplicas:
    """R replicas of one network, as they are at a step.

    Attributes:
        network: For its layers. Where replicas are looked at one by one, it takes each one's values.
        parameters: Stacked.
        buffers: Stacked; left as they are.
        noises: Number of samples -> what each replica draws in a forward pass over so many, stacked.
        moment: The step that they have just made, its tensors stacked.
        memories: For each replica, what its diagnostics remember.
    """

    network: Network
    parameters: Named
    buffers: Named
    noises: Mapping[int, Sequence[Tensor]]
    moment: Moment
    memories: Sequence[Mapping[str, Named]]

    def row(self, row: int) -> "StackedReplicas":
        """Return one replica, its tensors no longer stacked."""
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


def measure_replicas(
    diagnostics: Sequence[Diagnostic], replicas: StackedReplicas, probe: ProbeBatch
) -> list[tuple[dict[str, Named], dict[str, Named]]]:
    """Look at each replica with all diagnostics; as `measure_all` does for one.

    Args:
        diagnostics: What to measure: those that can be vectorized in all replicas at once, the others in one by one.
        replicas: In what.
        probe: What to look at them with.

    Returns:
        For each replica, diagnostic -> layer -> value, and what each diagnostic will remember.
    """
    at_once = [diagnostic for diagnostic in diagnostics if diagnostic.vectorizable]
    one_by_one = [diagnostic for diagnostic in diagnostics if not diagnostic.vectorizable]
    num_replicas = len(replicas.memories)
    found: list[tuple[dict[str, Named], dict[str, Named]]] = [({}, {}) for _ in range(num_replicas)]
    with torch.no_grad():
        if at_once:
            values, remembered = _measure_at_once(at_once, replicas, probe)
            for row, (of_row, kept_by_row) in enumerate(found):
                of_row |= _row_of(values, row)
                kept_by_row |= _row_of(remembered, row)
        for row in range(num_replicas) if one_by_one else ():
            of_row, kept_by_row = _measure_alone(one_by_one, replicas.row(row), probe)
            found[row][0].update(of_row)
            found[row][1].update(kept_by_row)
    order = {diagnostic.name: None for diagnostic in diagnostics}
    return [({name: values[name] for name in order if name in values}, kept) for values, kept in found]


def _row_of(stacked: Mapping[str, Named], row: int) -> dict[str, Named]:
    return {name: {role: value[row] for role, value in values.items()} for name, values in stacked.items()}


def _noise_for(num_samples: int, noises: Mapping[int, Sequence[Tensor]]) -> AbstractContextManager[object]:
    if noises and num_samples not in noises:
        raise ValueError(
            f"A diagnostic passes {num_samples} images through runs that are trained together and whose layers draw "
            f"noise: it was drawn for {', '.join(str(size) for size in sorted(noises))} images. Pass the whole probe "
            "batch, probe.few, one of probe.training_batches or moment.batch."
        )
    return noise.supplied(noises.get(num_samples, []))


def _measure_at_once(
    diagnostics: Sequence[Diagnostic], replicas: StackedReplicas, probe: ProbeBatch
) -> tuple[dict[str, Named], dict[str, Named]]:
    network, moment = replicas.network, replicas.moment
    names = {diagnostic.name for diagnostic in diagnostics}
    memories = {
        name: {key: torch.stack([own[name][key] for own in replicas.memories]) for key in replicas.memories[0][name]}
        for name in replicas.memories[0]
        if name in names
    }

    def of_one(own: dict[str, Any]) -> tuple[dict[str, Named], dict[str, Named]]:
        def same_noise(num_samples: int) -> AbstractContextManager[object]:
            return _noise_for(num_samples, own["noises"])

        passes = Passes(network, own["parameters"], own["buffers"], FunctionalCalculus(), same_noise)
        now = Moment(own["previous"] or None, Batch(*own["batch"]) if own["batch"] else None, own.get("lr"))
        return measure_with(passes, diagnostics, network, probe, now, own["memories"])

    stacked = {
        "parameters": replicas.parameters,
        "buffers": replicas.buffers,
        "noises": {size: list(values) for size, values in replicas.noises.items()},
        "previous": moment.previous or {},
        "batch": list(moment.batch or []),
        "memories": memories,
    }
    if moment.lr is not None:
        stacked["lr"] = moment.lr
    measured: tuple[dict[str, Named], dict[str, Named]] = vmap(of_one)(stacked)
    return measured


def _measure_alone(
    diagnostics: Sequence[Diagnostic], replica: StackedReplicas, probe: ProbeBatch
) -> tuple[dict[str, Named], dict[str, Named]]:
    def same_noise(num_samples: int) -> AbstractContextManager[object]:
        return _noise_for(num_samples, replica.noises)

    replica.network.load_state_dict({**replica.parameters, **replica.buffers}, strict=False)
    with looking_at(replica.network, same_noise) as passes:
        return measure_with(passes, diagnostics, replica.network, probe, replica.moment, replica.memories[0])
