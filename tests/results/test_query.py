from typing import Any

import pytest
from folded import folded

from bnlab.errors import ConfigError
from bnlab.results.query import describe_column, pick_columns, read_condition, sort_rows

ROWS: list[dict[str, Any]] = [
    {"run_id": "a-s0", "norm": "batch", "optim.lr": 0.1, "seed": 0, "test_accuracy": 0.9, "affine": True},
    {"run_id": "b-s1", "norm": "none", "optim.lr": 1.0, "seed": 1, "test_accuracy": None, "affine": None},
    {
        "run_id": "c-s10",
        "norm": "batch_torch",
        "optim.lr": 0.1 + 0.2,
        "seed": 10,
        "test_accuracy": 0.95,
        "affine": False,
    },
]


def which(text: str) -> str:
    condition = read_condition(text, ROWS)
    return "".join(row["run_id"][0] for row in ROWS if condition.holds(row))


@folded(
    ("text", "expected"),
    [
        *[("norm=batch", "a"), ("norm=batch,none", "ab"), ("norm=batch*", "ac"), ("norm!=batch", "bc")],
        *[("norm!=batch,none", "c"), ("norm==none", "b"), (" norm = none ", "b")],
        *[("optim.lr>0.1", "bc"), ("optim.lr>=0.1", "abc"), ("optim.lr<1", "ac"), ("optim.lr<=1e0", "abc")],
        *[("lr=0.3", "c"), ("lr=1", "b"), ("seed=1", "b"), ("seed=1,10", "bc"), ("seed>0", "bc")],
        *[
            ("test_accuracy=null", "b"),
            ("test_accuracy!=null", "ac"),
            ("test_accuracy>=90%", "ac"),
            ("accuracy<95%", "a"),
        ],
        *[("affine=true", "a"), ("affine=false", "c"), ("affine!=true", "bc")],
        *[("run_id=*-s1", "b"), ("run_id=?-s1*", "bc"), ("run_id<b", "a")],
    ],
)
def test_a_condition_says_what_one_would_expect_of_it(text: str, expected: str) -> None:
    assert which(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norm", "--where takes a column, an operator"),
        ("=batch", "--where takes a column, an operator"),
        ("nrom=batch", "no such column. Did you mean norm"),
        ("optim.lr>fast", "> compares with a number, got 'fast'"),
        ("norm=batch,lr>0.1", "--where takes one condition"),
    ],
)
def test_a_condition_that_is_wrong_gets_the_cure(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_condition(text, ROWS)


def test_the_end_of_a_columns_name_will_do_unless_two_end_so() -> None:
    rows = [{"test_loss": 1.0, "validation_loss": 2.0, "optim.lr": 0.1}]
    assert read_condition("lr=0.1", rows).column == "optim.lr"
    with pytest.raises(ConfigError, match="Did you mean test_loss or validation_loss"):
        read_condition("loss<1", rows)


def test_no_rows_have_no_columns_to_be_wrong_about() -> None:
    assert read_condition("norm=batch", []).column == "norm"
    assert sort_rows([], ["-test_accuracy"]) == []


def order(*keys: str, reverse: bool = False) -> str:
    return "".join(row["run_id"][0] for row in sort_rows(ROWS, keys, reverse))


def test_what_is_not_there_comes_last_in_every_order() -> None:
    assert order("test_accuracy") == "acb"
    assert order("-test_accuracy") == "cab"
    assert order("test_accuracy", reverse=True) == "cab"
    assert order("-test_accuracy", reverse=True) == "acb"
    assert order(reverse=True) == "cba"


def test_numbers_are_sorted_as_numbers_and_later_keys_break_ties() -> None:
    assert order("-seed") == "cba"
    rows: list[dict[str, Any]] = [{"a": 1, "b": 1}, {"a": 0, "b": 2}, {"a": 1, "b": 3}]
    assert [row["b"] for row in sort_rows(rows, ["-a", "-b"])] == [3, 1, 2]


def test_columns_are_picked_by_name_by_ending_and_by_pattern() -> None:
    rows = [{"run_id": "a", "optim.lr": 1, "optim.momentum": 0, "seed": 0}]
    assert pick_columns(["seed", "optim.*", "lr"], rows) == ["seed", "optim.lr", "optim.momentum"]
    with pytest.raises(ConfigError, match=r"--columns sead: .* Did you mean seed"):
        pick_columns(["sead"], rows)


def test_a_reader_who_finds_nothing_is_told_what_there_is() -> None:
    assert describe_column("test_accuracy", ROWS) == "test_accuracy goes from 0.9 to 0.95"
    assert describe_column("norm", ROWS) == "norm is batch, batch_torch, none"
    assert describe_column("nothing", ROWS) == "nothing is null in all of them"
