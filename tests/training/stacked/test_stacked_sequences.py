"""Each stacked run of a network of tokens or of time steps has the results of a run trained alone."""

import functools

import pytest
from test_stacked_diagnostics import check
from test_stacked_runs import THREE, VECTORIZABLE, largest_difference, words_for

from bnlab.diagnostics import curvature

NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
VIT = ["model=vit", "model.depth=1", "model.width=8", "model.num_heads=2", "model.mlp_ratio=1"]
NORMS_OF_ROWS = [norm for norm in VECTORIZABLE if norm not in NEED_SPACE]


def test_a_vision_transformer() -> None:
    words = [*words_for("layer"), *VIT, "model.order=peri", "diagnostics=none"]
    assert largest_difference(words, THREE[:2], num_steps=2) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS_OF_ROWS)
def test_a_vision_transformer_with_any_norm(norm: str) -> None:
    for order in ("pre", "post", "peri"):
        words = [*words_for(norm), *VIT, f"model.order={order}", "diagnostics=none"]
        assert largest_difference(words, num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("words", [[*VIT, "model.depth=2", "model.dropout=0.3"]])
@pytest.mark.parametrize("more", [["optim=muon"], ["optim=adamw"], ["train.accumulation=2", "accept=[accumulation]"]])
def test_in_any_setting(words: list[str], more: list[str]) -> None:
    eps = ["optim.eps=1e-6"] if more[0].startswith("optim") else []
    assert largest_difference(["norm=batch", *words, *more, *eps, "diagnostics=none"], num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("words", [VIT])
def test_all_diagnostics_give_the_values_of_the_run_alone(
    words: list[str], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.partial(curvature.largest_eigenvalue, num_steps=3)  # all of them take as long as all the rest
    monkeypatch.setattr(curvature, "largest_eigenvalue", few)
    check([*words, f"norm={norm}", "model.activation=tanh"], runs=THREE[:2], at=[2])
