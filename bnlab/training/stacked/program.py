"""The forward and backward pass of runs that are trained together, as one list of operations on stacked tensors.

`torch.func.vmap` turns one run's passes into those of R runs. By itself it takes each operation anew through Python at
every step, which costs more than it saves where layers are small. So it is watched once, and what it does is kept as a
graph of plain operations; on one core that made steps up to three times as fast.

Shape letters: R replicas, B images, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bnlab import noise
from bnlab.diagnostics.passes import in_mode
from bnlab.errors import ConfigError
from bnlab.noise import Draw
from bnlab.training.stacked.graph import shorten

_CURE = "Use sweep.engine=sequential, or leave vectorizable out of its class."


@dataclass(frozen=True)
class Program:
    """What happens to R replicas between a batch and its gradients.

    Attributes:
        operations: A function of parameters, buffers, images, labels and noises, one by one.
        draws: The noise that they need, for one replica, in order.
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
        """Return gradients (in the parameters' order), losses (R,) and logits (R, B, K); move the buffers in place.

        Args:
            parameters: By name, (R, *shape) each, laid out as those that it was made with.
            buffers: By name, (R, *shape) each.
            images_RB: Contiguous.
            labels_RB: Their classes.
            noises: What fills its draws, (R, *shape) each.
        """
        *gradients, losses_R, logits_RBK = self.operations(
            *parameters.values(), *buffers.values(), images_RB, labels_RB, *noises
        )
        return gradients, losses_R, logits_RBK


def trace_program(
    network: nn.Module, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images_RB: Tensor, labels_RB: Tensor
) -> Program:
    """Watch R replicas of a network go through one batch in training mode.

    Args:
        network: For its layers; its own parameters and buffers are not used.
        parameters: By name, (R, *shape) each.
        buffers: By name, (R, *shape) each; left as they are.
        images_RB: Like those to come.
        labels_RB: Like those to come.

    Raises:
        ConfigError: A layer does what cannot be vectorized.
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
        # cross-entropy without what it does for labels to be ignored, which vmap spells out: 14 operations less
        return -F.log_softmax(logits, 1).gather(1, labels.unsqueeze(1)).mean(), logits

    differentiate = vmap(grad_and_value(loss_of_one, has_aux=True))

    def step(*tensors: Tensor) -> list[Tensor]:
        left = iter(tensors)
        of_parameters, of_buffers = ({name: next(left) for name in names} for names in (parameters, buffers))
        gradients, (losses_R, logits_RBK) = differentiate(of_parameters, of_buffers, next(left), next(left), list(left))
        return [*gradients.values(), losses_R, logits_RBK]

    cloned = [buffer.clone() for buffer in buffers.values()]
    try:
        with torch.no_grad(), in_mode(network, training=True):
            graph = make_fx(step)(*parameters.values(), *cloned, images_RB, labels_RB, *noises)
    except RuntimeError as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"A norm declares itself vectorizable, and is not: {said} {_CURE}") from error
    return Program(shorten(graph), draws)


def find_draws(network: nn.Module, images: Tensor) -> tuple[Draw, ...]:
    """Return the noise that a network asks for in training mode, in order.

    Args:
        network: Left as it is.
        images: A batch of one replica.

    Raises:
        ConfigError: A layer puts another tensor in a buffer's place, where it should move the buffer: the stack of
            all replicas' would never see it.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    before = dict(buffers)
    with torch.no_grad(), in_mode(network, training=True), noise.recorded() as draws:
        functional_call(network, buffers, (images,))
    for name, buffer in before.items():
        if buffers[name] is not buffer:
            raise ConfigError(f"A vectorizable norm must move its buffers in place, and {name} was replaced. {_CURE}")
    return tuple(draws)


def padded_size(num_replicas: int) -> int:
    """Return how many rows are computed for so many replicas: a few sizes serve all, so that few programs are made.

    Args:
        num_replicas: Still in training.

    Example:
        >>> [padded_size(n) for n in (1, 2, 3, 4, 5, 7, 8, 9, 13)]
        [1, 2, 3, 4, 6, 8, 8, 12, 16]
    """
    step = 1 if num_replicas <= 4 else 2 if num_replicas <= 8 else 4
    return -(-num_replicas // step) * step
