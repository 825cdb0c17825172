"""Traps in a norm or a network that is not bnlab's, found by training it for two batches before the run begins."""

import torch
from torch import Tensor, nn

from bnlab.data.splits import DataSet
from bnlab.diagnostics.taps import leaving_no_trace, tapped
from bnlab.models.catalog import build_network
from bnlab.models.network import Network
from bnlab.norms.names import NORMS
from bnlab.schema import RunConfig
from bnlab.seeding import seeded_alike
from bnlab.traps.state_traps import state_outside_buffers, updated_twice
from bnlab.traps.trap import Trap, some_of
from bnlab.traps.unmoved_state import find_unmoved_state
from bnlab.traps.unsaved_state import find_unsaved_state
from bnlab.traps.updating import count_updates
from bnlab.traps.watching import Pass


def traps_in_own_norm(config: RunConfig, data: DataSet, model: Network, seen: Pass) -> list[Trap]:
    """Return the traps that need numbers: state that is lost, updated twice or never, or infinite.

    Args:
        config: The settings of the run, whose norm or network is not in the catalog.
        data: The three splits of the run, on the CPU.
        model: A network of the run, on the CPU.
        seen: The observations of one forward pass of it.
    """
    size, images = config.train.part_size, data.train.images
    batches = images[:size], 1.25 * images[-size:] + 0.25
    networks = []
    for seed in (0, 1):  # what a constructor draws at random is lost, too, unless it is saved
        with seeded_alike(seed):
            networks.append(build_network(config, data.input_shape, data.num_classes))
    is_own_norm = config.norm.name not in NORMS
    layer = f"norm={config.norm.name}" if is_own_norm else f"model={config.model.name}"
    traps = []
    try:
        found = find_unsaved_state(networks[0], networks[1], batches, _run)
        traps += [
            Trap(trap.name, trap.severity, f"{layer}: {trap.message}")
            for trap in updated_twice(count_updates(model, batches[0]), seen)
        ]
    except Exception:  # it may reject these numbers; a search for traps must not stop a run that works
        return []
    if found is not None:
        accepted = "state_outside_buffers" in config.accept
        traps.append(state_outside_buffers(layer, found, "warning" if accepted else "error"))
    traps += _graph_in_buffers(layer, networks[0], batches[0])
    traps += _infinite(layer, networks[0])
    return [*traps, *_never_updated(layer, model, batches[0])] if is_own_norm else traps


def _run(network: nn.Module, x: Tensor, training: bool) -> Tensor:
    with seeded_alike(), torch.set_grad_enabled(training):
        output: Tensor = network.train(training)(x.clone())
        return output.detach()


def _never_updated(layer: str, model: Network, images: Tensor) -> list[Trap]:
    """Find buffers that eval mode uses and training never moves, in the first norm; the others are of its kind."""
    try:
        role, norm = next(iter(model.norms.items()))
        with leaving_no_trace(model), torch.no_grad(), tapped({role: norm}) as (inputs, _):
            model.train()(images.clone())
            names = find_unmoved_state(norm, inputs[role])
    except Exception:  # a layer that cannot be copied, or rejects other numbers
        return []
    if not names:
        return []
    message = (
        f"{layer}: training mode neither changes nor reads {some_of(names)}; eval mode reads the initial values. "
        f"Update each in forward, as self.{names[0]}.lerp_(VALUE_OF_THE_BATCH.detach(), 0.1) does."
    )
    return [Trap("statistics_not_settled", "warning", message)]


def _graph_in_buffers(layer: str, network: nn.Module, images: Tensor) -> list[Trap]:
    """Find buffers that keep the graph of the batches they were computed from, in a network that was trained."""
    names = [name.rpartition(".")[2] for name, buffer in network.named_buffers() if buffer.grad_fn is not None]
    if not names:
        return []
    cure = f"Store values without a graph: self.{names[0]} = (...).detach()."
    try:
        with torch.enable_grad():
            for _ in range(2):
                network.train()(images.clone()).square().mean().backward()
    except RuntimeError:
        message = f"{layer} keeps the graph of a batch in {some_of(names)}, so that the second training step fails."
        return [Trap("graph_in_buffers", "error", f"{message} {cure}")]
    message = f"{layer} keeps the graphs of all batches in {some_of(names)}: the memory grows with every step."
    return [Trap("graph_in_buffers", "warning", f"{message} {cure}")]


def _infinite(layer: str, network: nn.Module) -> list[Trap]:
    """Find buffers that hold a number that is not finite after two batches."""
    names = [n for n, b in network.named_buffers() if b.is_floating_point() and not bool(torch.isfinite(b).all())]
    if not names:
        return []
    message = (
        f"{layer}: {some_of(names)} is not finite after two batches at the initial weights, which eval mode then uses. "
        "Keep running statistics in float32."
    )
    return [Trap("running_overflow", "warning", message)]
