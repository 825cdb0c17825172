import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnlab.config.compose import compose_run
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member
from bnlab.identity.run_id import run_id
from bnlab.runfolder.folder import RunFolder
from bnlab.training.interruption import Interruption

Say = Callable[..., Any]
QUICK = [
    *["data=synthetic", "train.steps=30", "model.width=8", "train.log_every=5", "accept=[statistics_not_settled]"],
    *["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=2"],
]


@pytest.fixture(autouse=True)
def _temporary_places_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def trained(bnlab_says: Say, *words: str) -> Path:
    keys = {word.partition("=")[0] for word in words}
    quick = [word for word in QUICK if word.partition("=")[0] not in keys]
    return Path(json.loads(bnlab_says("train", "--json", "-q", *quick, *words).out)["folder"])


def content(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["norm=batch_noisy", "model.dropout=0.2"],
        *(pytest.param(words, marks=pytest.mark.slow) for words in ([], ["train.checkpoint_every=7"])),
        # two threads that wait for each other beside other tests: 0.3 CPU-s per step
        pytest.param(["threads=2", "train.steps=3"], marks=pytest.mark.slow),
    ],
)
def test_a_run_repeated_on_the_same_machine_is_bit_identical_and_is_left_alone(
    bnlab_says: Say, tmp_path: Path, words: list[str]
) -> None:
    folder = trained(bnlab_says, *words)
    before = content(tmp_path / "runs")
    answer = bnlab_says("rerun", str(folder))
    assert answer.status == 0
    num_records = len((folder / "metrics.jsonl").read_text().splitlines())
    assert f"bit-identical: all {num_records} records" in answer.out
    assert "what has changed" not in answer.out
    assert re.search(r"step (\d+)/\1\b", answer.err)
    assert content(tmp_path / "runs") == before
    assert not list((tmp_path / "temporary").glob("bnlab*"))


@pytest.mark.slow
def test_a_run_is_known_by_its_name_too_and_json_has_all_there_is_to_say(bnlab_says: Say) -> None:
    folder = trained(bnlab_says)
    answer = bnlab_says("rerun", "--json", "-q", folder.name)
    facts = json.loads(answer.out)
    assert (answer.status, answer.err) == (0, "")
    assert list(facts) == [
        *["run_id", "verdict", "agrees", "num_records", "first_difference", "largest_loss_difference", "figures"],
        *["changed", "folder"],
    ]
    assert (facts["run_id"], facts["verdict"], facts["agrees"]) == (folder.name, "identical", True)
    assert facts["figures"]["test_loss"]["before"] == facts["figures"]["test_loss"]["after"] is not None
    assert (facts["first_difference"], facts["folder"], facts["changed"]) == (None, None, {})


@pytest.mark.slow
def test_a_run_with_other_numbers_is_status_1_with_the_first_difference(bnlab_says: Say) -> None:
    folder = trained(bnlab_says)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"kind": "step"' in line)
    facts = json.loads(lines[at])
    facts["values"]["loss"] += 0.5
    lines[at] = json.dumps(facts)
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["versions"]["torch"] = "2.9.0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    answer = bnlab_says("rerun", "-q", "--json", str(folder))
    assert answer.status == 1
    told = json.loads(answer.out)
    assert told["first_difference"]["step"] == 5
    assert told["first_difference"]["what"] == "train loss"
    assert told["first_difference"]["before"] == facts["values"]["loss"]
    assert told["changed"]["versions.torch"]["before"] == "2.9.0"
    answer = bnlab_says("rerun", str(folder))
    assert answer.status == 1
    assert "different numbers" in answer.out
    assert "first: step 5, train loss:" in answer.out
    assert "versions.torch" in answer.out
    assert bnlab_says("rerun", "-q", str(folder)).out == ""


