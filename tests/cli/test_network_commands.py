"""`bnlab list models --shapes`, `bnlab show MODEL` and `bnlab propagate MODEL`."""

import json
import re
from pathlib import Path

import pytest

from bnlab.config.compose import compose_run
from bnlab.models.catalog import MODELS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.fixture
def say(bnlab_says):
    return bnlab_says


@pytest.mark.slow
def test_shapes_of_all_networks_are_listed(say):
    said = say("list", "models", "--shapes", "--json", "--data", "digits")
    rows = {row["name"]: row for row in json.loads(said.out)}
    assert {"mlp", "cnn"} <= rows.keys()
    assert "own" not in rows
    assert rows["mlp"] == {
        "name": "mlp",
        "data": "digits",
        "parameters": 28_010,
        "flop": 54_800,
        "norms": 3,
        "linear_maps": 4,
    }


def test_a_network_is_shown_layer_by_layer(say):
    said = say("show", "mlp", "--data", "digits")
    assert said.status == 0
    assert said.out.splitlines()[1] == "mlp  with norm=batch, for data=digits"
    assert sum("hidden1" in line for line in said.out.splitlines()) == 3
    facts = json.loads(say("show", "mlp", "--data", "digits", "--json").out)
    assert facts["layers"][-1] == {
        "role": "output",
        "kind": "Linear",
        "output": [10],
        "num_parameters": 1010,
        "flop": 2000,
    }


def test_a_network_is_shown_with_the_words_of_the_config_that_are_typed_behind_it(say):
    said = say("show", "mlp", "norm=layer", "model.depth=2", "--data", "digits")
    assert said.out.splitlines()[1] == "mlp  with norm=layer, for data=digits"
    assert sum("LayerNorm" in line for line in said.out.splitlines()) == 2
    said = say("show", "mlp", "model.depht=2")
    assert (said.status, said.out) == (2, "")
    assert "Did you mean model.depth" in said.err


def test_norms_of_the_time_steps_of_one_place_are_one_row(say):
    lines = say("show", "rnn", "--data", "digits").out.splitlines()
    assert [line.split()[:4] for line in lines if ".norm" in line] == [
        ["hidden1.norm.step1", "to", "step8", "BatchNorm"]
    ]
    assert any(line.split()[:3] == ["all", "1", "norm"] for line in lines)


def test_what_is_neither_run_nor_network_is_told_as_before(say):
    said = say("show", "mlpp")
    assert (said.status, said.out) == (2, "")
    assert "mlpp is neither a folder of runs nor the name of a sweep or a run" in said.err


@pytest.mark.slow
def test_propagation_is_printed_and_is_one_json_object(say):
    said = say("propagate", "mlp", "norm=batch", "data=digits", "model.depth=6")
    assert said.status == 0
    assert "Expected: the recursion for wide layers, arXiv:1902.08129." in said.out
    facts = json.loads(say("propagate", "mlp", "norm=batch", "data=digits", "model.depth=6", "--json").out)
    assert [layer["role"] for layer in facts["layers"]] == [*(f"hidden{i}" for i in range(1, 7)), "output"]
    assert facts["growth"]["expected_gradient"] > 1.2
    assert "No recursion is known" in say("propagate", "cnn", "norm=layer", "data=digits").out
    said = say("propagate", "mlpp")
    assert (said.status, said.err) == (2, "error: model=mlpp is not known. Did you mean mlp?\n")


@pytest.mark.slow
def test_the_page_of_networks_names_all_of_bnlabs_and_the_options_that_they_have():
    page = PAGE.read_text(encoding="utf-8")
    rows = [re.findall(r"`([^`]+)`", line) for line in page.splitlines() if re.match(r"\| `[a-z_]+` \|", line)]
    options = {name: words for name, *words in rows if name in MODELS}
    assert options.keys() == MODELS.keys()
    for name, words in options.items():
        compose_run([f"model={name}", *words])
