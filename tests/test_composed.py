"""What the tests compose of parts is what `compose_run` composes."""

import pytest
from composed import compose_parts

from bnlab.config.compose import compose_run


@pytest.mark.parametrize(
    "words",
    [
        ["data=digits", "data.limit=120", "model.width=16", "norm=ghost", "norm.ghost_size=10"],
        ["norm=scaled_weight_standardization", "model.activation=tanh", "diagnostics=full"],
        pytest.param(
            ["norm=torch.nn:BatchNorm1d", "model=cnn", "optim=adam", "optim.eps=1e-6", "accept=[few_values]"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_parts_make_the_same_config(words: list[str]) -> None:
    assert compose_parts(words) == compose_run(words)
    assert compose_parts(["norm.momentum=null", "seed=3"]) == compose_run(["norm.momentum=null", "seed=3"])
