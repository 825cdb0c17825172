"""What messages propose to type works: every command line in the text of bnlab's messages is typed here."""

import ast
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_runs import rising, write_judged
from pretended_runs import PretendedRuns

import bnlab
from bnlab.cli.usage_errors import EXAMPLES, PAIR
from bnlab.report import style
from bnlab.sweeps import search_execution

Say = Callable[..., Any]

CODE = Path(bnlab.__file__).parent
QUICK = ["data=synthetic", "model.width=8", "train.steps=3", "accept=[statistics_not_settled]"]

TYPED = {
    "options and --like need the name of a layer: bnlab check group norm.num_groups=2": "check",
    "There are no runs here yet: bnlab train makes one.": "list runs",
    "is not there: no runs to show yet. Train one: bnlab train": "dashboard",
    ": bnlab show": "train",
    ". Those there are: bnlab list runs": "tests/cli/test_list_runs.py types it",
    "NAME is missing. What there is: bnlab list studies; all of them: bnlab study all.": "typed by test_readme",
    "Page: bnlab report": "typed by test_readme",
    "Their cards: bnlab list diagnostics NAME.": "list diagnostics",
    "To measure some: bnlab train 'diagnostics.names=[saturation,gradient_norm]', or diagnostics=full.": "diagnostics",
    "holds no runs that can be read. Sweep them: bnlab lr-sensitivity.": "tests/cli/test_readme.py types it",
    ": their code or data have changed. They stay there, and are left out of this sweep. "
    "All runs: bnlab list runs": "tests/cli/test_list_runs.py types it",
    "bnlab race norm=batch norm=layer norm=none": "tests/cli/test_readme.py types it",
    "bnlab study all --in-minutes 10": "tests/cli/test_readme.py types it",
    ". All: bnlab diff": "tests/cli/test_compare_command.py types it",
    "bnlab sweep sweep=": "tests/cli/test_readme.py types it, as a comment of conf/",
    "Start with [bold]bnlab demo[/]. Every command explains itself: [bold]bnlab train --help[/].": "test_readme.py",
}
"""Texts in bnlab/cli and bnlab/report that propose a command, and where it is typed."""


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 20)


@pytest.fixture(scope="module")
def many_and_other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of one run each, trained once."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    for name in ("many", "other"):
        bnlab.train([*QUICK, f"name={name}", "diagnostics.names=[saturation]"], runs=runs)
    return runs


def proposed(text: str) -> list[str]:
    """Return the words of the command that a message proposes: from the program's name to the end of the line."""
    (found,) = re.findall(r"\bbnlab (\S.*)", text)
    return shlex.split(re.sub(r" (makes|trains) one|[.]$", "", found.rstrip(".")))


def test_every_command_in_a_message_is_typed_by_a_test() -> None:
    found = set()
    for path in [*(CODE / "cli").rglob("*.py"), *(CODE / "report").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        }
        after_assignments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        helps = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg == "help"
            for inner in ast.walk(node.value)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in (docstrings | after_assignments | helps)
            ):
                found |= {line.strip(" ") for line in node.value.splitlines() if re.search(r"\bbnlab [a-z-]+", line)}
    examples = {part for line in EXAMPLES.values() for part in (line, line.split(" && ")[-1])}
    assert {text.strip() for text in found} - examples - {PAIR.strip()} == set(TYPED)  # test_usage_errors.py types them


def test_where_there_are_no_runs_the_command_that_makes_one_is_said(bnlab_says: Say) -> None:
    for command in (["list", "runs"], ["dashboard"], ["show", "nothing"]):
        answer = bnlab_says(*command)
        assert proposed(answer.err) == ["train"]
    answer = bnlab_says("show", "nowhere/at_all")
    assert bnlab_says(*proposed(answer.err)).status == 0


def test_check_proposes_a_layer_with_its_options(bnlab_says: Say) -> None:
    answer = bnlab_says("check", "--like", "group")
    assert answer.status == 2
    assert proposed(answer.err) == ["check", "group", "norm.num_groups=2"]


