"""The optimizer of stacked runs, compared with torch's optimizers for each run alone."""

import math

import pytest
import torch

from bnlab.schema import AdamConfig, SGDConfig
from bnlab.training.stacked.optim import RowLayout, StackedOptimizer

SHAPES = {"matrix": (3, 4), "kernel": (2, 3, 3, 3), "scale": (5,), "scalar": ()}
DECAYED = ("matrix", "kernel")
LAYOUT = RowLayout(SHAPES)
NUM_DECAYED = 12 + 54


def sgd(**changes: object) -> SGDConfig:
    values = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.1, "decay_norm_and_bias": False}
    return SGDConfig.model_validate({"name": "sgd", **values, "clip_norm": None, **changes})


def adam(**changes: object) -> AdamConfig:
    values = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decay_norm_and_bias": False}
    return AdamConfig.model_validate({"name": "adam", **values, "clip_norm": None, **changes})


COHORTS = {
    "plain": [sgd(momentum=0.0), sgd(momentum=0.0, weight_decay=0.0, lr=0.3)],
    "momentum": [sgd(), sgd(momentum=0.5), sgd(momentum=0.0, weight_decay=0.0)],
    "nesterov": [sgd(nesterov=True), sgd(nesterov=True, momentum=0.5, weight_decay=0.3)],
    "adam": [adam(), adam(beta1=0.5, eps=1e-2), adam(weight_decay=0.0, beta2=0.9)],
    "adamw": [adam(name="adamw"), adam(name="adamw", weight_decay=0.5, lr=0.01)],
    "clipped": [sgd(clip_norm=0.1), sgd(clip_norm=1e3), sgd(clip_norm=1.0)],
}


def torchs(config: SGDConfig | AdamConfig, parameters: dict[str, torch.Tensor]) -> torch.optim.Optimizer:
    """The optimizer of one run, written out by hand: no fused kernel, a group with and one without decay."""
    decayed = [parameters[name] for name in DECAYED]
    undecayed = [parameters[name] for name in SHAPES if name not in DECAYED]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, foreach=False)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, foreach=False)


@pytest.mark.parametrize("configs", COHORTS.values(), ids=COHORTS.keys())
def test_each_row_is_updated_as_by_torchs_optimizer(configs: list[SGDConfig | AdamConfig]) -> None:
    generator = torch.Generator().manual_seed(0)
    num_rows = len(configs) + 1  # one more, which is padding
    values = torch.randn(num_rows, LAYOUT.row_size, generator=generator, dtype=torch.float64)
    gradients = torch.zeros_like(values)
    padding = values[-1].clone()
    runs = [{name: value.clone().requires_grad_() for name, value in LAYOUT.named(row).items()} for row in values[:-1]]
    references = [torchs(config, run) for config, run in zip(configs, runs, strict=True)]
    optimizer = StackedOptimizer(LAYOUT, NUM_DECAYED, configs, values, gradients)
    for step in range(20):
        gradients.copy_(torch.randn(gradients.shape, generator=generator, dtype=torch.float64))
        rates = [config.lr * (1 - step / 20) for config in configs]
        for row, (run, reference, config) in enumerate(zip(runs, references, configs, strict=True)):
            for name, gradient in LAYOUT.named(gradients[row]).items():
                run[name].grad = gradient.clone()
            if config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(run.values(), config.clip_norm)
            for group in reference.param_groups:
                group["lr"] = rates[row]
            reference.step()
        optimizer.step(rates)
    for row, run in enumerate(runs):
        for name, value in LAYOUT.named(values[row]).items():
            torch.testing.assert_close(value, run[name].detach(), atol=1e-12, rtol=1e-12)
    assert torch.equal(values[-1], padding)


@pytest.mark.parametrize("configs", COHORTS.values(), ids=COHORTS.keys())
def test_the_state_of_a_row_fits_a_row_at_any_other_position(configs: list[SGDConfig | AdamConfig]) -> None:
    """A state goes by the names of the parameters, so the number of runs in the cohort may change."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(configs), LAYOUT.row_size, generator=generator)
    draws = torch.randn(6, len(configs), LAYOUT.row_size, generator=generator)
    order = list(reversed(range(len(configs))))
    values, gradients = start.clone(), torch.zeros_like(start)
    optimizer = StackedOptimizer(LAYOUT, NUM_DECAYED, configs, values, gradients)
    rates = [config.lr for config in configs]
    for draw in draws[:3]:
        gradients.copy_(draw)
        optimizer.step(rates)
    copied, further = values[order].clone(), torch.zeros_like(start)
    other = StackedOptimizer(LAYOUT, NUM_DECAYED, [configs[row] for row in order], copied, further)
    for place, row in enumerate(order):
        state = optimizer.state(row)
        for quantity in state.values():
            assert isinstance(quantity, torch.Tensor) or {n: tuple(v.shape) for n, v in quantity.items()} == SHAPES
        other.load_state(place, state)
    for draw in draws[3:]:
        gradients.copy_(draw)
        optimizer.step(rates)
        further.copy_(draw[order])
        other.step([rates[row] for row in order])
    assert torch.equal(values[order], copied)


def test_all_numbers_of_a_row_belong_to_one_parameter_each() -> None:
    rows = torch.zeros(3, LAYOUT.row_size)
    assert LAYOUT.row_size == sum(math.prod(shape) for shape in SHAPES.values())
    for value in LAYOUT.named(rows).values():
        value.add_(1)
    assert torch.equal(rows, torch.ones_like(rows))
    assert {name: tuple(v.shape) for name, v in LAYOUT.named(rows).items()} == {n: (3, *s) for n, s in SHAPES.items()}


def test_a_gradient_that_is_not_finite_spoils_its_own_row_only() -> None:
    values = torch.zeros(2, LAYOUT.row_size)
    gradients = torch.ones_like(values)
    gradients[0, 3] = math.nan
    configs = [sgd(clip_norm=1.0), sgd(clip_norm=1.0)]
    StackedOptimizer(LAYOUT, NUM_DECAYED, configs, values, gradients).step([0.1, 0.1])
    assert values[0].isnan().all()  # as torch's clipping does: the norm is not a number
    assert values[1].isfinite().all()
