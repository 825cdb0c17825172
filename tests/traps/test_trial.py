"""What a network is tested with before training: its cost, and on which device."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.models.catalog import build_network
from bnlab.schema import RunConfig
from bnlab.traps import trial

PLENTY = 2**40


def trial_of(config: RunConfig) -> trial.Trial:
    return trial.try_out(config, open_data(config.data), 1000, PLENTY)


WORDS = [
    ["model=mlp", "data=synthetic"],
    ["model=cnn", "model.width=4", "data=digits"],
    ["model=cnn", "model.width=4", "norm=scaled_weight_standardization", "data=digits", "train.batch_size=7"],
    ["model=mlp", "norm=layer", "train.accumulation=3", "data=digits", "model.dropout=0.3"],
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words[:3]))
@pytest.mark.parametrize("most", [0.0, 1e12], ids=["without numbers", "with numbers"])
def test_its_cost_is_what_torch_counts(words: list[str], most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_FLOP_WITH_NUMBERS", most)
    config = compose_run(words)
    data = open_data(config.data)
    network = build_network(config, data.input_shape, data.num_classes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(config.train.part_size, *data.input_shape))
    assert trial_of(config).flop == counter.get_total_flops()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["data=digits"], "cpu"),
        (["data=digits", "model=cnn", "model.width=4"], "cpu"),
        (["data=digits", "model=cnn"], "meta"),
        (["data=digits", "model.width=4000"], "meta"),  # drawing 36 million weights takes longer than the product
    ],
)
def test_small_networks_are_tested_with_numbers(words: list[str], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(*given: object) -> object:
        network = build_network(*given)  # type: ignore[arg-type]
        built.append(next(network.parameters()).device.type)
        return network

    monkeypatch.setattr(trial, "build_network", build)
    trial_of(compose_run(words))
    assert built == [kind]


def test_the_callers_random_state_stays() -> None:
    config = compose_run(["data=digits", "model.dropout=0.5", "norm=batch_noisy"])
    before = torch.get_rng_state()
    trial_of(config)
    assert torch.equal(before, torch.get_rng_state())
