"""The forward and backward pass of stacked runs, as one list of operations on stacked tensors.

`torch.func.vmap` turns the passes of one run into those of R runs. By itself it dispatches each operation through
Python at every step, which costs more than it saves if layers are small. So its operations are traced once, and kept as
a graph of plain operations; on one core that made steps up to three times as fast.

Shape letters: R runs, B images, K classes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from bnlab import noise
from bnlab.diagnostics.passes import in_mode
from bnlab.errors import ConfigError
from bnlab.models.network import Network
from bnlab.noise import Draw
from bnlab.schema import RunConfig
from bnlab.training.stacked.graph import shorten
from bnlab.training.stacked.tracing import trace

_CURE = "Use sweep.engine=sequential, or leave vectorizable out of its class."


@dataclass(frozen=True)
class Program:
    """The computation of R runs from a batch to the gradients.

    Attributes:
        operations: A function of parameters, buffers, images, labels and noises, one tensor per argument.
        draws: The noise tensors that the layers ask for, per run, in order.
    """

    operations: Callable[..., list[Tensor]]
    draws: tuple[Draw, ...]

    def __call__(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        images_RB: Tensor,
        labels_RB: Tensor,
        noises: Sequence[Tensor],
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return gradients (in the parameters' order), losses (R,) and logits (R, B, K); update the buffers in place.

        Args:
            parameters: Name -> tensor (R, *shape), with the strides of those that were traced.
            buffers: Name -> tensor (R, *shape), with the names of those that were traced.
            images_RB: The mini-batch of each run, contiguous.
            labels_RB: The classes of the images, from 0.
            noises: One tensor (R, *shape) of random numbers for each draw.
        """
        *gradients, losses_R, logits_RBK = self.operations(
            *parameters.values(), *buffers.values(), images_RB, labels_RB, *noises
        )
        return gradients, losses_R, logits_RBK


def what_decides_passes(network: Network, config: RunConfig) -> tuple[object, ...] | None:
    """Return all that decides the operations of a network's passes, but for the shapes of its tensors.

    None: layers of somebody's own, whose code may change in this process, and may do more than operations.

    Args:
        network: The network.
        config: The settings that it was built with.
    """
    layers = tuple(map(type, network.modules()))
    if network.is_foreign or any(one.__module__.partition(".")[0] not in {"bnlab", "torch"} for one in layers):
        return None
    model = config.model.model_copy(update={"init": "auto", "init_std": None})
    return json.dumps([model.model_dump(), config.norm.model_dump(), config.placement], default=str), layers


_NUM_KEPT = 16
"""Programs that a process keeps for its next cohorts: tracing one takes 0.02 to 0.05 s, and 0.8 s for an lstm with
norm=batch over 28 rows. A program holds operations, no weights."""

_programs: dict[object, Program] = {}


def kept_program(key: object, trace: Callable[[], Program]) -> Program:
    """Return a program of an earlier cohort of this process, or trace it and keep it.

    Args:
        key: What decides the program.
        trace: A function that traces it.
    """
    if key not in _programs:
        while len(_programs) >= _NUM_KEPT:
            del _programs[next(iter(_programs))]
        _programs[key] = trace()
    return _programs[key]


def trace_program(
    network: Network,
    parameters: dict[str, Tensor],
    buffers: dict[str, Tensor],
    images_RB: Tensor,
    labels_RB: Tensor,
    label_smoothing: float,
) -> Program:
    """Trace the forward and backward pass of R runs for one batch in training mode.

    Args:
        network: The architecture; its own parameters and buffers are not used.
        parameters: Name -> tensor (R, *shape), of the parameters to differentiate by.
        buffers: Name -> tensor (R, *shape), of buffers and all other parameters; they keep their values.
        images_RB: Images of the shape and type of later batches; their values do not matter.
        labels_RB: Labels of the shape and type of later batches.
        label_smoothing: The share of each label that is spread over all classes.

    Raises:
        ConfigError: A layer uses an operation that vmap cannot vectorize.
    """
    draws = find_draws(network, images_RB[0])
    noises = [torch.ones(len(images_RB), *draw.shape, dtype=draw.dtype, device=images_RB.device) for draw in draws]

    def loss_of_one(
        of_parameters: dict[str, Tensor],
        of_buffers: dict[str, Tensor],
        images: Tensor,
        labels: Tensor,
        own_noises: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        with noise.supplied(own_noises):
            logits = functional_call(network, (of_parameters, of_buffers), (images,))
        # cross-entropy without its handling of ignored labels, for which vmap would add 14 operations
        logs = F.log_softmax(logits, 1)
        loss = -logs.gather(1, labels.unsqueeze(1)).mean()
        if label_smoothing:
            loss = (1 - label_smoothing) * loss - label_smoothing * logs.mean()
        return loss, logits

    differentiate = vmap(grad_and_value(loss_of_one, has_aux=True))

    def step(*tensors: Tensor) -> list[Tensor]:
        left = iter(tensors)
        of_parameters, of_buffers = ({name: next(left) for name in names} for names in (parameters, buffers))
        gradients, (losses_R, logits_RBK) = differentiate(of_parameters, of_buffers, next(left), next(left), list(left))
        return [*gradients.values(), losses_R, logits_RBK]

    cloned = [buffer.clone() for buffer in buffers.values()]
    try:
        with torch.no_grad(), in_mode(network, training=True):
            graph = trace(step, *parameters.values(), *cloned, images_RB, labels_RB, *noises)
    except RuntimeError as error:
        said = (str(error).strip().splitlines() or [""])[0]
        if network.is_foreign:
            if "data-dependent control flow" in said:  # torch says it in five sentences
                said = "its code asks for the value of a tensor"
            raise ConfigError(
                f"This network cannot be trained together with others ({said.rstrip('.')}). Use sweep.engine=auto."
            ) from error
        raise ConfigError(f"A norm declares itself vectorizable, but is not: {said} {_CURE}") from error
    return Program(shorten(graph), draws)


def find_draws(network: nn.Module, images: Tensor) -> tuple[Draw, ...]:
    """Return the noise that a network asks for in training mode, in order.

    Args:
        network: The network, which keeps its parameters and buffers.
        images: A batch of one run; only its shape and type matter.

    Raises:
        ConfigError: A layer replaces a buffer by another tensor. It must change the buffer in place, because the
            stacked buffer would never get the new values.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    before = dict(buffers)
    with torch.no_grad(), in_mode(network, training=True), noise.recorded() as draws:
        functional_call(network, buffers, (images,))
    for name, buffer in before.items():
        if buffers[name] is not buffer:
            raise ConfigError(f"A vectorizable norm must change its buffers in place, but {name} was replaced. {_CURE}")
    return tuple(draws)


def padded_size(num_runs: int) -> int:
    """Return how many rows are computed for a number of runs: a few sizes serve all, so few programs are traced.

    Args:
        num_runs: The number of runs still in training, 1 or more.

    Example:
        >>> [padded_size(n) for n in (1, 2, 3, 4, 5, 7, 8, 9, 13)]
        [1, 2, 3, 4, 6, 8, 8, 12, 16]
    """
    step = 1 if num_runs <= 4 else 2 if num_runs <= 8 else 4
    return -(-num_runs // step) * step
