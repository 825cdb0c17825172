"""Tests a network before training: on batches of the sizes that training will use."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.data.splits import DataSet
from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.errors import BnlabError, ConfigError
from bnlab.models.catalog import build_model, build_network
from bnlab.models.network import Network
from bnlab.models.own import find_constructor
from bnlab.norms.catalog import NoNorm
from bnlab.norms.names import NORMS
from bnlab.plugins import COLLECTIONS
from bnlab.schema import MuonConfig, RunConfig
from bnlab.schema_models import OwnModelConfig
from bnlab.training.evaluate import EVAL_BATCH
from bnlab.training.muon import weights_for_muon
from bnlab.training.trained import freeze_untrained
from bnlab.traps.in_config import find_traps, weigh
from bnlab.traps.own_norm import traps_in_own_norm
from bnlab.traps.trap import Trap
from bnlab.traps.watching import Pass, watch

MOST_FLOP_WITH_NUMBERS = 2e9
"""Floating-point operations of a forward pass that one core does in less than 0.1 s. The first pass on the meta device
takes 1.3 s, for torch imports its compiler there."""

_FLOP_PER_INITIAL_VALUE = 100
"""Drawing the initial value of a weight takes about as long as so many operations of a matrix product."""


@dataclass(frozen=True)
class Trial:
    """The result of testing a network.

    Attributes:
        flop: Floating-point operations of the linear maps in a forward pass, over one part of a batch if there is
            accumulation.
        warnings: One or two sentences for each trap that is a warning.
    """

    flop: float
    warnings: list[str]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: a trial is small, and several workers may try at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def try_out(config: RunConfig, data: DataSet, num_steps: int, memory_bytes: int) -> Trial:
    """Push one batch through a network, and look for traps.

    A large network is tested on the meta device, which has shapes but no numbers, and so costs next to nothing. A
    small one is tested on the CPU, and so is a user's own layer, which may need numbers.

    Args:
        config: The settings of the run.
        data: The three splits of the run.
        num_steps: The number of optimizer steps of the run.
        memory_bytes: The memory of the device that it will be trained on.

    Raises:
        ConfigError: The network cannot process a batch, a trap is an error, or the optimizer has nothing to train.
    """
    if isinstance(config.model, OwnModelConfig):
        find_constructor(config.model.name)  # imports its module here: tensors made at import would stay on meta
    with torch.device("meta"):
        bare = build_model(config.model, data.input_shape, data.num_classes, NoNorm, config.placement)
    heavy = weigh(config, bare, memory_bytes)
    _refuse(heavy)
    shape = (config.train.part_size, *data.input_shape)
    # torch's own plain average reads its count of batches, which meta does not have
    reads_numbers = config.norm.name == "batch_torch" and config.norm.options.get("momentum", 0.9) is None
    is_small = _most_flop(bare, shape) <= MOST_FLOP_WITH_NUMBERS
    has_shapes_only = all(parameter.is_meta for parameter in bare.parameters())
    on_meta = config.norm.name in NORMS and not reads_numbers and not is_small and has_shapes_only
    with torch.device("meta" if on_meta else "cpu"):
        with torch.no_grad():
            model = build_network(config, data.input_shape, data.num_classes)
        if isinstance(config.optim, MuonConfig):
            weights_for_muon(model.weights, config.optim)
        freeze_untrained(model, config)
        hooks = [norm.register_forward_hook(_refuse_another_shape) for norm in model.norms.values()]
        with _counting_flop(model) as flop:
            seen = watch(model, torch.zeros(shape))
        for hook in hooks:
            hook.remove()
        _refuse_what_failed(config, seen, shape)
        traps = find_traps(config, model, seen, num_steps)
        _refuse(traps)
        if seen.overwritten:
            _try_backward(config, model, torch.zeros(shape))
        with leaving_no_trace(model):
            _try_single_images(config, data, model)
    # of a collection's network nobody need be told what it keeps; a large one would take too long
    is_own_network = isinstance(config.model, OwnModelConfig) and not on_meta and is_small
    is_own_network = is_own_network and config.model.name.partition(":")[0] not in COLLECTIONS
    if config.norm.name not in NORMS or is_own_network:
        own = traps_in_own_norm(config, data, model, seen)
        _refuse(own)
        traps += [t for t in own if t.name == "state_outside_buffers" or t.name not in config.accept]
    return Trial(sum(flop), [*model.remarks, *(trap.message for trap in [*heavy, *traps])])


def _most_flop(model: Network, shape: tuple[int, ...]) -> float:
    """Return a bound on the cost of building a network and of a forward pass, in floating-point operations.

    Args:
        model: The network, on any device.
        shape: The shape of the batch. No convolution sees more positions than the image has.
    """
    positions, rows = math.prod(shape[2:]), model.rows_per_sample
    per_weight = {weight: shape[0] * (positions if weight.dim() == 4 else rows) for weight in model.weights.values()}
    return sum(weight.numel() * max(2.0 * uses, _FLOP_PER_INITIAL_VALUE) for weight, uses in per_weight.items())


@contextlib.contextmanager
def _counting_flop(model: Network) -> Iterator[list[float]]:
    """Collect the floating-point operations of each linear map in the forward passes of this context.

    torch.utils.flop_counter would count norms of one's own too, but imports torch's compiler, which takes 1.3 s.
    """
    flop: list[float] = []

    def count(weight: Tensor, output: Tensor) -> None:
        flop.append(2.0 * output.numel() * weight[0].numel())

    hooks = [
        linear.register_forward_hook(lambda _, __, output, weight=model.weights[role]: count(weight, output))
        for role, linear in model.linears.items()
    ]
    try:
        yield flop
    finally:
        for hook in hooks:
            hook.remove()


def _refuse(traps: list[Trap]) -> None:
    """Raise if a trap is an error.

    Raises:
        ConfigError: A trap is an error.
    """
    for trap in traps:
        if trap.severity == "error":
            raise ConfigError(trap.message)


def _refuse_another_shape(norm: nn.Module, given: tuple[Any, ...], output: Any) -> None:
    """Raise if a norm's output has another shape than its input: a layer for images on rows, say, broadcasts.

    Raises:
        ConfigError: Such an output.
    """
    came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    went_in = tuple(given[0].shape)
    if came != went_in:
        is_for_images = len(went_in) == 2 and isinstance(output, Tensor) and output.dim() == 4
        cure = " A layer for images needs model=cnn." if is_for_images else ""
        name = type(norm).__name__
        raise ConfigError(f"{name} must give an output of its input's shape: {went_in} went in, {came} came out.{cure}")


def _refuse_what_failed(config: RunConfig, seen: Pass, shape: tuple[int, ...]) -> None:
    """Raise if the network could not process the batch.

    Raises:
        ConfigError: The forward pass failed; the message says why.
    """
    if seen.error is None:
        return
    in_parts = config.train.accumulation > 1 and shape[0] == 1
    if isinstance(seen.error, BnlabError):
        raise ConfigError(f"train.accumulation leaves one image at a time: {seen.error}") if in_parts else seen.error
    raise ConfigError(
        f"model={config.model.name} norm={config.norm.name} cannot take a batch of shape {shape}: {seen.error}"
    ) from seen.error


def _try_backward(config: RunConfig, model: nn.Module, x: Tensor) -> None:
    """Test the backward pass of a network that overwrites outputs of its layers.

    Raises:
        ConfigError: The backward pass needs an overwritten value.
    """
    with leaving_no_trace(model):
        try:
            model.train()(x).sum().backward()
        except Exception as error:
            raise ConfigError(
                f"norm={config.norm.name} overwrites its input, and its gradient cannot be computed: "
                f"{str(error).partition(':')[0]}. Let it work on x.clone()."
            ) from error
        finally:
            model.zero_grad()


def _try_single_images(config: RunConfig, data: DataSet, model: nn.Module) -> None:
    """Test a batch of one image, if evaluations or diagnostics will use one.

    Raises:
        ConfigError: The norm cannot process a single image.
    """
    sizes = {name: len(getattr(data, name)) for name in ("validation", "test")}
    places = [
        (f"the last batch of the {name} set ({size} images, {EVAL_BATCH} at a time)", "Change data.limit by one", False)
        for name, size in sizes.items()
        if size % EVAL_BATCH == 1
    ]
    if config.diagnostics.names and min(config.diagnostics.probe_size, sizes["validation"]) == 1:
        places.append(("the probe batch of the diagnostics", "Set diagnostics.probe_size above 1", True))
    for place, cure, in_training_mode in places:
        with torch.no_grad():
            try:
                model.train(in_training_mode)(torch.zeros(1, *data.input_shape))
            except Exception as error:
                raise ConfigError(
                    f"norm={config.norm.name} cannot take {place}, which is a single image. {cure}, or use norm=layer."
                ) from error
