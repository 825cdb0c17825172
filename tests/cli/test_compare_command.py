import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import run_folder, sweep_of

import bnlab

Say = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run with a norm and one without; return the folder that holds ``runs``."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for norm in ("batch", "none"):
            bnlab.train(["data=synthetic", "model.width=16", "train.steps=20", "name=mine", f"norm={norm}"])
    return place


@pytest.fixture(autouse=True)
def _sweep(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")


@pytest.mark.slow
def test_a_sweep_is_compared_in_a_table_and_figures_that_no_reader_of_runs_takes_for_a_run(bnlab_says: Say) -> None:
    answer = bnlab_says("compare", "mine")
    assert answer.status == 0
    head, *lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert head == ["layer", "batch", "none", "apart"]
    assert {"test_accuracy", "saturation", "gradient_norm"} <= {line[0] for line in lines}
    (folder,) = Path("runs/comparisons").iterdir()
    assert str(folder) in answer.err
    assert (folder / "gradient_norm.svg").exists()
    assert len(json.loads(bnlab_says("list", "runs", "--json").out)) == 2
    assert len(bnlab.read_runs()) == 2
    assert bnlab_says("list", "runs", "comparisons").status == 2


@pytest.mark.slow
def test_figures_of_chosen_diagnostics_go_where_one_wants(bnlab_says: Say, tmp_path: Path) -> None:
    runs = [path.name for path in Path("runs/mine").glob("*-*")]
    assert bnlab_says("compare", *runs, "-d", "saturation", "--out", "figures").status == 0
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"saturation.svg", "saturation.png"}


@pytest.mark.slow
def test_runs_without_diagnostics_are_compared_by_their_final_figures(bnlab_says: Say) -> None:
    paths = list(Path("runs/mine").glob("*-*/metrics.jsonl"))
    for path in paths:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"diagnostic"' not in line))
    answer = bnlab_says("compare", "mine")
    assert answer.status == 0
    assert {"test_accuracy", "train_loss"} <= {line.split()[0] for line in answer.out.splitlines() if line.strip()}
    assert "Diagnostics" not in answer.out
    assert "This measures all of them, of the first: bnlab train" in answer.err
    for path in paths:
        path.write_text(path.read_text().partition("\n")[0] + "\n")
        path.with_name("summary.json").unlink()
    answer = bnlab_says("compare", "mine")
    assert answer.status == 0
    assert answer.out == "No run has come to an end, so that there are no final figures.\n"


def test_a_diagnostic_is_compared_by_the_name_that_it_had_in_an_earlier_version(bnlab_says: Say) -> None:
    for path in Path("runs/mine").glob("*-*"):
        with (path / "metrics.jsonl").open("a") as file:
            record = {
                "kind": "diagnostic",
                "step": 20,
                "split": None,
                "name": "statistic_noise",
                "values": {"a/mean": 1},
            }
            file.write(json.dumps(record) + "\n")
    for name in ("statistic_noise", "batch_statistics_noise"):
        answer = bnlab_says("compare", "mine", "-d", name, "--no-figures")
        assert answer.status == 0
        assert "batch_statistics_noise" in answer.out


def test_json_is_one_object_with_every_last_value(bnlab_says: Say) -> None:
    answer = bnlab_says("compare", "mine", "--json", "--no-figures")
    found = json.loads(answer.out)
    assert [run["label"] for run in found["runs"]] == ["batch", "none"]
    assert set(found["runs"][0]["last"]["gradient_norm"]) == {"hidden1", "hidden2", "hidden3", "output"}
    assert found["figures"] == []
    assert not Path("runs/comparisons").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine", "-d", "satration"], "Did you mean saturation"),
        (["mine", "-w", "norm=batch"], "compare needs 2 or more runs"),
        (["mien"], "Did you mean mine?"),
    ],
)
def test_wrong_input_gets_a_sentence_and_status_2(bnlab_says: Say, words: list[str], said: str) -> None:
    answer = bnlab_says("compare", *words)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert 1 <= len(answer.err.strip().splitlines()) <= 3


