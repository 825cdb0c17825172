"""Each stacked run of a network of tokens or of time steps has the results of a run trained alone."""

import functools

import pytest
from stacking import compose, together
from test_stacked_diagnostics import check
from test_stacked_runs import THREE, VECTORIZABLE, largest_difference, words_for

from bnlab.diagnostics import curvature
from bnlab.errors import ConfigError

NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
VIT = ["model=vit", "model.depth=1", "model.width=8", "model.num_heads=2", "model.mlp_ratio=1"]
LSTM = ["model=lstm", "model.width=8", "data=synthetic"]
RNN = ["model=rnn", "model.width=8", "data=synthetic"]
NORMS_OF_ROWS = [norm for norm in VECTORIZABLE if norm not in NEED_SPACE]
"""tests/models says of each network that many of them under vmap are what they are alone: that takes no tracing."""


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS_OF_ROWS)
def test_a_vision_transformer_with_any_norm(norm: str) -> None:
    for order in ("pre", "post", "peri"):
        words = [*words_for(norm), *VIT, f"model.order={order}", "diagnostics=none"]
        assert largest_difference(words, num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS_OF_ROWS)
@pytest.mark.parametrize("model", [LSTM, RNN])
def test_a_recurrent_net_with_any_norm(model: list[str], norm: str) -> None:
    words = [*words_for(norm), *model, "diagnostics=none"]
    for per_step in ("true", "false"):
        assert largest_difference([*words, f"model.norm_per_step={per_step}"], num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*VIT, "model.depth=2", "model.dropout=0.3"],
        [*LSTM, "model.depth=2", "model.dropout=0.3"],
        [*RNN, "placement=after", "model.permute=true"],
        [*LSTM, "placement=input", "model.norm_scale=0.1"],
    ],
)
@pytest.mark.parametrize("more", [["optim=muon"], ["optim=adamw"], ["train.accumulation=2", "accept=[accumulation]"]])
def test_in_any_setting(words: list[str], more: list[str]) -> None:
    eps = ["optim.eps=1e-6"] if more[0].startswith("optim") else []
    assert largest_difference(["norm=batch", *words, *more, *eps, "diagnostics=none"], num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("words", [VIT, LSTM, RNN])
def test_all_diagnostics_give_the_values_of_the_run_alone(
    words: list[str], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.partial(curvature.largest_eigenvalue, num_steps=3)  # all of them take as long as all the rest
    monkeypatch.setattr(curvature, "largest_eigenvalue", few)
    check([*words, f"norm={norm}", "model.activation=tanh"], runs=THREE[:2], at=[2])


def test_sequences_whose_length_depends_on_the_data_are_trained_alone() -> None:
    words = ["model=lstm", "model.skip_padding=true", "data.padding_value=0", "diagnostics=none"]
    with pytest.raises(ConfigError, match=r"vectorized cannot train model=lstm .* Use sweep\.engine=auto"):
        together(compose(words, *THREE[:2]))
