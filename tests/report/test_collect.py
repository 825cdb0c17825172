import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bnlab


def test_runs_and_curves_are_data_frames_with_what_the_files_say() -> None:
    words = ["data=synthetic", "model.width=16", "train.log_every=10"]
    good = bnlab.train([*words, "train.steps=30", "seed=2"])
    bad = bnlab.train([*words, "train.steps=60", "norm=none", "optim.lr=1e5"])
    runs = bnlab.read_runs().set_index("run_id")
    assert set(runs.index) == {good.run_id, bad.run_id}
    assert runs.loc[good.run_id, ["status", "seed", "norm", "optim.lr", "model.width"]].tolist() == [
        *["finished", 2, "batch", 0.1, 16]
    ]
    assert runs.loc[good.run_id, "test_accuracy"] == good.test_accuracy
    curves = bnlab.read_curves(Path(good.folder))
    assert list(curves.columns) == ["run_id", "kind", "step", "split", "name", "key", "value"]
    end = curves.query("kind == 'eval' and split == 'test' and key == 'accuracy'")
    assert end["value"].tolist() == [good.test_accuracy]
    losses = bnlab.read_curves(bad.folder).query("kind == 'step' and key == 'loss'")["value"]
    assert not math.isfinite(losses.iloc[-1])


def test_frames_of_no_runs_are_empty() -> None:
    assert bnlab.read_runs().empty
    assert bnlab.read_curves().empty


def test_a_damaged_line_costs_a_run_its_tail_and_not_the_others_their_curves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = bnlab.train(["data=synthetic", "model.width=16", "train.steps=30", "train.log_every=10"])
    cut = bnlab.train(["data=synthetic", "model.width=16", "train.steps=30", "train.log_every=10", "seed=1"])
    metrics = Path(cut.folder) / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:5], "damaged", *lines[5:]]) + "\n")
    curves = bnlab.read_curves()
    assert set(curves["run_id"]) == {whole.run_id, cut.run_id}
    assert curves.query("run_id == @cut.run_id and kind == 'end'").empty
    assert "metrics.jsonl, line 6 is damaged" in caplog.text


def test_a_damaged_run_is_one_row_that_says_what_is_wrong() -> None:
    bnlab.train(["data=synthetic", "model.width=16", "train.steps=20"])
    damaged = bnlab.train(["data=synthetic", "model.width=16", "train.steps=20", "seed=1"])
    (Path(damaged.folder) / "manifest.json").write_text("")
    runs = bnlab.read_runs().set_index("run_id")
    assert runs["status"].value_counts().to_dict() == {"finished": 1, "failed": 1}
    assert "manifest.json cannot be read" in runs.loc[damaged.run_id, "problem"]


def test_300_runs_are_read_in_under_a_second_without_torch(tmp_path: Path) -> None:
    # in seconds of the processor, in which it is not the neighbors that are measured
    run = Path(bnlab.train(["data=synthetic", "train.steps=2000", "train.log_every=10"]).folder)
    for number in range(300):
        shutil.copytree(run, tmp_path / "many" / f"run{number}", ignore=shutil.ignore_patterns("*.pt", "events*"))
    program = (
        "import sys, time, pandas\nfrom bnlab.report.collect import read_curves, read_runs\n"
        "for read in (read_runs, read_curves):\n"
        "    times = []\n"
        "    for _ in range(3):\n"
        "        began = time.process_time(); frame = read('many'); times.append(time.process_time() - began)\n"
        "    print(frame['run_id'].nunique(), min(times))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *answers, saw_torch = done.stdout.splitlines()
    for answer in answers:
        num_runs, duration_s = answer.split()
        assert int(num_runs) == 300
        assert float(duration_s) < 1.0
    assert saw_torch == "False"
