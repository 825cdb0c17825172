import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_planned

from bnlab.cli.lr_sensitivity_command import words_of_sweep
from bnlab.cli.sweep_figures import Pictures
from bnlab.results.sweep import read_sweep
from bnlab.sweeps.plan import plan_sweep

Say = Callable[..., Any]
SMALL = ["data=synthetic", "model.width=16", "model.depth=1", "loggers=[]", "seed=0,1", "--jobs", "1"]
QUICK = [*SMALL, "train.steps=20", "norm=batch,none", "optim.lr=0.01,1,1000"]
SCREENED = [*SMALL, "train.steps=60", "norm=batch,none"]


def outcome(_: str, lr: float, seed: int) -> dict[str, Any]:
    return {"status": "diverged"} if lr == 1000 else {"loss": 1 / (1 + lr) + 0.1 * seed, "accuracy": 0.8}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("written")
    write_planned(words_of_sweep([word for word in QUICK if word not in {"--jobs", "1"}]), outcome, runs)
    return runs


@pytest.fixture
def swept(written: Path, tmp_path: Path) -> Path:
    """The runs of QUICK, all of which have ended."""
    return Path(shutil.copytree(written, tmp_path / "runs"))


@pytest.fixture(autouse=True)
def _without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the other figures and the page: tests/cli/test_sweep_ending.py looks at those."""
    monkeypatch.setattr("bnlab.cli.sweep_command.leave_pictures", lambda *_, **__: Pictures())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty files in place of the figure, which takes longer than everything else."""

    def write_nothing(_: object, folder: Path) -> list[Path]:
        paths = [folder / f"lr-sensitivity.{kind}" for kind in ("svg", "png")]
        for path in paths:
            path.touch()
        return paths

    monkeypatch.setattr("bnlab.report.lr_sensitivity.figure.write_figures", write_nothing)


@pytest.mark.slow
def test_one_command_trains_tells_and_draws(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("lr-sensitivity", *QUICK)
    assert answer.status == 0
    for words in ("Where it trains", "How much it matters: the loss", "max lr", "/ none's max", "lr sensitivity"):
        assert words in answer.out
    assert "validation loss at the end" in answer.out  # the chart
    assert "2 seeds are a smoke test" in answer.out
    (folder,) = (tmp_path / "runs").iterdir()
    for kind in ("svg", "png"):
        assert (folder / f"lr-sensitivity.{kind}").stat().st_size > 1000
    assert len(read_sweep(folder).rows) == 12
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "cache"}  # matplotlib keeps its list of fonts


@pytest.mark.usefixtures("undrawn")
def test_a_finished_sweep_is_only_read(bnlab_says: Say, swept: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in swept.rglob("metrics.jsonl")}
    answer = bnlab_says("lr-sensitivity", *QUICK)
    for words in ("Where it trains", "How much it matters: the loss", "max lr", "/ none's max", "lr sensitivity"):
        assert words in answer.out
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("metrics.jsonl")} == stamps
    assert (answer.status, len(stamps)) == (0, 12)
    assert "12 there already" in answer.err


@pytest.mark.usefixtures("swept", "undrawn")
def test_piped_output_is_plain(bnlab_says: Say) -> None:
    assert "\x1b" not in bnlab_says("lr-sensitivity", *QUICK).out