@pytest.mark.slow
def test_the_layer_that_check_proposes_is_checked(bnlab_says: Say) -> None:
    assert bnlab_says(*proposed(bnlab_says("check", "--like", "group").err)).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["runs", "else where"])
def test_the_run_whose_figures_are_proposed_is_found_wherever_it_lies(bnlab_says: Say, place: str) -> None:
    answer = bnlab_says("train", *QUICK, "--runs", place)
    assert answer.status == 0
    assert bnlab_says(*proposed(answer.out), "--no-figures").status == 0


@pytest.mark.slow
def test_a_run_that_lies_in_two_places_is_proposed_by_its_folder(bnlab_says: Say) -> None:
    bnlab.train([*QUICK, "name=mine"])
    answer = bnlab_says("train", *QUICK)
    assert bnlab_says(*proposed(answer.out), "--no-figures").status == 0


@pytest.mark.slow
def test_diagnostics_are_measured_as_their_list_proposes(bnlab_says: Say) -> None:
    said = " ".join(bnlab_says("list", "diagnostics").out.split())
    assert "bnlab list diagnostics NAME" in said
    assert bnlab_says("list", "diagnostics", "saturation").status == 0
    some = re.search(r"bnlab (train 'diagnostics.names=\[.*?\]')", said)
    assert some is not None, said
    assert bnlab_says(*shlex.split(some[1]), *QUICK).status == 0


def test_too_many_runs_are_narrowed_by_the_conditions_that_compare_proposes(bnlab_says: Say) -> None:
    for seed in (0, 1):
        for rate in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3):
            folder = Path(f"runs/many/batch-mlp-synthetic-lr{rate}-s{seed}-0000000{seed}")
            folder.mkdir(parents=True)
            config = {"seed": seed, "norm": {"name": "batch"}, "optim": {"name": "sgd", "lr": rate}}
            facts = {"status": "finished", "run_id": folder.name, "config": config}
            (folder / "manifest.json").write_text(json.dumps(facts))
            record = {"kind": "diagnostic", "step": 0, "split": None, "name": "saturation", "values": {"hidden1": 0.5}}
            end = {"kind": "end", "step": 0, "split": None, "name": "finished", "values": {}}
            (folder / "metrics.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(end)}\n")
            (folder / "summary.json").write_text(json.dumps({"run_id": folder.name, "status": "finished"}))
    side_by_side = ["compare", "many", "--no-figures", "--by", "run"]
    answer = bnlab_says(*side_by_side)
    assert answer.status == 2
    words = shlex.split(answer.err.strip().partition("Choose some of them: ")[2])
    assert words == ["--where", "seed=0"]
    assert bnlab_says(*side_by_side, *words).status == 0
    answer = bnlab_says(*side_by_side, "--where", "lr>0")
    words = shlex.split(answer.err.strip().partition("Choose some of them: ")[2])
    assert bnlab_says(*side_by_side, "--where", "lr>0", *words).status == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "lacking"),
    [
        ("show many satration --no-figures", "satration"),
        ("compare many other -d satration --no-figures", "satration"),
        ("list runs --status finishd", "finishd"),
        ("compare mayn other --no-figures", "mayn"),
    ],
)
def test_the_word_that_is_meant_works(bnlab_says: Say, many_and_other: Path, typed: str, lacking: str) -> None:
    shutil.copytree(many_and_other, "runs")
    answer = bnlab_says(*typed.split())
    assert answer.status == 2
    meant = re.search(r"Did you mean (\w+)", answer.err)
    assert meant is not None, answer.err
    assert bnlab_says(*typed.replace(lacking, meant[1]).split()).status == 0


