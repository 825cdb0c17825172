"""Which words of a race are an arm's, and which all arms share."""

import pytest

from bnlab.errors import ConfigError
from bnlab.sweeps.race_words import read_race_words


def test_words_whose_key_another_one_has_are_arms_and_all_else_is_shared() -> None:
    found = read_race_words(["norm=batch", "norm=none", "train.steps=200", "seed=range(3)", "name=mine"])
    assert found.arms == {"batch": ["norm=batch"], "none": ["norm=none"]}
    assert found.shared == ["train.steps=200", "seed=range(3)", "name=mine"]
    assert found.commands[1] == ["norm=none", "train.steps=200", "seed=range(3)", "name=mine"]


def test_an_argument_of_several_words_is_an_arm_whatever_its_keys() -> None:
    found = read_race_words(["norm=batch norm.momentum=0.5", "placement=after optim.lr=1", "seed=0"])
    assert list(found.arms) == ["batch momentum=0.5", "placement=after lr=1"]
    assert next(iter(found.arms.values())) == ["norm=batch", "norm.momentum=0.5"]
    assert found.shared == ["seed=0"]


def test_a_blank_inside_of_a_value_separates_no_words() -> None:
    found = read_race_words(["data.path='my file.npz' optim.lr=1", "optim.lr=2"])
    assert list(found.arms.values()) == [["data.path='my file.npz'", "optim.lr=1"], ["optim.lr=2"]]


def test_what_stands_before_the_mark_is_an_arm_and_what_stands_behind_it_is_shared() -> None:
    found = read_race_words(["norm=none", "model.depth=5"], ["train.steps=10"])
    assert (list(found.arms), found.shared) == (["none", "depth=5"], ["train.steps=10"])
    assert found.has_mark
    assert read_race_words(["norm=none", "model.depth=5"], []).shared == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "a race has two arms or more. Such as: bnlab race norm=batch norm=none"),
        (["norm=batch"], "got words that all arms share: norm=batch"),
        (["norm=batch optim.lr=1"], "got norm=batch optim.lr=1 alone"),
        (["norm=batch", "norm=batch"], "the arm batch is given twice"),
        (["bacth", "norm=none"], "bacth is no word of the config, such as norm=batch. Did you mean norm=batch"),
        (["none", "batch"], "none is no word of the config, such as norm=batch. Did you mean norm=none"),
        (["norm=batch seed=1", "norm=none"], "seed=1 in the arm 'norm=batch seed=1': all arms have the same seed"),
        (["norm=batch,none", "optim.lr=1"], "norm=batch,none has several values"),
        (["norm=batch optim.lr=1,2", "norm=none"], "optim.lr=1,2 has several values"),
    ],
)
def test_what_is_no_race_is_refused_with_a_cure(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_race_words(typed)
    assert message in str(error.value)
    assert str(error.value).count("\n") < 3