@pytest.mark.usefixtures("swept", "undrawn")
def test_json_is_one_object_and_nothing_else(bnlab_says: Say) -> None:
    answer = bnlab_says("lr-sensitivity", "--json", *QUICK)
    facts = json.loads(answer.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert [arm["arm"] for arm in facts["arms"]] == ["batch", "none"]
    assert facts["lrs"] == [0.01, 1, 1000]
    assert facts["arms"][0]["against_reference"]["seeds"] == [0, 1]
    assert all(Path(path).exists() for path in facts["figures"])


@pytest.mark.usefixtures("swept", "undrawn")
def test_quiet_prints_nothing_and_still_draws(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("lr-sensitivity", "--quiet", *QUICK)
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert list(tmp_path.rglob("lr-sensitivity.svg"))


@pytest.mark.usefixtures("swept", "undrawn")
def test_the_accuracy_can_be_asked_for(bnlab_says: Say) -> None:
    answer = bnlab_says("lr-sensitivity", *QUICK, "--by", "accuracy")
    assert "How much it matters: the accuracy" in answer.out
    assert "validation accuracy at the end" in answer.out


@pytest.mark.slow
def test_a_dry_run_makes_nothing(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("lr-sensitivity", *QUICK, "--dry-run")
    assert (answer.status, answer.out) == (0, "")
    assert "12 runs" in answer.err
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.slow
@pytest.mark.usefixtures("swept", "undrawn")
def test_a_terminal_that_knows_no_braille_gets_full_stops(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.cli.sensitivity_tables.knows_braille", lambda _: False)
    chart = bnlab_says("lr-sensitivity", *QUICK).out.partition("validation loss at the end")[2]
    assert chart.isascii()
    assert "..." in chart


def test_one_learning_rate_is_named_before_anything_is_trained(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("lr-sensitivity", *SMALL, "norm=batch", "optim.lr=0.1")
    assert (answer.status, answer.out) == (2, "")
    assert "needs 2 or more learning rates, got optim.lr=0.1 alone" in answer.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["norm=bacth"], ["optim.lr=0.1,-1"], ["sweep=unknown"]])
def test_wrong_input_is_told_in_a_few_lines(bnlab_says: Say, tmp_path: Path, words: list[str]) -> None:
    answer = bnlab_says("lr-sensitivity", *words)
    assert (answer.status, answer.out) == (2, "")
    assert 1 <= len(answer.err.strip().splitlines()) <= 3
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_that_fails_is_missing_and_the_status_is_1(
    bnlab_says: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brittle.py").write_text(
        "import torch\n"
        "class Brittle(torch.nn.Module):\n"
        "    def __init__(self, num_channels):\n"
        "        super().__init__()\n"
        "    def forward(self, x):\n"
        "        if x.device.type != 'meta' and self.training and not x.isfinite().all():\n"
        "            raise ValueError('too much')\n"
        "        return x * 10\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    answer = bnlab_says(
        "lr-sensitivity", *SMALL, "train.steps=20", "norm=none,brittle:Brittle", "optim.lr=1e-4,1e-3,1e30"
    )
    assert answer.status == 1
    assert "2 runs are missing (Brittle at 1e+30, seed 0: failed" in answer.out.replace("brittle:Brittle", "Brittle")
    assert "has no complete seed" in answer.out


@pytest.mark.slow
def test_the_default_is_the_file_and_what_is_typed_wins() -> None:
    default = plan_sweep(words_of_sweep([]))
    assert (default.folder.name, len(default.configs)) == ("lr-sensitivity", 220)
    typed = plan_sweep(words_of_sweep(["norm=rms", "seed=3", "data=digits"]))
    assert {(c.norm.name, c.seed, c.data.name) for c in typed.configs.values()} == {("rms", 3, "digits")}
    assert len(typed.configs) == 11
    assert typed.folder.name != "lr-sensitivity"


def test_epochs_that_are_typed_are_not_overruled_by_the_files_steps() -> None:
    for config in plan_sweep(words_of_sweep(["train.epochs=2", "norm=none", "seed=0"])).configs.values():
        assert (config.train.steps, config.train.epochs) == (None, 2)
    for config in plan_sweep(
        words_of_sweep(["train.epochs=2", "train.steps=7", "norm=none", "seed=0"])
    ).configs.values():
        assert config.train.steps == 7


@pytest.mark.slow
def test_another_sweeps_file_can_be_taken() -> None:
    sweep = plan_sweep(words_of_sweep(["sweep=norms-lr-seeds", "seed=0"]))
    assert {config.model.activation for config in sweep.configs.values()} == {"sigmoid"}


@pytest.mark.slow
def test_a_range_test_says_that_it_is_a_screen_and_leaves_nothing_behind(bnlab_says: Say, tmp_path: Path) -> None:
    answer = bnlab_says("lr-sensitivity", "--range-test", *SCREENED, "optim.lr=0.01,1000")
    assert answer.status == 0
    assert "This is a screen, not a measurement." in answer.out
    assert "lowest and highest of the" in answer.out
    assert "batch" in answer.out
    assert not list(tmp_path.iterdir())


def test_a_range_test_as_json(bnlab_says: Say) -> None:
    answer = bnlab_says("lr-sensitivity", "--range-test", "--json", *SCREENED, "optim.lr=0.01,1000")
    facts = json.loads(answer.out)
    assert (facts["lowest"], facts["highest"]) == (0.01, 1000)
    assert facts["range_test"]["none"]["n"] == 2
    low, high = facts["range_test"]["none"]["breaks"]
    assert 0.01 < low <= high <= 1000
    assert "screen" in facts["note"]


def test_a_range_test_needs_a_range(bnlab_says: Say) -> None:
    answer = bnlab_says("lr-sensitivity", "--range-test", *SCREENED, "optim.lr=0.1")
    assert (answer.status, answer.out) == (2, "")
    assert "needs a range of learning rates, got optim.lr=0.1 alone" in answer.err


def test_a_dry_range_test_says_what_would_be_made(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.cli.range_test_command._screened", lambda *_, **__: pytest.fail("it was made"))
    answer = bnlab_says("lr-sensitivity", "--range-test", "--dry-run", *SCREENED, "optim.lr=0.1,1")
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == "4 range tests of 2 arms, optim.lr from 0.1 to 1; nothing of it is kept\n"


@pytest.mark.parametrize("option", [["--by", "loss"], ["--by", "accuracy"], ["-j", "2"], ["--again"], ["--runs", "x"]])
def test_an_option_that_a_range_test_cannot_follow_is_refused(bnlab_says: Say, option: list[str]) -> None:
    answer = bnlab_says("lr-sensitivity", "--range-test", *SCREENED, "optim.lr=0.1,1", *option)
    assert (answer.status, answer.out) == (2, "")
    name = {"-j": "--jobs"}.get(option[0], option[0])
    assert answer.err.startswith(f"error: {name} has no effect on --range-test: ")
    assert answer.err.count("\n") == 1


def test_few_steps_for_a_wide_range_are_called_so(bnlab_says: Say) -> None:
    words = ["lr-sensitivity", "--range-test", "--dry-run", *SMALL, "train.steps=60", "norm=none"]
    answer = bnlab_says(*words, "optim.lr=0.01,1000")
    assert "60 steps from 0.01 to 1000 are few" in answer.err
    assert "Try train.steps=500." in answer.err
    enough = bnlab_says(*words, "optim.lr=0.1,1")
    assert "are few" not in enough.err


@pytest.mark.usefixtures("undrawn")
def test_a_long_reference_stands_below_the_table(bnlab_says: Say, tmp_path: Path) -> None:
    words = ["data=synthetic", "norm=batch,none", "model.activation=relu,tanh", "optim.lr=0.01,0.1", "seed=0"]
    write_planned(words_of_sweep(words), outcome, tmp_path / "runs")
    answer = bnlab_says("lr-sensitivity", *words)
    assert "/ reference's" in answer.out
    assert "The reference: norm=none with the same other settings" in answer.out


@pytest.mark.usefixtures("undrawn")
def test_an_arm_that_trains_nowhere_has_an_unknown_maximum(bnlab_says: Say, tmp_path: Path) -> None:
    words = ["data=synthetic", "norm=batch,none", "optim.lr=0.01,0.1", "seed=0,1"]
    write_planned(words_of_sweep(words), lambda *_: {"loss": 2.2, "accuracy": 0.11}, tmp_path / "runs")
    answer = bnlab_says("lr-sensitivity", *words)
    (line, *_) = [line for line in answer.out.splitlines() if line.startswith(" none")]
    assert line.split()[1:] == ["unknown"] * 3  # the ratio's column is batch's alone
    (line, *_) = [line for line in answer.out.splitlines() if line.startswith(" batch")]
    assert line.split()[-1] == "unknown"
