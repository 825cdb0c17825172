import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
