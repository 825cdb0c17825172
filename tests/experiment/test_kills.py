"""A process that trains is killed at random, twenty times, and started again each time until it finishes.

One parent that has imported torch is forked. A kill is a SIGKILL, after which no cleanup can happen.
"""

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import assert_equal, check_once

from bnlab.config.compose import compose_run
from bnlab.errors import RunError
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member, Recorder
from bnlab.runfolder.folder import RunFolder
from bnlab.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork, which keeps these tests quick")

NUM_KILLS = 20
NORM = "norm=batch_noisy"
"""A norm with all that a run has to keep: running statistics, and draws from a random state of its own."""

WORDS = [
    *["data=synthetic", "model.width=16", "model.dropout=0.1", "optim.momentum=0.9", "train.log_every=7"],
    *["train.eval_every=90", "loggers=[]", "accept=[statistics_not_settled]"],
]


def members(place: Path, arms: Sequence[Sequence[str]], *words: str) -> list[Member]:
    configs = [compose_run([*WORDS, *words, *own]) for own in arms]
    return [Member(config, RunFolder(place / str(i))) for i, config in enumerate(configs)]


def train(cohort: Sequence[Member], engine: str) -> None:
    """Train a cohort in this process, with locks of its own: a lock is not inherited across a fork."""
    run_cohort([Member(member.config, RunFolder(member.folder.path)) for member in cohort], engine)


def killed_after(
    seconds: float | None, work: Callable[[], object], has_progressed: Callable[[], bool] = lambda: True
) -> tuple[bool, float]:
    """Do some work in a process that is killed some time after it has progressed.

    Args:
        seconds: From the moment of progress to the kill; None: it is not killed.
        work: What the process does.
        has_progressed: Asked every millisecond until it says so; without it, the time counts from the beginning.

    Returns:
        Whether it was killed, and its lifetime in seconds.
    """
    began = time.perf_counter()
    progressed: float | None = None
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    done, how = 0, 0
    try:
        while not done and (seconds is None or progressed is None or time.perf_counter() - progressed < seconds):
            done, how = os.waitpid(child, os.WNOHANG)
            progressed = time.perf_counter() if progressed is None and has_progressed() else progressed
            time.sleep(0.001)
    finally:  # also when this test is interrupted, or fails
        if not done:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert not done or (os.WIFEXITED(how) and os.WEXITSTATUS(how) == 0)
    return not done, time.perf_counter() - began


def checkpoint_steps(member: Member) -> set[int]:
    """The steps that a run could resume from, found without bnlab's own search."""
    steps = set()
    for path in (member.folder.checkpoint_path, member.folder.previous_checkpoint_path):
        try:
            checkpoint = read_checkpoint(path)
        except RunError:
            continue
        if checkpoint["training"] is not None:
            steps.add(int(checkpoint["step"]))
    return steps


def stamp_of_checkpoint(member: Member) -> int | None:
    try:
        return member.folder.checkpoint_path.stat().st_mtime_ns
    except FileNotFoundError:  # none yet, or being replaced
        return None


def resumed_at(member: Member) -> list[int]:
    try:
        return [one["step"] for one in member.folder.read_manifest().get("resumed", [])]
    except RunError:  # killed before it was written
        return []


def kill_and_resume(
    cohort: list[Member], engine: str, lifetime_s: float, num_kills: int, randomly: random.Random
) -> tuple[int, list[int]]:
    """Kill a cohort up to this many times, and let it finish; return the number of kills and the resumed steps.

    Every other life is counted from its first new checkpoint on, so that the runs progress on a busy machine too; the
    lives between may end before they have begun to train.
    """
    resumed_from: list[int] = []
    for num_killed in range(num_kills):
        wanted = [member for member in cohort if member.folder.read_finished() is None]
        if not wanted:  # the last process was killed after its runs had ended
            return num_killed, resumed_from
        kept = set.intersection(*map(checkpoint_steps, wanted))
        before = len(resumed_at(wanted[0]))
        old = stamp_of_checkpoint(wanted[0])
        was_killed, _ = killed_after(
            randomly.uniform(0.02, lifetime_s),
            lambda: train(cohort, engine),
            lambda: num_killed % 2 == 0 or stamp_of_checkpoint(wanted[0]) != old,  # noqa: B023
        )
        if not was_killed:
            return num_killed, resumed_from
        now = resumed_at(wanted[0])
        if len(now) > before:
            assert now[-1] == max(kept)  # no step before the last checkpoint is repeated
            resumed_from.append(now[-1])
    killed_after(None, lambda: train(cohort, engine))
    return num_kills, resumed_from


def check_kills(place: Path, arms: list[list[str]], engine: str, norm: str, steps: int) -> None:
    """Compare runs that are killed twenty times in all with runs that were not killed."""
    randomly = random.Random(norm)
    words = (norm, f"train.steps={steps}")
    whole = members(place / "whole", arms, *words)
    train(whole, engine)  # in the parent, so that its children inherit imports and traced programs
    _, seconds = killed_after(None, lambda: train(members(place / "timed", arms, *words), engine))
    kills_left, points = NUM_KILLS, set()
    while kills_left > 0:
        pieces = members(place / f"pieces{kills_left}", arms, *words, f"train.checkpoint_every={steps // 60}")
        num_kills, resumed_from = kill_and_resume(pieces, engine, seconds / 4, kills_left, randomly)
        for one, other in zip(pieces, whole, strict=True):
            assert_equal(one.folder, other.folder)
            assert json.loads((one.folder.path / "manifest.json").read_text())["status"] in {"finished", "diverged"}
        assert resumed_from == sorted(resumed_from)
        points |= set(resumed_from)
        kills_left -= num_kills
    assert len(points) > 5


def test_a_run_killed_right_after_a_checkpoint_ends_with_the_same_bits(tmp_path: Path) -> None:
    words = ("train.steps=30", "train.checkpoint_every=10", "diagnostics=none")
    whole, pieces = members(tmp_path / "whole", [[]], *words), members(tmp_path / "pieces", [[]], *words)
    train(whole, "sequential")
    child = os.fork()
    if child == 0:
        try:
            Recorder.keep_state = _keep_state_and_die  # type: ignore[method-assign]
            train(pieces, "sequential")
        finally:
            os._exit(1)
    _, how = os.waitpid(child, 0)
    assert os.WIFSIGNALED(how)
    assert pieces[0].folder.read_status() == "interrupted"
    train(pieces, "sequential")
    assert resumed_at(pieces[0]) == [10]
    assert_equal(pieces[0].folder, whole[0].folder)


def _keep_state_and_die(recorder: Recorder, step: int, state: dict[str, Any]) -> None:
    _keep_state(recorder, step, state)
    os.kill(os.getpid(), signal.SIGKILL)


_keep_state = Recorder.keep_state


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_once(monkeypatch)  # in the parent, whose children inherit what was found
    check_kills(tmp_path, [[]], "sequential", NORM, 300)


@pytest.mark.slow
def test_a_cohort_killed_twenty_times_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_once(monkeypatch)
    arms = [["seed=0"], ["seed=1", "optim.lr=0.3"], ["seed=2", "optim.lr=1e4"], ["seed=0", "optim.lr=0.01"]]
    check_kills(tmp_path, arms, "vectorized", NORM, 180)