@pytest.mark.slow
def test_a_run_without_diagnostics_is_trained_with_them_by_the_command_that_show_proposes(bnlab_says: Say) -> None:
    bare = bnlab.train([*QUICK, "diagnostics=none", "model.init_std=1e-2", "norm.momentum=null", "name=mine"])
    answer = bnlab_says("show", bare.run_id)
    assert answer.status == 0
    assert bnlab_says(*proposed(answer.err)).status == 0
    (other,) = [path.name for path in Path("runs/single").glob("batch-*")]
    assert bnlab_says("show", other, "--no-figures").status == 0
    answer = bnlab_says("compare", bare.folder, str(bnlab.train([*QUICK, "diagnostics=none", "seed=1"]).folder))
    assert answer.status == 0
    assert bnlab_says(*proposed(answer.err)).status == 0


@pytest.mark.slow
def test_the_page_of_a_sweep_proposes_to_compare_arms_and_then_others(bnlab_says: Say, tmp_path: Path) -> None:
    write_judged(tmp_path / "runs" / "mine", lambda _: rising(0.9), norms=("batch", "layer", "none"), seeds=range(3))
    page = tmp_path / "runs" / "mine" / "report.md"
    typed, first, second = (
        "bnlab report mine",
        "bnlab report mine --arms batch,layer",
        "bnlab report mine --arms batch,none",
    )
    for command, commands in ((typed, [first, typed]), (first, [second, first]), (second, [first, second])):
        assert bnlab_says(*proposed(command)).status == 0
        assert [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("bnlab ")] == commands


@pytest.mark.slow
def test_learning_rates_are_swept_as_the_message_proposes(bnlab_says: Say) -> None:
    for words, key in (([], "optim.lr=logspace"), (["--range-test"], "optim.lr=1e-3,100")):
        typed = ["lr-sensitivity", *words, *QUICK, "norm=batch,none", "seed=0", "--jobs", "1"]
        answer = bnlab_says(*typed, "optim.lr=0.1")
        assert answer.status == 2
        word = re.search(rf"{re.escape(key)}[^ '.]*", answer.err)
        assert word is not None, answer.err
        assert bnlab_says(*typed, word[0].rstrip(".")).status == 0
    answer = bnlab_says("lr-sensitivity", "--range-test", *QUICK, "norm=batch", "seed=0", "optim.lr=1e-3,100")
    steps = re.search(r"Try (train\.steps=\d+)", answer.err)
    assert steps is not None, answer.err
    others = [word for word in QUICK if not word.startswith("train.steps")]
    answer = bnlab_says(
        "lr-sensitivity", "--range-test", *others, steps[1], "norm=batch", "seed=0", "optim.lr=1e-3,100"
    )
    assert (answer.status, "are few" in answer.err) == (0, False)


@pytest.mark.slow
def test_the_words_of_the_best_trial_train_it(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_execution, "open_backend", lambda _words, _jobs: PretendedRuns())  # a worker is dear
    answer = bnlab_says(
        "sweep", "hydra/sweeper=optuna", *QUICK, "hydra.sweeper.n_trials=2", "optim.lr=0.1,0.2", "--jobs", "1"
    )
    assert answer.status == 0, answer.err
    words = answer.out.rstrip().splitlines()[-1]
    assert bnlab_says("train", *shlex.split(words)).status == 0


@pytest.mark.slow
def test_a_momentum_that_is_too_slow_is_lowered_as_proposed(bnlab_says: Say) -> None:
    words = ["data=digits", "train.steps=60", "diagnostics=full", "model.width=16", "accept=[statistics_not_settled]"]
    words += ["diagnostics.names=[accuracy_by_statistics,loss_by_statistics]"]  # from which the cause is told
    slow = bnlab.train([*words, "norm.momentum=0.99"])
    said = json.loads(bnlab_says("show", slow.run_id, "--json", "--no-figures").out)["statistics_gap"]
    assert said["cause"] == "momentum too slow for the steps made"
    lower = re.search(r"Lower it to ([0-9.]*[0-9])", said["sentence"])
    assert lower is not None, said
    better = bnlab.train([*words, f"norm.momentum={lower[1]}"])
    gap = json.loads(bnlab_says("show", better.run_id, "--json", "--no-figures").out)["statistics_gap"]
    assert gap["cause"] != "momentum too slow for the steps made"
