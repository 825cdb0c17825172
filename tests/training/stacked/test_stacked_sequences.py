"""Each stacked run of a network of tokens or of time steps has the results of a run trained alone."""

import functools

import pytest
from stacking import compose
from test_stacked_diagnostics import check
from test_stacked_runs import THREE, largest_difference, words_for

from bnlab.diagnostics import curvature
from bnlab.errors import ConfigError
from bnlab.norms.catalog import is_vectorizable
from bnlab.sweeps.cohorts import plan_cohorts

NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
VIT = ["model=vit", "model.depth=1", "model.width=8", "model.num_heads=2", "model.mlp_ratio=1"]
LSTM = ["model=lstm", "model.width=8", "data=synthetic"]
RNN = ["model=rnn", "model.width=8", "data=synthetic"]
NORMS_OF_ROWS = ["batch", "batch_noisy", "batch_renorm", "layer", "dyt", "weight_standardization"]
"""One of each kind that stacking treats in a way of its own: running statistics, noise, counts, none of these,
parameters alone, computed weights. Of each norm tests/models says that networks under vmap are what they are alone."""


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "order"), list(zip(NORMS_OF_ROWS, ["pre", "post", "peri"] * 2, strict=True)))
def test_a_vision_transformer(norm: str, order: str) -> None:
    words = [*words_for(norm), *VIT, f"model.order={order}", "diagnostics=none"]
    assert largest_difference(words, num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", [*NORMS_OF_ROWS, "none"])
@pytest.mark.parametrize(("model", "per_step"), [(LSTM, "true"), (RNN, "false")])
def test_a_recurrent_net(model: list[str], per_step: str, norm: str) -> None:
    words = [*words_for(norm), *model, "diagnostics=none", f"model.norm_per_step={per_step}"]
    assert largest_difference(words, num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*VIT, "model.depth=2", "model.dropout=0.3", "optim=muon", "optim.eps=1e-6"],
        [*LSTM, "model.depth=2", "model.dropout=0.3", "optim=adamw", "optim.eps=1e-6"],
        [*RNN, "placement=after", "model.permute=true", "optim=muon", "optim.eps=1e-6"],
        [*LSTM, "placement=input", "model.norm_scale=0.1", "train.accumulation=2", "accept=[accumulation]"],
    ],
)
def test_in_any_setting(words: list[str]) -> None:
    assert largest_difference(["norm=batch", *words, "diagnostics=none"], num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(("words", "norm"), [(VIT, "layer"), (LSTM, "batch"), (RNN, "none")])
def test_all_diagnostics_give_the_values_of_the_run_alone(
    words: list[str], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.partial(curvature.largest_eigenvalue, num_steps=3)  # all of them take as long as all the rest
    monkeypatch.setattr(curvature, "largest_eigenvalue", few)
    check([*words, f"norm={norm}", "model.activation=tanh"], runs=THREE[:2], at=[2])


def test_sequences_whose_length_depends_on_the_data_are_trained_alone() -> None:
    words = ["model=lstm", "model.skip_padding=true", "data.padding_value=0", "diagnostics=none"]
    with pytest.raises(ConfigError, match=r"vectorized cannot train model=lstm .* Use sweep\.engine=auto"):
        plan_cohorts(compose([*words, "sweep.engine=vectorized"], *THREE[:2]), is_vectorizable)
