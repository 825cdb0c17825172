"""`model.dropout`: a layer behind each activation, or none at all."""

import pytest
import torch
from torch import nn

import bnlab
from bnlab.config.compose import compose_run
from bnlab.models.catalog import build_network

QUICK = ["data=synthetic", "train.steps=30", "model.width=16"]


def network(*words: str) -> nn.Module:
    return build_network(compose_run([*QUICK, *words]), (1, 8, 8), 10)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_without_dropout_no_layer_is_added(model: str) -> None:
    assert not [m for m in network(f"model={model}").modules() if isinstance(m, nn.Dropout)]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_names_in_a_checkpoint_do_not_depend_on_dropout(model: str) -> None:
    plain, dropping = (network(f"model={model}", f"model.dropout={p}").state_dict() for p in (0, 0.5))
    assert list(plain) == list(dropping)


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("before", ["linear", "norm", "activation", "dropout"]),
        ("after", ["linear", "activation", "dropout", "norm"]),
        ("input", ["linear", "norm", "activation", "dropout"]),
    ],
)
def test_it_stands_behind_the_activation_of_every_block(placement: str, order: list[str]) -> None:
    model, ran = network("model.dropout=0.5", f"placement={placement}"), []
    for name, module in model.named_modules():
        if name.startswith("hidden") and "." in name and not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model(torch.randn(4, 1, 8, 8))
    assert ran == [f"hidden{i}.{part}" for i in (1, 2, 3) for part in order]


def test_the_share_is_that_of_the_config_in_training_and_none_in_evaluation() -> None:
    model = network("model.dropout=0.25", "norm=none", "model.activation=sigmoid", "model.depth=1", "model.width=4000")
    seen: list[torch.Tensor] = []
    model.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    torch.manual_seed(0)
    for mode in (True, False):
        model.train(mode)(torch.randn(50, 1, 8, 8))
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert (seen[1] == 0).sum() == 0


@pytest.mark.slow
def test_a_run_with_dropout_can_be_loaded() -> None:
    summary = bnlab.train([*QUICK, "model.dropout=0.5", "norm=layer"])
    assert summary.status == "finished"
    x = torch.randn(3, 1, 8, 8)
    model = bnlab.load_model(summary.folder)
    assert torch.equal(model(x), model(x))
