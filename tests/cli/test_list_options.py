"""`bnlab list optimizers`, `recipes`, `schedules`, `sweeps` and `commands`."""

import json
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import run_folder, sweep_of

from bnlab.config.folders import conf_folder
from bnlab.schema import ScheduleConfig

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


def test_every_schedule_is_listed_with_what_it_reads_and_its_defaults(bnlab_says: Say) -> None:
    rows = {row["name"]: row for row in json.loads(bnlab_says("list", "schedules", "--json").out)}
    assert set(rows) == set(typing.get_args(ScheduleConfig.model_fields["name"].annotation))
    read = {key for row in rows.values() for key in row["options"]}
    assert read == set(ScheduleConfig.model_fields) - {"name"}
    assert rows["step"]["options"]["milestones"] == [0.5, 0.75]
    assert "the default" in bnlab_says("list", "schedules").out


def test_sweeps_of_files_and_sweeps_that_were_trained_are_listed(bnlab_says: Say) -> None:
    runs = [run_folder(Path("runs/mine"), "batch", 0.1, 0, [2.3, 1.0, 0.5])]
    runs.append(run_folder(Path("runs/mine"), "none", 0.1, 0, [2.3, 1.0], status="interrupted"))
    sweep_of(Path("runs/mine"), [*runs, "gone"], ["norm=batch,none"])
    rows = json.loads(bnlab_says("list", "sweeps", "--json").out)
    files = {row["name"]: row for row in rows if row["kind"] == "file"}
    assert set(files) == {path.stem for path in (conf_folder() / "sweep").glob("*.yaml")}
    assert "train.steps=1" in files["vanishing-gradient"]["words"].split()
    (kept,) = [row for row in rows if row["kind"] == "kept"]
    assert (kept["name"], kept["runs"], kept["with_result"], kept["words"]) == ("mine", 3, 1, "norm=batch,none")
    shown = bnlab_says("list", "sweeps").out
    assert "mine" in shown
    assert "vanishing-gradient" in shown
    assert "bnlab sweep sweep=" not in shown  # the command in a file's first line is not told twice


def test_commands_are_listed_for_a_program_with_arguments_options_and_exit_codes(bnlab_says: Say) -> None:
    found = json.loads(bnlab_says("list", "commands", "--json").out)
    commands = {each["name"]: each for each in found["commands"]}
    assert {"train", "sweep", "judge", "compare", "list runs", "list commands", "runs rm"} <= set(commands)
    assert all(each["summary"] and each["exit_codes"]["2"] == "wrong input" for each in commands.values())
    sweep = {name: option for option in commands["sweep"]["options"] for name in option["names"]}
    assert sweep["--jobs"]["type"] == "integer"
    assert sweep["--jobs"]["least"] == 1
    assert sweep["-j"] is sweep["--jobs"]
    assert sweep["--on-error"]["choices"] == ["continue", "stop"]
    assert sweep["--json"]["type"] == "flag"
    (runs,) = commands["compare"]["arguments"]
    assert (runs["required"], runs["multiple"]) == (True, True)
    assert "law" in commands["check"]["exit_codes"]["1"]
    trains = {"train", "demo", "race", "sweep", "lr-sensitivity", "study"}
    assert {name for name, each in commands.items() if "143" in each["exit_codes"]} == trains
    assert "bnlab judge" in bnlab_says("list", "commands").out


@pytest.mark.slow
def test_every_option_that_the_list_names_is_one_that_the_command_takes(bnlab_says: Say) -> None:
    found = json.loads(bnlab_says("list", "commands", "--json").out)
    for each in found["commands"]:
        told = bnlab_says(*each["name"].split(), "--help").out
        for option in each["options"]:
            assert option["names"][0] in told, (each["name"], option["names"])


def test_commands_are_listed_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['bnlab', 'list', 'commands', '--json']\n"
        "from bnlab.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "False"
    assert json.loads(done.stdout)["program"] == "bnlab"
