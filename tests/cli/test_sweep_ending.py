"""How a sweep ends: with its figures, its page and the next command, which works as it stands there."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import run_folder, sweep_of

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.next_command import next_command
from bnlab.report import style
from bnlab.results.sweep import read_sweep

Say = Callable[..., Any]
QUICK = ["data=synthetic", "model.width=8", "train.steps=3", "accept=[statistics_not_settled]", "loggers=[]"]


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 20)


def last_lines(told: str) -> dict[str, str]:
    """Return what the ending of a sweep names: Figures, Page, Next."""
    found = [line.partition(" ") for line in told.splitlines()]
    return {head: rest.strip() for head, _, rest in found if head in {"Figures", "Page", "Next", "Runs"}}


def proposed(folder: Path, words: list[str], **options: Any) -> str:
    sweep = read_sweep(folder)
    found = next_command(sweep, sweep.read_arms(), words, SweepOptions(**options))
    return "" if found is None else found.line


def fake(folder: Path, norms: tuple[str, ...], seeds: range, **of_run: Any) -> Path:
    runs = [
        run_folder(folder, norm, 0.1, seed, [2.3, 1.0, 0.5 + seed / 10], **of_run) for norm in norms for seed in seeds
    ]
    return sweep_of(folder, runs, ["norm=...", "seed=..."])


def test_what_is_missing_comes_first_then_seeds_then_a_verdict(tmp_path: Path) -> None:
    words = ["norm=batch,none", "seed=0,1", "name=mine"]
    few = fake(tmp_path / "few", ("batch", "none"), range(2))
    assert proposed(few, words) == "bnlab sweep norm=batch,none name=few 'seed=range(5)'"
    number = fake(tmp_path / "12e45678", ("batch", "none"), range(2))  # as a sweep without a name may be called
    assert shlex.split(proposed(number, words))[3] == "name='12e45678'"
    enough = fake(tmp_path / "enough", ("batch", "none"), range(5))
    assert proposed(enough, words) == "bnlab judge enough --metric test_loss"  # these runs were not tested
    assert proposed(enough, words, runs=Path("elsewhere")).endswith(" --runs elsewhere")
    three = fake(tmp_path / "three", ("batch", "none", "layer"), range(5))
    assert "--arms batch," in proposed(three, words)
    alone = fake(tmp_path / "alone", ("layer",), range(5))
    assert proposed(alone, ["norm=layer", "optim.lr=0.1", "seed=range(5)"]) == (
        "bnlab sweep optim.lr=0.1 'seed=range(5)' name=alone norm=layer,none"
    )
    cut = fake(tmp_path / "cut", ("batch", "none"), range(5), status="interrupted")
    assert (
        proposed(cut, words, config_dir=Path("mine"))
        == "bnlab sweep norm=batch,none seed=0,1 name=mine --config-dir mine"
    )


@pytest.mark.parametrize(
    ("trained", "word"), [(range(7, 9), "'seed=range(7,12)'"), (range(0, 9, 8), "seed=0,8,9,10,11")]
)
def test_seeds_are_proposed_that_add_to_those_there(tmp_path: Path, trained: range, word: str) -> None:
    few = fake(tmp_path / "few", ("batch", "none"), trained)
    assert proposed(few, ["norm=batch,none", "seed=7,8"]) == f"bnlab sweep norm=batch,none name=few {word}"


@pytest.mark.slow
def test_a_sweep_ends_with_its_figures_its_page_and_commands_that_work(bnlab_says: Say) -> None:
    words = [*QUICK, "norm=batch,none", "optim.lr=0.1,1", "seed=0,1", "name=mine"]
    answer = bnlab_says("sweep", *words, "--jobs", "1")
    assert answer.status == 0, answer.err
    told = last_lines(answer.err)
    assert set(told) == {"Figures", "Page", "Next"}
    assert told["Page"] == "runs/mine/report.html"
    for name in ("curves", "lr-sensitivity"):
        assert f"{name}.png" in told["Figures"]
        assert all((Path("runs/mine") / f"{name}.{kind}").exists() for kind in ("png", "svg"))
    page = Path(told["Page"]).read_text(encoding="utf-8")
    assert "Validation loss over the steps" not in page  # two validations make no curve there
    assert "against batch" in page
    assert "runs/mine" not in answer.out.splitlines()[-1]  # never a bare path
    more = shlex.split(told["Next"])
    assert more[-2:] == ["name=mine", "seed=range(5)"]
    answer = bnlab_says(*more[1:], "--jobs", "1")
    assert answer.status == 0
    assert "20 runs: 20 finished" in answer.out
    verdict = shlex.split(last_lines(answer.err)["Next"])
    assert verdict == ["bnlab", "judge", "mine"]
    assert bnlab_says(*verdict[1:]).status == 0


@pytest.mark.slow
def test_what_a_sweep_was_made_to_measure_stands_in_its_table_figure_and_next_command(bnlab_says: Say) -> None:
    words = [*QUICK[:-1], "loggers=[]", "norm=batch,none", "model.activation=sigmoid", "seed=range(5)", "name=inside"]
    answer = bnlab_says("sweep", *words, "diagnostics.names=[gradient_ratio,saturation]", "--jobs", "1")
    assert answer.status == 0, answer.err
    rows = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert any(row[:2] == ["gradient_ratio", "batch"] for row in rows)
    assert any(row[0] == "saturation" for row in rows)
    told = last_lines(answer.err)
    assert "instruments.png" in told["Figures"]
    assert shlex.split(told["Next"]) == shlex.split("bnlab judge inside --metric gradient_ratio/network --sesoi 0")
    assert bnlab_says(*shlex.split(told["Next"])[1:]).status == 0
    assert "What was measured last" in Path(told["Page"]).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--no-figures", "--quiet", "--json"])
def test_nothing_is_drawn_where_nobody_would_look(bnlab_says: Say, option: str) -> None:
    answer = bnlab_says("sweep", *QUICK, "norm=batch", "seed=0,1", "name=mine", "--jobs", "1", option)
    assert answer.status == 0
    assert not [path for path in Path("runs/mine").iterdir() if path.suffix in {".png", ".svg", ".html"}]
    assert "Page" not in answer.err


@pytest.mark.slow
def test_figures_that_cannot_be_drawn_are_a_warning(bnlab_says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no room for pictures")

    monkeypatch.setattr("bnlab.report.training_curves.write_training_curves", refuse)
    answer = bnlab_says("sweep", *QUICK, "norm=batch", "seed=0,1", "name=mine", "--jobs", "1")
    assert answer.status == 0
    assert "figures could not be written: RuntimeError: no room for pictures" in answer.err
    assert "2 runs: 2 finished" in answer.out
