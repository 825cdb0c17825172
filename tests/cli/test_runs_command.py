"""`bnlab diff` and `bnlab runs`, on runs that are written by hand."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.results.swept import swept_keys
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows
from bnlab.runfolder.keeping import MARKS, read_marks

Say = Callable[..., Any]
BATCH, NONE = (f"{norm}-mlp-digits-lr0.1-s0-00000000" for norm in ("batch", "none"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "s"
    return write_runs(
        folder,
        lambda norm, _, seed: {"accuracy": 0.9 if norm == "batch" else 0.8, "loss": 0.5 + seed},
        lrs=[0.1],
        seeds=[0, 1],
    )


@pytest.fixture
def sweep(written: Path, tmp_path: Path) -> Path:
    """A sweep of two arms and two seeds, named s."""
    return Path(shutil.copytree(written, tmp_path / "runs" / "s"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def test_diff_tells_the_settings_that_differ_and_the_results_of_both(bnlab_says: Say, sweep: Path) -> None:
    found = json.loads(bnlab_says("diff", "batch-mlp-digits-lr0.1-s0", str(sweep / NONE), "--json").out)
    assert found["runs"] == [BATCH, NONE]
    assert found["settings"] == {"norm": ["batch", "none"]}
    assert found["outcomes"]["validation_accuracy"] == [0.9, 0.8]
    told = bnlab_says("diff", BATCH, NONE)
    assert told.status == 0
    (line,) = [line.split() for line in told.out.split("\n") if "validation_accuracy" in line]
    assert line == ["validation_accuracy", "90.00%", "80.00%", "-10.00", "points"]


def test_diff_of_equal_settings_says_so(bnlab_says: Say, sweep: Path) -> None:
    assert "All settings that can change the numbers are equal." in bnlab_says("diff", BATCH, str(sweep / BATCH)).out


def test_the_last_runs_are_no_options(bnlab_says: Say, sweep: Path) -> None:
    found = json.loads(bnlab_says("diff", "-1", "-2", "--json").out)
    assert len(set(found["runs"])) == 2
    assert set(found["runs"]) <= names(sweep)
    assert "there are 4 runs" in bnlab_says("diff", "-1", "-9").err


@pytest.mark.parametrize("answer", ["", "n\n", "no\n"])
def test_without_a_yes_nothing_is_removed(
    bnlab_says: Say, sweep: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    before = names(sweep)
    told = bnlab_says("runs", "rm", BATCH)
    assert (told.status, names(sweep)) == (2, before)
    assert "Remove 1 run (0.0 MB)? [y/N]" in told.err
    assert "nothing was removed" in told.err


def test_a_yes_removes_the_runs_that_were_named_and_no_others(
    bnlab_says: Say, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    left = names(sweep) - {BATCH}
    assert bnlab_says("runs", "rm", BATCH).status == 0
    assert names(sweep) == left
    assert bnlab_says("runs", "rm", "s", "--where", "seed=1", "--yes").status == 0
    assert names(sweep) == {NONE}
    assert (sweep / "sweep.json").exists()


def test_a_whole_sweep_goes_with_its_folder(bnlab_says: Say, sweep: Path) -> None:
    (sweep / "page.html").write_text("")
    assert bnlab_says("runs", "rm", "s", "--yes").status == 0
    assert not sweep.exists()


def test_no_run_goes_while_one_of_them_is_in_training(bnlab_says: Say, sweep: Path) -> None:
    before = names(sweep)
    with RunFolder(sweep / NONE).locked():
        told = bnlab_says("runs", "rm", "s", "--yes")
    assert "is being trained by another process" in told.err
    assert (told.status, names(sweep)) == (1, before)


def test_pruning_removes_what_failed_or_was_interrupted(bnlab_says: Say, sweep: Path) -> None:
    manifest = sweep / NONE / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "status": "interrupted"}))
    left = names(sweep) - {NONE}
    assert bnlab_says("runs", "prune", "--yes").status == 0
    assert names(sweep) == left
    assert "nothing is removed" in bnlab_says("runs", "prune", "--yes").err


def test_tags_and_a_note_are_listed_found_and_kept_apart_from_settings(bnlab_says: Say, sweep: Path) -> None:
    bnlab_says("runs", "tag", "good,thesis", BATCH)
    bnlab_says("runs", "tag", "thesis", "s", "--where", "norm=none")
    bnlab_says("runs", "note", BATCH, "lr fits")
    assert read_marks(sweep / BATCH).tags == ("good", "thesis")
    assert bnlab_says("runs", "note", BATCH).out == "lr fits\n"
    rows = json.loads(bnlab_says("list", "runs", "--where", "tags=thesis", "--json").out)
    assert len(rows) == 3
    rows = json.loads(bnlab_says("list", "runs", "--where", "tags=good,other", "--json").out)
    assert [(row["run_id"], row["note"]) for row in rows] == [(BATCH, "lr fits")]
    assert "good, thesis" in bnlab_says("list", "runs").out
    assert swept_keys(read_run_rows(sweep)) == ["norm", "seed"]
    bnlab_says("runs", "tag", "good,thesis", "s", "--remove")
    bnlab_says("runs", "note", BATCH, "")
    assert not (sweep / BATCH / MARKS).exists()


@pytest.mark.parametrize("tag", ["two words", "a=b", "x<1"])
def test_a_tag_is_a_word_that_a_condition_can_name(bnlab_says: Say, sweep: Path, tag: str) -> None:
    told = bnlab_says("runs", "tag", tag, BATCH)
    assert told.status == 2
    assert "a tag is one word" in told.err
    assert not (sweep / BATCH / MARKS).exists()


def test_runs_are_moved_under_their_names(bnlab_says: Say, sweep: Path) -> None:
    told = bnlab_says("runs", "mv", BATCH, NONE, "kept")
    kept = sweep.parent / "kept"
    assert told.out.split() == [str(kept / BATCH), str(kept / NONE)]
    assert names(kept) == {BATCH, NONE}
    shutil.copytree(kept / NONE, sweep / NONE)
    told = bnlab_says("runs", "mv", str(kept / NONE), "s")
    assert told.status == 2
    assert "is there already" in told.err
    assert names(kept) == {BATCH, NONE}


def test_runs_of_one_name_do_not_end_up_in_each_other(bnlab_says: Say, sweep: Path) -> None:
    shutil.copytree(sweep / NONE, sweep.parent / "other" / NONE)
    told = bnlab_says("runs", "mv", str(sweep / NONE), str(sweep.parent / "other" / NONE), "kept")
    assert told.status == 2
    assert f"two of these runs are named {NONE}" in told.err
    assert (sweep / NONE).exists()


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize("target", ["./kept", "../kept", "{tmp}/kept"])
def test_a_path_is_no_name_among_the_runs(bnlab_says: Say, tmp_path: Path, target: str) -> None:
    place = target.format(tmp=tmp_path / "elsewhere")
    assert bnlab_says("runs", "mv", BATCH, place).out.strip() == str(Path(place).absolute() / BATCH)
    assert (Path(place) / BATCH / "manifest.json").exists()
    shutil.rmtree(place)


def test_a_sweep_that_is_named_twice_is_removed_once(bnlab_says: Say, sweep: Path) -> None:
    told = bnlab_says("runs", "rm", "s", "s", "--yes")
    assert (told.status, sweep.exists()) == (0, False)


def test_a_note_may_be_a_negative_number(bnlab_says: Say, sweep: Path) -> None:
    bnlab_says("runs", "note", BATCH, "-5")
    assert read_marks(sweep / BATCH).note == "-5"


@pytest.mark.usefixtures("sweep")
def test_without_any_mark_no_run_has_the_tag(bnlab_says: Say) -> None:
    assert len(json.loads(bnlab_says("list", "runs", "--where", "tags!=thesis", "--json").out)) == 4
    assert json.loads(bnlab_says("list", "runs", "--where", "tags=thesis", "--json").out) == []


def test_a_damaged_mark_is_no_mark(sweep: Path) -> None:
    for text in ("{", "[]", '{"tags": 3}'):
        (sweep / BATCH / MARKS).write_text(text)
        assert read_marks(sweep / BATCH).tags == ()
