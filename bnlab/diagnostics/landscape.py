"""The loss along the gradient: how far the gradient can be trusted.

Along theta_m = theta - m * eta * g(theta), m in {1/2, 1, 2, 4}, on one mini-batch, in training mode: the batch's
statistics change with the weights, and gradients go through them. Twice: with an eta that is the same in all arms
(``diagnostics.step_size``; facets ``fixed_step...``), and with the run's own learning rate (facets ``lr_step...``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Batch, Diagnostic, Observation
from bnlab.diagnostics.passes import Named

MULTIPLES = (0.5, 1.0, 2.0, 4.0)
"""Steps along the gradient, in eta."""


@dataclass(frozen=True)
class _Line:
    """Losses and gradients at points along the gradient.

    Attributes:
        loss: Loss at the present weights.
        gradient: Norm of the gradient at the present weights.
        weights: Norm of all parameters.
        losses: Losses at the four multiples, (4,).
        changes: Norms of the change of the gradient, || g(theta_m) - g(theta) ||, (4,).
        lengths: Lengths of the steps, || theta_m - theta ||, (4,).
    """

    loss: Tensor
    gradient: Tensor
    weights: Tensor
    losses: Tensor
    changes: Tensor
    lengths: Tensor


def batch_of(seen: Observation) -> Batch | None:
    """Return the mini-batch of the last update; before the first update, the first training batch."""
    if seen.moment.batch is not None or seen.probe is None:
        return seen.moment.batch
    return next(iter(seen.probe.training_batches), None)


def norm_of(named: Named) -> Tensor:
    """Return the Euclidean norm of all tensors together."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in named.values()]))
    return norm


def _lines(seen: Observation) -> dict[str, _Line]:
    def compute(seen: Observation) -> dict[str, _Line]:
        batch, probe, passes = batch_of(seen), seen.probe, seen.passes
        if batch is None or probe is None or passes is None:
            return {}
        gradient, loss = passes.gradient(*batch)
        rates: dict[str, float | Tensor] = {"fixed_step": probe.step_size}
        if seen.moment.lr is not None:
            rates["lr_step"] = seen.moment.lr.to(loss.dtype)
        found = {}
        for kind, eta in rates.items():
            losses, changes = [], []
            for multiple in MULTIPLES:
                moved = {name: value - multiple * eta * gradient[name] for name, value in passes.parameters.items()}
                there, loss_there = passes.gradient(*batch, moved)
                losses.append(loss_there)
                changes.append(norm_of({name: there[name] - g for name, g in gradient.items()}))
            lengths = torch.stack([multiple * eta * norm_of(gradient) for multiple in MULTIPLES])
            found[kind] = _Line(
                loss,
                norm_of(gradient),
                norm_of(passes.parameters),
                torch.stack(losses),
                torch.stack(changes),
                lengths,
            )
        return found

    return seen.derived("along the gradient", compute)


def _both(seen: Observation, absolute: Callable[[_Line], Tensor], per: Callable[[_Line], Tensor]) -> dict[str, Tensor]:
    """Return a quantity and its relative form, at both step sizes."""
    found: dict[str, Tensor] = {}
    for kind, line in _lines(seen).items():
        value = absolute(line)
        found |= {f"network/{kind}": value, f"network/{kind}_relative": _share(value, per(line))}
    return found


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole; 0 if both are 0, as in a network without any gradient."""
    return torch.where((part == 0) & (whole == 0), 0.0, part / whole)


class LossRange(Diagnostic):
    """The range of the loss along the gradient.

        range = max over m of L(theta_m) - min over m of L(theta_m);    relative: over L(theta)

    The lowest and the highest loss are recorded too: the band between them over the steps is the paper's figure.
    ``fixed_step...``: with the step size ``diagnostics.step_size``; ``lr_step...``: with the run's learning rate.

    Unit:
        Nats per image; relative: dimensionless.

    Reading:
        A narrow range: steps of different sizes give about the same loss, so that the step size matters little.

    Cost:
        Nine forward and backward passes over a mini-batch, shared with `gradient_predictiveness` and `effective_beta`.

    Blind spots:
        A gradient of zero has a range of zero: a network that does not learn looks smooth. Compare arms at the same
        step size, and again at the rate of each. With momentum or Adam, ``lr_step`` is not the step of
        training.

    Source:
        Santurkar et al. 2018, arXiv:1805.11604, figure 4 (a); relative: Ours.
    """

    name = "loss_range"
    unit = "nats per image; fixed_step_relative: share of the loss; lr_step_relative: share of the loss"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the range, of the whole network."""
        found = _both(seen, lambda line: line.losses.amax() - line.losses.amin(), lambda line: line.loss)
        for kind, line in _lines(seen).items():
            found |= {f"network/{kind}_low": line.losses.amin(), f"network/{kind}_high": line.losses.amax()}
        return found


class GradientPredictiveness(Diagnostic):
    """How much the gradient changes along its own direction.

        change = max over m of ||g(theta_m) - g(theta)||;    relative: over ||g(theta)||

    Unit:
        Loss per unit of weight; relative: dimensionless.

    Reading:
        relative far below 1: along the whole step the gradient hardly changes. Around 1 and above: at the end of the
        step the gradient is a different one.

    Cost:
        Shared with `loss_range`.

    Blind spots:
        In front of a norm, the absolute change scales with 1/||W||: across arms read the relative one.

    Source:
        Santurkar et al. 2018, arXiv:1805.11604, figure 4 (b); relative: Ours.
    """

    name = "gradient_predictiveness"
    unit = "loss per unit of weight; share of the gradient"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the change, of the whole network."""
        return _both(seen, lambda line: line.changes.amax(), lambda line: line.gradient)


class EffectiveBeta(Diagnostic):
    """How fast the gradient changes per unit of distance along it: an estimate of smoothness.

        beta = max over m of ||g(theta_m) - g(theta)|| / ||theta_m - theta||
        relative: times ||theta|| / ||g(theta)||

    relative is the relative change of the gradient over the relative change of the weights.

    Unit:
        Loss per squared unit of weight; relative: dimensionless.

    Reading:
        A step with a learning rate above 2 / beta may raise the loss.

    Cost:
        Shared with `loss_range`.

    Blind spots:
        It covers one line only; early in the training of deep networks, a norm can raise or lower it. In front of a
        norm it scales with 1/||W||^2.

    Source:
        Santurkar et al. 2018, arXiv:1805.11604, figure 4 (c); relative: Ours.
    """

    name = "effective_beta"
    unit = "loss per squared unit of weight; share of gradient per share of weights"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return beta, of the whole network."""
        return _both(
            seen, lambda line: _share(line.changes, line.lengths).amax(), lambda line: line.gradient / line.weights
        )
