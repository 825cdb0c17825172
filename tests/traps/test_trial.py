"""What a network is tested with before training: its cost, and on which device."""

import sys
from pathlib import Path

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


MODULE_WITH_A_TENSOR = """
import torch
from torch import nn
SCALE = torch.full((1,), 2.0)
class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(64, num_classes)
    def forward(self, x):
        return self.last(SCALE * x.flatten(1))
"""


def test_a_tensor_made_when_a_users_module_is_imported_has_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_with_a_tensor.py").write_text(MODULE_WITH_A_TENSOR, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = compose_run(["model=module_with_a_tensor:Net", "data=digits"])
    assert trial_of(config).flop == 2.0 * config.train.part_size * 64 * 10
    assert sys.modules["module_with_a_tensor"].SCALE.tolist() == [2.0]
