"""Runs that were trained together and interrupted resume together, with the same bits."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import QUICK, Notes, assert_equal, check_once, composed

from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import FinishedMember, Member, Recorder
from bnlab.records import Record, RunSummary
from bnlab.runfolder.folder import RunFolder

Train = Callable[[list[Member]], list[int]]

WORDS = [*QUICK, "train.steps=18"]
ARMS = [["seed=0", "optim.lr=0.1"], ["seed=1", "optim.lr=0.3"], ["seed=0", "optim.lr=0.03"], ["seed=2", "optim.lr=0.1"]]


def members(words: Sequence[str], arms: Sequence[Sequence[str]], place: str) -> list[Member]:
    root = Path(place).absolute()
    configs = [composed(*words, *own) for own in arms]
    return [Member(config, RunFolder(root / str(i))) for i, config in enumerate(configs)]


def trained_in_one_go(words: Sequence[str], arms: Sequence[Sequence[str]]) -> list[Member]:
    """Return a cohort that was never interrupted. Tests only read it, so those of one cohort share it."""
    key = repr((words, arms))
    if key not in _whole:
        _whole[key] = members(words, arms, f"{_SHARED.name}/{len(_whole)}")
        train(_whole[key])
    return _whole[key]


_SHARED = tempfile.TemporaryDirectory(prefix="bnlab-whole-cohorts-")
_whole: dict[str, list[Member]] = {}


def copied(whole: Sequence[Member], place: str) -> list[Member]:
    """Return a cohort that has ended, in folders of its own: bytes and times of files are those of another one."""
    root = Path(place).absolute()
    for number, member in enumerate(whole):
        shutil.copytree(member.folder.path, root / str(number))
    return [Member(member.config, RunFolder(root / str(number))) for number, member in enumerate(whole)]


def train(cohort: list[Member], **options: Any) -> list[RunSummary]:
    return run_cohort(cohort, "vectorized", **options)


class Interruptions:
    """Interrupts a cohort as soon as some number of its runs' checkpoints is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_left = 0
        for keeper in (Recorder, FinishedMember):
            monkeypatch.setattr(keeper, "keep_state", self._interrupting(keeper.keep_state))

    def _interrupting(self, keep: Callable[..., None]) -> Callable[..., None]:
        def keep_and_interrupt(keeper: Any, step: int, state: dict[str, Any]) -> None:
            keep(keeper, step, state)
            self.num_left -= 1
            if self.num_left == 0:
                raise KeyboardInterrupt

        return keep_and_interrupt

    def train(self, cohort: list[Member], num_written: int) -> list[RunSummary] | None:
        """Train a cohort until this many of its checkpoints are written, or to its end."""
        self.num_left = num_written
        try:
            return train(cohort)
        except KeyboardInterrupt:
            return None


@pytest.fixture
def interruptions(monkeypatch: pytest.MonkeyPatch) -> Interruptions:
    check_once(monkeypatch)
    return Interruptions(monkeypatch)


def resumed_at(member: Member) -> list[int]:
    return [one["step"] for one in member.folder.read_manifest().get("resumed", [])]


SHORT = [*QUICK, "train.steps=10", "diagnostics.schedule.at=[0,3,7]"]
"""Two checkpoints, at 4 and 8: the second resumption is that of a cohort that has been resumed."""

