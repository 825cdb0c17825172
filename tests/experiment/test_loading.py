"""What `load_model` says of weights that are damaged; that it gives them back is in tests/test_experiment.py."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

import bnlab
from bnlab.cli.app import main

QUICK = ["data=synthetic", "train.steps=20", "model.width=8", "accept=[statistics_not_settled]"]


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        ("bnlab train seed=1", "Train the run again: bnlab train seed=1 --again"),
        ("bnlab train seed=1 --again", "Train the run again: bnlab train seed=1 --again"),
        ("study.py", "Remove {folder}, then the same command trains this run again: study.py"),
    ],
)
def test_of_a_finished_run_with_damaged_weights_it_is_told_what_to_type(
    command: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNLAB_COMMAND", command)
    folder = Path(bnlab.train(QUICK).folder)
    (folder / "checkpoint.pt").write_bytes(b"not weights")
    with pytest.raises(bnlab.RunError, match=r"checkpoint\.pt is damaged") as raised:
        bnlab.load_model(folder)
    assert str(raised.value).endswith(f"). {cure.format(folder=folder)}")


@pytest.mark.slow
def test_what_is_told_of_a_run_of_a_sweep_with_damaged_weights_trains_that_run_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*QUICK, "seed=0,1,2", "name=s", "sweep.engine=vectorized", "diagnostics=none"]
    command = ["bnlab", "sweep", *words, "-q", "-j", "1"]
    monkeypatch.setattr(sys, "argv", command)

    def sweep() -> None:
        with pytest.raises(SystemExit, match=r"^0$"):
            main()

    sweep()
    folders = sorted(path.parent.absolute() for path in Path("runs/s").glob("*/manifest.json"))
    before = [[(folder / name).read_bytes() for folder in folders] for name in ("checkpoint.pt", "metrics.jsonl")]
    times = [(folder / "manifest.json").stat().st_mtime_ns for folder in folders]
    (folders[1] / "checkpoint.pt").write_bytes(b"not weights")
    with pytest.raises(bnlab.RunError) as raised:
        bnlab.load_model(folders[1])
    told = str(raised.value)
    assert f"Remove {folders[1]}, then the same command trains this run again: {shlex.join(command)}" in told
    shutil.rmtree(folders[1])
    sweep()
    after = [[(folder / name).read_bytes() for folder in folders] for name in ("checkpoint.pt", "metrics.jsonl")]
    assert after == before
    again = [(folder / "manifest.json").stat().st_mtime_ns for folder in folders]
    assert [one == other for one, other in zip(times, again, strict=True)] == [True, False, True]


def test_a_norm_whose_module_has_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone_layers.py").write_text(
        "import torch\n\n\nclass Mine(torch.nn.BatchNorm1d):\n    subtracts_mean = True\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(Path.cwd())
    folder = bnlab.train([*QUICK, "norm=gone_layers:Mine"]).folder
    monkeypatch.delitem(sys.modules, "gone_layers")
    Path("gone_layers.py").unlink()
    with pytest.raises(bnlab.ConfigError, match="there is no module gone_layers"):
        bnlab.load_model(folder)


def test_weights_that_are_not_kept_are_missed_by_nothing_else() -> None:
    words = [*QUICK, "train.keep_weights=false"]
    folder = Path(bnlab.train(QUICK).folder)
    records = (folder / "metrics.jsonl").read_bytes()
    shutil.rmtree(folder)
    summary = bnlab.train(words)
    assert Path(summary.folder) == folder  # the numbers are the same, and so is the id
    assert (folder / "metrics.jsonl").read_bytes() == records
    assert not list(folder.glob("*.pt"))
    assert bnlab.train(words).cached
    with pytest.raises(bnlab.RunError) as raised:
        bnlab.load_model(folder)
    assert str(raised.value) == (
        f"{folder.name} was trained with train.keep_weights=false, and has no weights. Train it again with "
        "train.keep_weights=true and --again."
    )
    bnlab.train([*QUICK, "train.keep_weights=true"], again=True)
    assert (folder / "metrics.jsonl").read_bytes() == records
    assert not bnlab.load_model(folder).training


@pytest.mark.slow
def test_a_sweep_that_keeps_no_weights_leaves_no_training_state(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*QUICK, "train.keep_weights=false", "train.checkpoint_every=5", "seed=0,1", "name=s"]
    monkeypatch.setattr(sys, "argv", ["bnlab", "sweep", *words, "-q", "-j", "1"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert len(list(Path("runs/s").glob("*-s?-*/summary.json"))) == 2
    assert not list(Path("runs/s").rglob("*.pt"))
