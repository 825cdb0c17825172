"""A run trains the parameters that train.parameters names, alone and together with others; the rest keeps every bit."""

import itertools
import math

import pytest
import torch
from stacking import alone, compose, default_dtype, history, together
from test_stacked_runs import THREE, largest_difference

from bnlab.models.catalog import build_network, seed_weights
from bnlab.norms.norm import Norm
from bnlab.schema import RunConfig

PARTS = ("norms", "output", "norms_and_output")
HARD = ["optim.momentum=0.9", "optim.weight_decay=0.1", "optim.decay_norm_and_bias=true", "optim.clip_norm=0.1"]
"""What would move a parameter without a gradient, or make the step of the others shorter."""


class Shifting(Norm):
    """A norm of one's own that holds a linear map."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(num_channels, num_channels)

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        return x_NC + self.mix(x_NC)


def start_of(config: RunConfig) -> dict[str, torch.Tensor]:
    """Return the initial weights of a run, by the parts that build them."""
    network = build_network(config, (1, 8, 8), 10)
    seed_weights(network, config.model, config.seed)
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def moved(config: RunConfig, weights: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in start_of(config).items() if not torch.equal(value, weights[name])}


def named(part: str, names: set[str]) -> set[str]:
    """Return the names of a part, by the places at which a network of two hidden layers holds its parameters."""
    of_output = {name for name in names if name.startswith("output.")}
    of_norms = {
        name for name in names if ".norm." in name or name.startswith("input.") or name.endswith(("gain", "alpha"))
    }
    return {"norms": of_norms, "output": of_output, "norms_and_output": of_norms | of_output}[part]


CASES = [
    *((["norm=batch", *HARD], part) for part in PARTS),
    *((["norm=batch", "placement=input", *HARD], part) for part in PARTS),
    (["norm=dyt", "optim=adam"], "norms"),
    (["norm=scaled_weight_standardization", *HARD], "norms"),
    (["norm=layer", "optim=adamw", "optim.weight_decay=0.1"], "norms_and_output"),
    ([f"norm={__name__}:Shifting", "optim.weight_decay=0.1"], "norms"),
]


@pytest.mark.parametrize(("words", "part"), CASES)
def test_a_run_alone_moves_the_named_parameters_and_no_others(words: list[str], part: str) -> None:
    (config,) = compose([*words, "model.depth=2", f"train.parameters={part}"], [])
    with alone(config) as run:
        for _ in itertools.islice(run.steps(), 3):
            pass
        (weights,) = run.weights()
    everything = start_of(config)
    assert moved(config, weights) == named(part, set(everything))
    assert 0 < len(moved(config, weights)) < len(everything)


@pytest.mark.parametrize("part", [pytest.param("norms", marks=pytest.mark.slow), "norms_and_output"])
def test_stacked_runs_move_the_named_parameters_and_no_others(part: str) -> None:
    configs = compose(["norm=batch", *HARD, "model.depth=1", f"train.parameters={part}", "diagnostics=none"], *THREE)
    found = history(together(configs), 3)
    for config, seen in zip(configs, found, strict=True):
        assert moved(config, seen["weights"]) == named(part, set(start_of(config)))


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("optim", [HARD, ["optim=adam", "optim.eps=1e-6", "optim.weight_decay=0.01"]])
def test_stacked_runs_have_the_results_and_diagnostics_of_runs_alone(part: str, optim: list[str]) -> None:
    words = ["norm=batch", "model.activation=tanh", "model.depth=2", "diagnostics=full", *optim]
    assert largest_difference([*words, f"train.parameters={part}"], num_steps=6) < 1e-8


@pytest.mark.slow
def test_a_stacked_convolutional_net_of_which_the_norms_are_trained() -> None:
    words = ["model=cnn", "model.width=4", "model.depth=2", "model.num_stages=2", "norm=batch", "diagnostics=none"]
    assert largest_difference([*words, "optim.momentum=0.5", "train.parameters=norms"], num_steps=4) < 1e-8


@pytest.mark.parametrize("is_alone", [True, False])
def test_clipping_goes_by_the_gradient_of_what_is_trained(is_alone: bool) -> None:
    """A step of plain SGD at rate 1 is the gradient; a clipped one is as long as the limit, if no other one counts."""
    words = ["norm=batch", "model.depth=1", "optim.momentum=0", "optim.clip_norm=1e-3", "train.parameters=norms"]
    with default_dtype(torch.float64):
        (config,) = compose([*words, "diagnostics=none"], ["optim.lr=1"])
        with alone(config) as single:
            run = single if is_alone else together([config])
            next(run.steps())
            (weights,) = run.weights()
        length = math.sqrt(sum((weights[n] - value).square().sum().item() for n, value in start_of(config).items()))
    assert length == pytest.approx(1e-3, rel=1e-2)  # torch adds 1e-6 to the norm that it divides by


def test_diagnostics_measure_gradients_by_what_is_not_trained_too() -> None:
    words = ["norm=batch", "model.depth=2", "diagnostics.names=[gradient_norm,update_ratio]"]
    everything, part = compose(words, [], ["train.parameters=norms"])
    found = []
    for config in (everything, part):
        with alone(config) as run:
            found.append(history(run, 1)[0])
    assert found[1]["before"] == found[0]["before"]
    assert found[1]["before"]["gradient_norm"]["hidden1"] > 0


@pytest.mark.slow
def test_updates_of_what_is_not_trained_are_0() -> None:
    words = ["norm=batch", "model.depth=2", "diagnostics.names=[update_ratio]", "train.parameters=norms"]
    configs = compose(words, *THREE)
    with alone(configs[0]) as single:
        for run in (single, together(configs)):
            steps = run.steps()
            next(steps)
            run.keep_weights()
            next(steps)
            for measured in run.measure(2, heavy=False):
                assert measured["update_ratio"] == {"hidden1": 0.0, "hidden2": 0.0, "output": 0.0}
