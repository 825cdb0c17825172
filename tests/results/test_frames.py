import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bnlab

WORDS = ["data=synthetic", "model.width=16", "train.log_every=10"]
BAD = [*WORDS, "train.steps=40", "norm=none", "optim.lr=1e5"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bnlab.RunSummary, bnlab.RunSummary]:
    """The folder of two runs, one that finished and one that diverged, and their summaries."""
    runs = tmp_path_factory.mktemp("trained")
    return runs, bnlab.train([*WORDS, "train.steps=30", "seed=2"], runs=runs), bnlab.train(BAD, runs=runs)


Trained = tuple[Path, bnlab.RunSummary, bnlab.RunSummary]


@pytest.fixture
def two_runs(trained: Trained, tmp_path: Path) -> Trained:
    """The same, in the folder that commands look into, to be changed at will."""
    shutil.copytree(trained[0], tmp_path / "runs")
    return (tmp_path / "runs" / "single", *trained[1:])


@pytest.mark.slow
def test_runs_and_curves_are_data_frames_with_what_the_files_say(two_runs: Trained) -> None:
    folder, good, bad = two_runs
    runs = bnlab.read_runs().set_index("run_id")
    assert set(runs.index) == {good.run_id, bad.run_id}
    assert runs.loc[good.run_id, ["status", "seed", "norm", "optim.lr", "model.width"]].tolist() == [
        *["finished", 2, "batch", 0.1, 16]
    ]
    assert runs.loc[good.run_id, "test_accuracy"] == good.test_accuracy
    curves = bnlab.read_curves(folder / good.run_id)
    assert list(curves.columns) == ["run_id", "kind", "step", "split", "name", "key", "value"]
    end = curves.query("kind == 'eval' and split == 'test' and key == 'accuracy'")
    assert end["value"].tolist() == [good.test_accuracy]
    losses = bnlab.read_curves(folder / bad.run_id).query("kind == 'step' and key == 'loss'")["value"]
    assert not math.isfinite(losses.iloc[-1])


def test_frames_of_no_runs_are_empty() -> None:
    assert bnlab.read_runs().empty
    assert bnlab.read_curves().empty


def test_a_damaged_line_costs_a_run_its_tail_and_not_the_others_their_curves(
    two_runs: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    folder, cut, whole = two_runs
    metrics = folder / cut.run_id / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:5], "damaged", *lines[5:]]) + "\n")
    curves = bnlab.read_curves()
    assert set(curves["run_id"]) == {whole.run_id, cut.run_id}
    assert curves.query("run_id == @cut.run_id and kind == 'end'").empty
    assert "metrics.jsonl, line 6 is damaged" in caplog.text


def test_a_damaged_run_is_one_row_that_says_what_is_wrong(two_runs: Trained) -> None:
    folder, damaged, _ = two_runs
    (folder / damaged.run_id / "manifest.json").write_text("")
    runs = bnlab.read_runs().set_index("run_id")
    assert runs["status"].value_counts().to_dict() == {"diverged": 1, "failed": 1}
    assert "manifest.json cannot be read" in runs.loc[damaged.run_id, "problem"]


@pytest.mark.slow
def test_300_runs_are_read_whole_and_without_torch(tmp_path: Path) -> None:  # how fast: scripts/bench_reading.py
    run = Path(bnlab.train(["data=synthetic", "train.steps=200"]).folder)
    for number in range(300):
        shutil.copytree(run, tmp_path / "many" / f"run{number}", ignore=shutil.ignore_patterns("*.pt", "events*"))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    program = (
        "import sys\nfrom bnlab.results.frames import read_curves, read_runs\n"
        "print([(len(read('many')), read('many')['run_id'].nunique()) for read in (read_runs, read_curves)])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    num_values = 300 * sum(len(record["values"]) for record in records)
    assert done.stdout.splitlines() == [f"[(300, 300), ({num_values}, 300)]", "False"]


def test_each_value_of_a_curve_stands_beside_its_record(two_runs: Trained) -> None:
    folder, _, bad = two_runs
    run = folder / bad.run_id
    with (run / "metrics.jsonl").open("a") as file:  # whatever the last loss of this run was
        last = {"kind": "step", "step": 99, "split": "train", "name": None, "values": {"loss": None}}
        file.write(json.dumps({**last, "nonfinite": {"loss": "-inf"}}) + "\n")
    expected = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key, value in record["values"].items():
            odd = record.get("nonfinite", {})
            names = [record[name] for name in ("kind", "step", "split", "name")]
            expected.append([run.name, *names, key, float(odd.get(key, value))])
    read = bnlab.read_curves(run).astype(object)
    assert repr(read.where(read.notna() | (read.columns == "value"), None).to_numpy().tolist()) == repr(expected)
    assert read["value"].iloc[-1] == -math.inf
