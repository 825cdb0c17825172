"""What is said of words that are no overrides."""

import pytest
from folded import folded

import bnlab
from bnlab.config.compose import compose_run
from bnlab.config.grammar import parse_overrides
from bnlab.config.swept_values import sweep_values
from bnlab.errors import ConfigError
from bnlab.sweeps.execute import run_sweep
from bnlab.sweeps.grid import expand


@folded(
    ("word", "said"),
    [
        ("optim.lr=logspce(1,2,3)", ": logspce is no function. Did you mean logspace?"),
        ("norm=batch,none,", ": the list ends in a comma, with no value behind it. Leave out the comma."),
        ("norm=batch,,none", ": a comma of the list has no value before it. Leave out the comma."),
        ("norm=,none", ": a comma of the list has no value before it. Leave out the comma."),
        ("train.eval_every=choice(1,,2)", ": a comma of the list has no value before it. Leave out the comma."),
        ("seed=range(3", ": a bracket is not closed. Write ) behind it."),
        ("diagnostics.schedule.at=[1,2", ": a bracket is not closed. Write ] behind it."),
        ("seed=shuffle(range(3)", ": a bracket is not closed. Write ) behind it."),
        ("seed=range(3))", ": no bracket is open for its ). Leave it out, or open one."),
        ("data.root='a", ": a quote is not closed. Close it."),
        ("norm=", " has no value. Write one behind the equals sign, or leave norm= out."),
        ("seed=", " has no value. Write one behind the equals sign, or leave seed= out."),
    ],
)
def test_a_word_that_does_not_parse_is_told_by_its_fault(word: str, said: str) -> None:
    for parse in (parse_overrides, expand, compose_run):
        with pytest.raises(ConfigError) as refusal:
            parse([word])
        assert str(refusal.value) == f"{word}{said}"


@pytest.mark.parametrize("word", ["data.root='a,,b('", "data.root=''", 'data.root="x=("', "data.root='it\\'s ('"])
def test_what_stands_in_quotes_is_taken_as_it_is(word: str) -> None:
    assert len(parse_overrides([word])) == 1


@pytest.mark.parametrize("start", [bnlab.train, run_sweep])
def test_one_text_in_place_of_a_list_is_refused_with_the_list(start: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        start("norm=layer seed=1")  # type: ignore[operator]
    assert str(refusal.value) == (
        "overrides must be a list of words, got the text 'norm=layer seed=1'. Write ['norm=layer', 'seed=1']."
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(8,65,16),reverse=true", [56, 40, 24, 8]),
        ("range(1.3,0,-0.5)", [0.3, 0.8, 1.3]),
        ("range(0.3,1.4,0.5),reverse=true", [1.3, 0.8, 0.3]),
        ("sweep=range(5,0,-2)", [1, 3, 5]),
        ("3,1,2", [1, 2, 3]),
        ("choice(3,1)", [1, 3]),
    ],
)
def test_a_sorted_range_has_the_values_of_the_range(text: str, values: list[float]) -> None:
    (override,) = parse_overrides([f"optim.lr=sort({text})"])
    found = [float(word.partition("=")[2]) for word in sweep_values(override, None)]
    assert found == pytest.approx(values, rel=1e-12)
