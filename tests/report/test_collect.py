import math
from pathlib import Path

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