def two_seeds(name: str, **settings: int) -> Path:
    runs = [
        run_folder(Path("runs") / name, norm, 0.1, seed, [2.3, 1.0, 0.5 + seed / 10], settings=settings)
        for norm in ("batch", "none")
        for seed in (0, 1, 2)
    ]
    return sweep_of(Path("runs") / name, runs)


def test_arms_with_several_seeds_are_compared_over_them_and_by_run_if_asked(bnlab_says: Say) -> None:
    two_seeds("wide")
    by_arm = bnlab_says("compare", "wide", "--no-figures")
    assert by_arm.status == 0
    lines = [line.split() for line in by_arm.out.splitlines() if line.strip()]
    assert [line[:2] for line in lines[2:4]] == [["batch", "3"], ["none", "3"]]
    assert "95% interval of the mean over 3 seeds" in by_arm.out
    by_run = bnlab_says("compare", "wide", "--no-figures", "--by", "run")
    assert "seed=2" in by_run.out
    found = json.loads(bnlab_says("compare", "wide", "--no-figures", "--json").out)
    assert [arm["label"] for arm in found["arms"]] == ["batch", "none"]
    assert found["arms"][1]["against_first"]["loss"]["value"] == pytest.approx(0.0)


def test_two_sweeps_and_any_number_of_runs_are_compared(bnlab_says: Say) -> None:
    two_seeds("shallow", depth=2)
    two_seeds("deep", depth=9)
    two_seeds("deeper", depth=30)
    answer = bnlab_says("compare", "shallow", "deep", "deeper", "--no-figures")  # 18 runs
    assert answer.status == 0
    rows = [line.split()[:3] for line in answer.out.splitlines() if line.strip().startswith(("batch", "none"))]
    assert sorted(rows[:6]) == sorted([norm, depth, "3"] for norm in ("batch", "none") for depth in ("2", "9", "30"))


@pytest.mark.slow
def test_arms_are_drawn_with_bands(bnlab_says: Say) -> None:
    two_seeds("wide")
    answer = bnlab_says("compare", "wide", "--out", "figures")
    assert answer.status == 0
    assert "curves.png" in answer.err
    assert Path("figures/curves.svg").exists()


def test_an_instrument_that_nobody_knows_or_has_recorded_is_said(bnlab_says: Say) -> None:
    two_seeds("wide")
    answer = bnlab_says("compare", "wide", "-d", "satration", "--no-figures")
    assert answer.status == 2
    assert "Did you mean saturation" in answer.err
    answer = bnlab_says("compare", "wide", "-d", "sharpness", "--no-figures")
    assert answer.status == 0
    assert "sharpness: none of these runs has recorded it" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("by", ["arm", "run"])
def test_figures_that_cannot_be_written_are_told_after_the_answer(bnlab_says: Say, by: str) -> None:
    Path("runs/comparisons").write_text("a file stands here")
    answer = bnlab_says("compare", "mine", "--by", by)
    assert answer.status == 0
    assert "saturation" in answer.out
    (line,) = [line for line in answer.err.splitlines() if line.startswith("warning: ")]
    assert "curves.svg cannot be written" in line
    answer = bnlab_says("compare", "mine", "--by", by, "--json")
    assert (answer.status, json.loads(answer.out)["figures"]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["arm", "run"])
def test_where_their_place_was_named_that_is_an_error(bnlab_says: Say, by: str) -> None:
    Path("taken").write_text("a file stands here")
    answer = bnlab_says("compare", "mine", "--by", by, "--out", "taken")
    assert answer.status == 1
    assert "saturation" in answer.out
    assert "error: " in answer.err


@pytest.mark.slow
def test_settings_that_no_label_names_are_told(bnlab_says: Say) -> None:
    assert "other settings" not in bnlab_says("compare", "mine", "--no-figures").out
    words = ["data=synthetic", "model.width=16", "train.steps=20", "norm=layer", "optim.lr=0.5", "seed=3"]
    other = bnlab.train(words)
    (batch,) = [path.name for path in Path("runs/mine").glob("batch-*")]
    said = bnlab_says("compare", batch, other.run_id, "--no-figures").out
    line = next(line for line in said.splitlines() if "other settings" in line)
    assert line.startswith("They differ in other settings too: seed, optim.lr. All: bnlab diff ")
    assert bnlab_says(*shlex.split(line.partition(" All: bnlab ")[2])).status == 0