SETTINGS = {
    "all diagnostics": [
        *["diagnostics=full", "diagnostics.schedule.every=3", "diagnostics.heavy_schedule.every=5"],
        *["diagnostics.probe_size=64", "diagnostics.population_size=120", "model.depth=1"],
    ],
    "groups, adam": ["norm=group", "norm.num_groups=2", "optim=adam", "optim.weight_decay=0.01"],
    "no norm, momentum and decay": [
        *["norm=none", "optim.momentum=0.9", "optim.weight_decay=0.01", "schedule.name=cosine"],
    ],
    "noise, accumulation and clipping": [
        *["norm=batch_noisy", "model.dropout=0.2", "train.accumulation=2", "optim.clip_norm=0.5"],
    ],
    "a cnn, augmented": [
        *["model=cnn", "model.num_stages=1", "model.width=4", "data.flip=true", "data.crop_padding=1"],
        "norm=batch_renorm",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_cohort_that_is_interrupted_at_each_of_its_checkpoints_ends_with_the_same_bits(
    setting: str, interruptions: Interruptions
) -> None:
    words, arms = [*SHORT, *SETTINGS[setting]], ARMS[:3]
    whole, pieces = trained_in_one_go(words, arms), members(words, arms, "pieces")
    while interruptions.train(pieces, len(arms)) is None:
        pass
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
        assert resumed_at(one) == [4, 8]


@pytest.mark.slow
@pytest.mark.parametrize(
    # before any checkpoint is whole (the first is there, the last is missing), and when one is (none, some and all but
    # the last of the next), and when two are
    "num_written",
    [pytest.param(n, marks=() if n == 6 else pytest.mark.slow) for n in (1, 3, 4, 6, 7, 9)],
)
def test_a_cohort_that_is_interrupted_between_the_checkpoints_of_its_runs_resumes_from_the_last_that_all_have(
    num_written: int, interruptions: Interruptions
) -> None:
    whole, pieces = trained_in_one_go(WORDS, ARMS), members(WORDS, ARMS, "pieces")
    assert interruptions.train(pieces, num_written) is None
    assert interruptions.train(pieces, 1) is None  # and again, at the first run's next one
    train(pieces)
    full = num_written // len(ARMS) * 4
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
        assert resumed_at(one) == ([full, full] if full else [])


DIVERGING = [*WORDS, "norm=none", "model.depth=5", "model.activation=relu", "train.log_every=2"]
WITH_ONE_THAT_DIVERGES = [["seed=1", "optim.lr=0.1"], ["seed=1", "optim.lr=1e4"], ["seed=2", "optim.lr=0.05"]]


@pytest.mark.slow
def test_a_diverged_run_has_its_result_at_once_and_the_others_continue_without_it(interruptions: Interruptions) -> None:
    whole = members(DIVERGING, WITH_ONE_THAT_DIVERGES, "whole")
    pieces = members(DIVERGING, WITH_ONE_THAT_DIVERGES, "pieces")
    statuses = [summary.status for summary in train(whole)]
    assert statuses == ["finished", "diverged", "finished"]
    assert interruptions.train(pieces, 2 * 2) is None
    result = pieces[1].folder.read_finished()
    assert result is not None
    assert (result.status, result.cached) == ("diverged", True)
    assert [summary.status for summary in train(pieces)] == statuses
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
    assert [resumed_at(one) for one in pieces] == [[8], [], [8]]


def interrupt_after_endings(cohort: list[Member], num_endings: int, status: str) -> None:
    """Train a cohort and interrupt it when some number of its runs has ended with a status."""
    with pytest.MonkeyPatch.context() as patched:
        take, endings = Recorder.take, []

        def take_and_interrupt(recorder: Recorder, record: Record) -> None:
            take(recorder, record)
            if record.kind == "end" and record.name == status:
                endings.append(record)
                if len(endings) == num_endings:
                    raise KeyboardInterrupt

        patched.setattr(Recorder, "take", take_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(cohort)


@pytest.mark.slow
@pytest.mark.parametrize("num_endings", [1, 3])
def test_a_cohort_that_is_interrupted_between_the_ends_of_its_runs_resumes_from_the_last_checkpoint(
    num_endings: int,
) -> None:
    whole, pieces = trained_in_one_go(WORDS, ARMS), members(WORDS, ARMS, "pieces")
    interrupt_after_endings(pieces, num_endings, "finished")
    kept = [(member.folder.path / "checkpoint.pt").read_bytes() for member in pieces[:num_endings]]
    if num_endings == 1:
        interrupt_after_endings(pieces, 1, "finished")  # and again, so that the first is trained along twice
    notes = Notes()
    train(pieces, observer=notes)
    assert (notes.resumed_at, notes.warnings) == ([16], [])
    assert [(member.folder.path / "checkpoint.pt").read_bytes() for member in pieces[:num_endings]] == kept
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
        assert {path.name for path in one.folder.path.glob("*.pt")} == {"checkpoint.pt"}


@pytest.mark.slow
def test_a_cohort_in_which_a_run_diverged_after_the_last_checkpoint_resumes_from_there(
    interruptions: Interruptions,
) -> None:
    words = [*DIVERGING, "train.checkpoint_every=3"]
    arms = [*WITH_ONE_THAT_DIVERGES, ["seed=0", "optim.lr=0.1"]]
    whole, pieces = members(words, arms, "whole"), members(words, arms, "pieces")
    summaries = train(whole)
    assert 3 < (summaries[1].steps or 0) < 6
    assert [summary.status for summary in summaries] == ["finished", "diverged", "finished", "finished"]
    interrupt_after_endings(pieces, 1, "diverged")
    assert pieces[1].folder.read_finished() is not None
    assert interruptions.train(pieces, 1) is None  # on to 6, which only the first run writes
    notes = Notes()
    train(pieces, observer=notes)
    assert notes.resumed_at == [3]
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
    assert [resumed_at(one) for one in pieces] == [[3, 3], [], [3, 3], [3, 3]]


@pytest.mark.slow
@pytest.mark.parametrize("gone", [[0], [1, 3], [0, 1, 2, 3]])
def test_runs_that_are_trained_again_in_their_cohort_have_the_bits_they_had_and_the_others_keep_their_files(
    gone: list[int], interruptions: Interruptions
) -> None:
    whole = trained_in_one_go(WORDS, ARMS)
    pieces = copied(whole, "pieces")
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for i, member in enumerate(pieces)
        for path in sorted(member.folder.path.iterdir())
        if i not in gone
    }
    for i in gone:
        (pieces[i].folder.path / "manifest.json").unlink()
    while interruptions.train(pieces, len(ARMS)) is None:
        pass
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    for i, (one, other) in enumerate(zip(pieces, whole, strict=True)):
        assert_equal(one.folder, other.folder)
        assert resumed_at(one) == ([4, 8, 12, 16] if i in gone else [])
        assert not list(one.folder.path.glob("cohort_state*"))
        assert not one.folder.previous_checkpoint_path.exists()


def test_a_cohort_that_an_older_version_left_unfinished_resumes_from_its_states_of_finished_runs(
    interruptions: Interruptions,
) -> None:
    whole = trained_in_one_go(WORDS, ARMS)
    pieces = copied(whole, "pieces")
    (pieces[1].folder.path / "manifest.json").unlink()
    assert interruptions.train(pieces, 3 * len(ARMS)) is None
    for member in pieces:
        for path in member.folder.path.glob("cohort_state*"):
            path.rename(path.with_name(path.name.replace("cohort_state", "company")))
    assert {path.name for path in pieces[0].folder.path.glob("company*")} == {"company.pt", "company.previous.pt"}
    notes = Notes()
    train(pieces, observer=notes)
    assert (notes.resumed_at, notes.warnings) == ([12], [])
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)
        assert {path.name for path in one.folder.path.glob("*.pt")} == {"checkpoint.pt"}


def test_one_damaged_checkpoint_sends_the_whole_cohort_to_the_one_before(interruptions: Interruptions) -> None:
    whole, pieces = trained_in_one_go(WORDS, ARMS), members(WORDS, ARMS, "pieces")
    interruptions.train(pieces, 3 * len(ARMS))
    pieces[2].folder.checkpoint_path.write_bytes(b"x")
    notes = Notes()
    train(pieces, observer=notes)
    (warning,) = notes.warnings
    assert "renamed to checkpoint.pt.damaged. It resumes from step 8." in warning
    for one, other in zip(pieces, whole, strict=True):
        assert_equal(one.folder, other.folder)


@pytest.mark.slow
def test_a_checkpoint_of_another_cohort_is_not_used(interruptions: Interruptions) -> None:
    pieces = members(WORDS, ARMS, "pieces")
    interruptions.train(pieces, len(ARMS))
    whole, smaller = members(WORDS, ARMS[:3], "whole"), members(WORDS, ARMS[:3], "pieces")
    train(whole)
    notes, why = Notes(), "written by another program (other runs); not used. It is trained from the beginning."
    train(smaller, observer=notes)
    assert len(notes.warnings) == 3
    assert all(why in warning for warning in notes.warnings)
    for one, other in zip(smaller, whole, strict=True):
        assert_equal(one.folder, other.folder)
