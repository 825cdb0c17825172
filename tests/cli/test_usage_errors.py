"""Options that are settings, and arguments that are missing: the message says what to type, and that works."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typed_lines import cut_runs

from bnlab.cli.app import app
from bnlab.cli.usage_errors import ALSO_CALLED, EXAMPLES
from bnlab.config.folders import config_keys, known_options, search_folders

Say = Callable[..., Any]


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("train --seed 3", "seed=3"),
        ("train --lr 0.1", "optim.lr=0.1"),
        ("train --lr=0.1", "optim.lr=0.1"),
        ("train -lr 0.1", "optim.lr=0.1"),
        ("train norm=none --learning-rate 0.1", "optim.lr=0.1"),
        ("sweep --norm layer", "norm=layer"),
        ("race norm=batch norm=none --batch-size 64", "train.batch_size=64"),
        ("sweep --batchsize 64", "train.batch_size=64"),
        ("lr-sensitivity --model.depth 5", "model.depth=5"),
        ("train --lr -1", "optim.lr=-1"),
        ("train --gpu", "device=cuda"),
        ("train --gpu 1", "device=cuda:1"),
        ("train --init he", "model.init=he"),
        ("train --schedule cosine", "schedule.name=cosine"),
        ("sweep --seeds 3", "'seed=range(3)'"),
        ("sweep --num-seeds 5", "'seed=range(5)'"),
        ("train --momentum 0.5", "norm.momentum=0.5 or optim.momentum=0.5"),
        ("train --epochs", "train.epochs=..."),
        ("train --seed 'range(3)'", "'seed=range(3)'"),
        ("propagate mlp --depth 3", "model.depth=3"),
        ("check batch --eps 0.1", "norm.eps=0.1"),
        ("compare --seed 3", "--where seed=3"),
        ("runs rm --lr 3", "--where optim.lr=3"),
    ],
)
def test_a_setting_that_is_typed_as_an_option_is_told_as_a_word(bnlab_says: Say, line: str, cure: str) -> None:
    answer = bnlab_says(*shlex.split(line))
    assert answer.status == 2
    assert answer.err.rstrip().endswith(f": {cure}")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("train --agian", "Did you mean --again?"),
        ("report x --land zh", "Did you mean --lang?"),
        ("train --frobnicate 3", "Those it has: bnlab train --help"),
        ("study all --seeds 3", "Those it has: bnlab study --help"),
    ],
)
def test_another_unknown_option_is_answered_by_one_like_it_or_by_the_help(bnlab_says: Say, line: str, end: str) -> None:
    answer = bnlab_says(*line.split())
    assert answer.status == 2
    assert answer.err.rstrip().endswith(end)


def test_what_other_programs_call_a_setting_names_one_of_ours() -> None:
    folders = search_folders(None)
    assert set(ALSO_CALLED.values()) <= {*known_options(folders), *config_keys(folders)}


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    inside = getattr(command, "commands", {})
    found = {} if inside else {path: command}
    for name, each in inside.items():
        found |= _commands(each, (*path, name))
    return found


NEEDY = {
    path: command
    for path, command in _commands(typer.main.get_command(app)).items()
    if any(param.required for param in command.params)
}


@pytest.mark.parametrize("path", NEEDY, ids=" ".join)
def test_a_command_without_its_argument_ends_with_a_line_that_works(bnlab_says: Say, path: tuple[str, ...]) -> None:
    answer = bnlab_says(*path)
    assert answer.status == 2
    missing, such_as = answer.err.splitlines()
    assert "Missing argument" in missing
    assert such_as == f"Such as: {EXAMPLES[path[-1]]}"
    assert f"bnlab {' '.join(path)} " in such_as


def test_no_other_command_has_such_a_line() -> None:
    assert {path[-1] for path in NEEDY} == set(EXAMPLES)


def test_the_choices_of_a_missing_option_take_one_line(bnlab_says: Say) -> None:
    answer = bnlab_says("export", "pilot")
    assert answer.err.splitlines()[0] == (
        "error: Missing option '--to'. Choose from: csv, parquet, mlflow, wandb, trackio"
    )


def _type(line: str, bnlab_says: Say) -> list[int]:
    return [bnlab_says(*shlex.split(command)[1:]).status for command in line.split(" && ")]


def test_the_line_that_explain_proposes_works(bnlab_says: Say) -> None:
    assert _type(EXAMPLES["explain"], bnlab_says) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "explain"])
def test_each_such_line_works_where_there_are_no_runs(
    bnlab_says: Say, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cut_runs(monkeypatch)
    *_, last = statuses = _type(EXAMPLES[name], bnlab_says)
    assert last == (2 if name == "rm" else 0)  # nobody is there to be asked
    assert not any(statuses[:-1])
