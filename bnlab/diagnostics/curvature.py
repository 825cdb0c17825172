"""The largest curvature of the loss, in training mode: batch statistics are in the graph.

Shape letters: P parameters, T steps of Lanczos.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named
from bnlab.seeding import stream_seed

NUM_STEPS = 12
"""Steps of Lanczos. Twelve are within 0.4% of 40 steps on the default network, at its start and after 300 steps of
training, with relu and sigmoid, with BatchNorm, LayerNorm, GroupNorm and without a norm; 10 steps were within 2%, 8
within 5%."""

BREAKDOWN = 1e-10
"""A next direction shorter than this share of the largest entry is a rounding error: no direction is left."""


@functools.lru_cache(maxsize=8)
def _start(names_and_shapes: tuple[tuple[str, torch.Size], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the same random direction for the same parameters, (P,); by NumPy, since vmap forbids torch to draw."""
    parts = [
        np.random.RandomState(stream_seed(0, "lanczos", name) % 2**32).standard_normal(shape.numel())
        for name, shape in names_and_shapes
    ]
    direction = np.concatenate(parts)
    return torch.from_numpy(direction / np.linalg.norm(direction)).to(device=device, dtype=dtype)


def _split(vector_P: Tensor, like: Named) -> Named:
    parts = torch.split(vector_P, [value.numel() for value in like.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


def _joined(named: Named) -> Tensor:
    return torch.cat([value.flatten() for value in named.values()])


def largest_eigenvalue(times: Callable[[Tensor], Tensor], start_P: Tensor, num_steps: int = NUM_STEPS) -> Tensor:
    """Return the (algebraically) largest eigenvalue of a symmetric operator, by Lanczos with full reorthogonalization.

    No branch depends on a value, as vmap requires. If no direction is left before the last step, the remaining steps
    repeat the first diagonal entry, which is never above the largest eigenvalue.

    Args:
        times: The operator, as a function from a vector (P,) to its product.
        start_P: The first direction, (P,), of length 1.
        num_steps: Number T of steps, 1 or more; more steps come nearer to the eigenvalue, from below.

    Example:
        >>> diagonal = torch.tensor([3.0, -5.0, 1.0])
        >>> start = torch.ones(3) / 3**0.5
        >>> largest_eigenvalue(lambda v: diagonal * v, start, 3).round(decimals=4)
        tensor(3.)
    """
    basis = [start_P]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    is_left = torch.ones((), dtype=start_P.dtype, device=start_P.device)
    for step in range(num_steps):
        product_P = times(basis[-1])
        entry = (product_P * basis[-1]).sum()
        diagonal.append(torch.where(is_left > 0, entry, diagonal[0] if diagonal else entry))
        if step == num_steps - 1:
            break
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in float32
            product_P = product_P - known.T @ (known @ product_P)
        length = torch.linalg.vector_norm(product_P)
        largest = torch.stack([entry.abs() for entry in [*diagonal, *beside]]).amax()
        is_left = is_left * (length > BREAKDOWN * largest)
        beside.append(torch.where(is_left > 0, length, 0.0))
        basis.append(product_P * torch.where(is_left > 0, 1 / length, 0.0))
    matrix_TT = torch.diag(_in_float64(torch.stack(diagonal)))
    if beside:
        off = _in_float64(torch.stack(beside))
        matrix_TT = matrix_TT + torch.diag(off, 1) + torch.diag(off, -1)
    is_finite = matrix_TT.isfinite().all()
    eigenvalues = torch.linalg.eigvalsh(torch.where(is_finite, matrix_TT, 0.0))  # on NaN it would raise
    return torch.where(is_finite, eigenvalues[-1], torch.nan).to(start_P)


def _in_float64(x: Tensor) -> Tensor:
    """Return the tensor in float64; on the CPU if its device has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _sharpness(seen: Observation, scale_of: Callable[[Named], Named]) -> dict[str, Tensor]:
    """Return the largest eigenvalue of D H D, where D is the given scale of each named parameter."""
    assert seen.passes is not None
    assert seen.probe is not None
    batch = seen.probe.few
    scale = scale_of(seen.passes.parameters)
    shapes = tuple((name, value.shape) for name, value in scale.items())
    hessian = seen.passes.hessian(scale.keys(), *batch)

    def times(vector_P: Tensor) -> Tensor:
        vector = {name: value * scale[name] for name, value in _split(vector_P, scale).items()}
        return _joined({name: value * scale[name] for name, value in hessian(vector).items()})

    return {"network": largest_eigenvalue(times, _start(shapes, batch.inputs.dtype, batch.inputs.device))}


class Sharpness(Diagnostic):
    """The largest eigenvalue of the Hessian of the loss, by all parameters.

        lambda_max of d^2 L / d theta^2,    L = mean cross-entropy over the probe's first images: 256, or 85 of CIFAR's

    Unit:
        Loss per squared unit of weight.

    Reading:
        Plain gradient descent on a quadratic is stable for lr below 2 / lambda_max. In full-batch gradient descent,
        lambda_max tends to rise until it reaches 2 / lr, and stays there; with mini-batches it stays lower.

    Cost:
        A forward and a backward pass, and twelve products with the Hessian. On a CNN this costs dozens of training
        steps.

    Blind spots:
        In front of a norm that removes the scale of weights, it falls with 1/||W||^2, without any effect on training:
        to compare arms, read `sharpness_invariant`. Few images give a larger value than many, above all if they are
        fitted well, and not equally in all arms: after 300 steps with relu, 256 images gave 1.6 times the value of 500
        with BatchNorm, 1.1 times without a norm. Lanczos stops after 12 steps, slightly below the true value. Factors
        that a norm keeps out of the gradient (the correction of batch_renorm) are constants here.

    Source:
        Lanczos 1950; Cohen et al. 2021, arXiv:2103.00065, for its reading.
    """

    name = "sharpness"
    unit = "loss per squared unit of weight"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the eigenvalue, of the whole network."""
        return _sharpness(seen, lambda parameters: {n: torch.ones_like(v) for n, v in parameters.items()})


class InvariantSharpness(Diagnostic):
    """The largest eigenvalue of the Hessian, with each weight measured relative to the length of its row.

        lambda_max of D H D,    D = ||w_o|| for each entry of row (filter) o of a weight

    that is, of the second derivative by u where w_o = ||w_o|| u_o. If a row in front of a norm is multiplied by a
    factor, H is divided by its square and D multiplied by it: the value stays the same. Biases, gamma and beta have no
    rows, and are held fixed.

    Unit:
        Nats per image, per squared relative change of the weights.

    Reading:
        How sharp the loss is in relative steps: comparable between arms with and without a norm.

    Cost:
        As `sharpness`.

    Blind spots:
        A row that is nearly zero hardly counts. Curvature by biases, gamma and beta is not included. It is computed on
        few images, like `sharpness`.

    Source:
        Filter normalization: Li et al. 2018, arXiv:1712.09913; as a scale for the Hessian: Ours.
    """

    name = "sharpness_invariant"
    unit = "nats per squared relative change"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the eigenvalue, of the whole network."""
        return _sharpness(seen, row_lengths)


def row_lengths(parameters: Named) -> Named:
    """Return, for each weight of at least two axes, the length of the row (filter) that an entry belongs to."""
    return {
        name: value.flatten(1).norm(dim=1).view(-1, *[1] * (value.dim() - 1)).expand(value.shape)
        for name, value in parameters.items()
        if value.dim() > 1
    }