@pytest.mark.slow
def test_the_repetition_can_be_kept_but_not_in_the_runs_own_place(bnlab_says: Say, tmp_path: Path) -> None:
    folder = trained(bnlab_says)
    answer = bnlab_says("rerun", str(folder), "--keep", str(tmp_path / "kept"))
    assert answer.status == 0
    kept = tmp_path / "kept" / folder.name
    assert str(kept) in answer.out
    assert (kept / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert bnlab_says("rerun", "-q", str(folder), "--keep", str(tmp_path / "kept")).status == 0
    before = content(folder)
    answer = bnlab_says("rerun", str(folder), "--keep", str(folder.parent))
    assert answer.status == 2
    assert "is the folder of the run itself. Give another folder." in answer.err
    assert content(folder) == before


@pytest.mark.slow
def test_a_run_of_a_cohort_is_repeated_in_its_cohort(bnlab_says: Say, tmp_path: Path) -> None:
    words = [["seed=0", "optim.lr=0.1"], ["seed=1", "optim.lr=0.1"], ["seed=0", "optim.lr=0.3"]]
    configs = [compose_run([*QUICK, *own]) for own in words]
    members = [Member(config, RunFolder(tmp_path / "runs" / "sweep" / run_id(config))) for config in configs]
    run_cohort(members, "vectorized")
    for member in members[1:]:
        answer = bnlab_says("rerun", str(member.folder.path))
        assert answer.status == 0
        assert "bit-identical" in answer.out
        assert "what has changed" not in answer.out  # neither is the engine
        assert answer.err.count(": 30 steps\n") == 1


def test_a_diverged_run_is_repeated_too(bnlab_says: Say) -> None:
    folder = trained(bnlab_says, "norm=none", "optim.lr=1e4", "train.steps=200")
    answer = bnlab_says("rerun", str(folder))
    assert answer.status == 0
    assert "diverged" in answer.out
    assert "bit-identical" in answer.out


@pytest.mark.slow
def test_a_run_on_a_device_that_is_not_here_is_repeated_on_another_one(bnlab_says: Say) -> None:
    folder = trained(bnlab_says)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "device": "cuda:7"}))
    answer = bnlab_says("rerun", "--json", "-q", str(folder))
    assert json.loads(answer.out)["changed"]["device"] == {"before": "cuda:7", "after": "cpu"}


def refused(bnlab_says: Say, run: str | Path) -> str:
    answer = bnlab_says("rerun", str(run))
    assert (answer.status, answer.out) == (2, "")
    lines = answer.err.strip().splitlines()
    assert 1 <= len(lines) <= 3
    return str(answer.err)


def test_what_cannot_be_repeated_is_wrong_input(bnlab_says: Say) -> None:
    folder = trained(bnlab_says)
    (folder.parent / "empty").mkdir()
    assert "there are no runs in" in refused(bnlab_says, folder.parent / "empty")
    assert refused(bnlab_says, "no-such-run").endswith("Known: single.\n")
    shutil.copytree(folder, folder.parent / "another")
    assert "single holds 2 runs, where one is wanted" in refused(bnlab_says, "single")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "run_id": "batch-mlp-x-lr1-s0-00000000"}))
    assert "is that of batch-mlp-x-lr1-s0-00000000: the folder was copied" in refused(bnlab_says, folder)
    del manifest["config"]["placement"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "cannot be repeated: the run was trained by another version of bnlab" in refused(bnlab_says, folder)
    (folder / "manifest.json").write_text("{")
    assert "manifest.json cannot be read" in refused(bnlab_says, folder)


@pytest.mark.slow
def test_of_a_name_that_two_sweeps_have_none_is_repeated(bnlab_says: Say) -> None:
    folder = trained(bnlab_says)
    other = folder.parent.parent / "other" / folder.name
    shutil.copytree(folder, other)
    assert f"is in 2 places. Give the folder of one: {other}, {folder}\n" in refused(bnlab_says, folder.name)
    assert bnlab_says("rerun", "-q", str(other)).status == 0


def test_an_unfinished_run_has_nothing_to_compare_with(bnlab_says: Say, tmp_path: Path) -> None:
    config = compose_run(QUICK)
    folder = RunFolder(tmp_path / "runs" / "single" / run_id(config))
    interruption = Interruption()
    interruption.is_asked = True
    run_cohort([Member(config, folder)], "sequential", interruption=interruption)
    assert "is unfinished (interrupted): there is no result to compare with" in refused(bnlab_says, folder.path)


@pytest.mark.slow
def test_data_that_have_changed_since_are_told(bnlab_says: Say, tmp_path: Path) -> None:
    def write(seed: int) -> None:
        images = np.random.RandomState(seed).rand(200, 4)
        np.savez(tmp_path / "x.npz", images=images, labels=(images[:, 0] > 0.5).astype(int))

    write(0)
    folder = trained(bnlab_says, "data=npz", f"data.path={tmp_path / 'x.npz'}", "train.batch_size=20")
    assert bnlab_says("rerun", "-q", str(folder)).status == 0
    write(1)
    assert "would be another run today: its data or" in refused(bnlab_says, folder)
