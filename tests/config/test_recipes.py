"""`recipe=` sets many things at once, and `train.precision=auto` is decided when a config is composed."""

import pytest
import torch

from bnlab import bfloat16
from bnlab.config.compose import compose_run, render_config
from bnlab.config.folders import conf_folder, config_groups
from bnlab.identity.run_id import run_id


@pytest.mark.slow
@pytest.mark.parametrize("recipe", config_groups([conf_folder()])["recipe"])
def test_every_recipe_composes(recipe: str) -> None:
    if recipe == "none":
        assert compose_run(["recipe=none"]) == compose_run([])
    else:
        config = compose_run([f"recipe={recipe}"])
        assert config.data.name == recipe.partition("_")[0]
        assert config.model.name == "fast_cnn"
        assert config.train.precision in {"float32", "bfloat16"}


@pytest.mark.slow
def test_what_is_typed_overrules_a_recipe() -> None:
    words = ["recipe=cifar10_fast", "model=cnn", "data=cifar100", "optim.lr=0.5", "train.epochs=1", "norm=layer"]
    config = compose_run(words)
    assert (config.model.name, config.data.name, config.norm.name) == ("cnn", "cifar100", "layer")
    assert (config.optim.name, config.optim.lr, config.train.epochs) == ("muon", 0.5, 1)
    assert config.train.label_smoothing == 0.2


def test_a_recipe_wins_over_the_budget_and_tuning_of_its_model() -> None:
    config = compose_run(["recipe=cifar10_fast", "model=cnn"])
    assert config.train.batch_size == 500  # 256 in conf/budget/cnn-cifar10.yaml


@pytest.mark.parametrize(("computes", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_the_fast_precision_and_its_id_is_that_of_the_precision(
    monkeypatch: pytest.MonkeyPatch, computes: bool, precision: str
) -> None:
    monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda _: computes)
    config = compose_run(["train.precision=auto"])
    assert config.train.precision == precision
    assert run_id(config) == run_id(compose_run([f"train.precision={precision}"]))


def test_the_printed_config_has_the_precision_that_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "computes_bfloat16", lambda _: True)
    said = render_config(["train.precision=auto"], None, "job", resolve=False)
    assert "precision: bfloat16" in said


@pytest.mark.parametrize(("flags", "has_it"), [({"avx2": True, "amx_bf16": True}, True), ({"avx2": True}, False)])
def test_a_processor_computes_bfloat16_if_it_says_so(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], has_it: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**flags, "avx512_bf16": False})
    assert bfloat16.computes_bfloat16("cpu") is has_it


def test_a_graphics_card_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation))
    bfloat16.computes_bfloat16("cuda:1")
    bfloat16.computes_bfloat16("auto")
    assert asked == [False, False]
