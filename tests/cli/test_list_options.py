"""`bnlab list optimizers` and `bnlab list recipes`."""

import json
from collections.abc import Callable
from typing import Any

Say = Callable[..., Any]


def test_optimizers_are_listed_with_their_options(bnlab_says: Say) -> None:
    rows = {row["name"]: row for row in json.loads(bnlab_says("list", "optimizers", "--json").out)}
    assert set(rows) == {"adam", "adamw", "muon", "sgd"}
    assert rows["muon"]["options"]["ns_steps"] == 5


def test_a_recipe_is_listed_with_the_words_that_it_stands_for(bnlab_says: Say) -> None:
    rows = {row["name"]: row for row in json.loads(bnlab_says("list", "recipes", "--json").out)}
    assert rows["none"]["settings"] == ""
    words = rows["cifar10_fast"]["settings"].split()
    assert words[:3] == ["data=cifar10", "model=fast_cnn", "optim=muon"]
    assert "train.mirrored_evaluation=true" in words


def test_the_table_names_each_recipe_and_what_it_is_for(bnlab_says: Say) -> None:
    said = bnlab_says("list", "recipes").out
    assert "cifar10_fast" in said
    assert "mnist_fast" in said
