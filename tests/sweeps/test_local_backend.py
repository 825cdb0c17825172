"""Processes of this machine train parts; what happens to a part when its process dies, or the sweep ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from parts_to_train import one_run_per_part

from bnlab.sweeps.backends import local
from bnlab.sweeps.backends.backend import PartEnded
from bnlab.sweeps.backends.local import LocalBackend, begin_workers, end_workers
from bnlab.sweeps.parts import HALT

LONG = ["train.steps=1000000", "train.checkpoint_every=null", "seed=0,1,2"]
PATIENCE_S = 120.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module", autouse=True)
def _no_worker_left() -> Iterator[None]:
    yield
    begun = workers()
    end_workers()
    assert not any(worker.is_running() for worker in begun)


def workers() -> set[psutil.Process]:
    """Return the children of this process that train: a tracker of resources trains nothing."""
    return {child for child in psutil.Process().children() if "popen_loky" in " ".join(child.cmdline())}


def watch_all(backend: LocalBackend, number: int) -> list[PartEnded]:
    ended: list[PartEnded] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(ended) < number:
        assert time.monotonic() < deadline
        ended += backend.watch(0.25)
    return ended


def wait_until_in_training(sweep_folder: Path, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len([path for path in sweep_folder.glob("*/metrics.jsonl") if path.stat().st_size]) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Four parts, and workers that only pretend to train them, so that they need no torch.

    A part is begun when a file beside it says so. It ends when it is gone.
    """

    def prepare(parent: int) -> None:
        """Prepare nothing."""

    def pretend(part: Path) -> None:
        part.with_suffix(".begun").touch()
        while part.exists():
            time.sleep(0.01)

    end_workers()
    monkeypatch.setattr(local, "_prepare", prepare)  # both arrive by value: what stands in a function has no name
    monkeypatch.setattr(local, "_train", pretend)
    parts = [Path(f"part-{number}").absolute() for number in range(4)]
    for part in parts:
        part.touch()
    yield parts
    end_workers()


def wait_until_begun(*parts: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not all(part.with_suffix(".begun").exists() for part in parts):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_each_part_is_trained_and_returned_once_by_workers_that_stay() -> None:
    begin_workers(2)
    before = workers()
    assert len(before) == 2
    sweep, parts = one_run_per_part("seed=0,1,2", "norm=none")
    backend = LocalBackend(2)
    backend.submit(parts[:1])
    backend.submit(parts[1:])
    ended = watch_all(backend, 3)
    assert sorted(one.part for one in ended) == parts
    assert {one.death for one in ended} == {None}
    assert sweep.missing() == []
    assert backend.watch(60) == []  # at once: nothing is left
    backend.close()
    assert workers() == before


@pytest.mark.slow
def test_cancelled_parts_end_with_a_checkpoint_and_others_never_begin() -> None:
    sweep, parts = one_run_per_part(*LONG)
    backend = LocalBackend(2)
    backend.submit(parts)
    wait_until_in_training(sweep.folder, 2)
    (parts[0].parent / HALT).touch()
    backend.cancel()
    assert backend.watch(60) == []
    assert len(list(sweep.folder.glob("*/checkpoint.pt"))) == 2
    assert len(list(sweep.folder.glob("*/metrics.jsonl"))) == 2


@pytest.mark.slow
def test_workers_stay_until_another_number_is_wanted(pretended: list[Path]) -> None:
    begin_workers(1)
    (alone,) = workers()
    for part in pretended[:2]:
        part.unlink()
        LocalBackend(1).submit([part])
    wait_until_begun(*pretended[:2])
    assert workers() == {alone}
    begin_workers(2)
    assert not alone.is_running()
    assert len(workers()) == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_all_parts_and_the_next_ones_have_new_workers(pretended: list[Path]) -> None:
    *parts, another = pretended
    backend = LocalBackend(2)
    backend.submit(parts)
    wait_until_begun(*parts[:2])
    first = workers()
    next(iter(first)).kill()
    ended = watch_all(backend, 3)
    assert all("SIGKILL" in str(one.death) or "terminated" in str(one.death) for one in ended)
    assert sorted(one.part for one in ended) == parts
    assert not parts[2].with_suffix(".begun").exists()
    another.unlink()
    backend.submit([another])
    assert watch_all(backend, 1) == [PartEnded(another, None)]
    assert len(workers()) == 2
    assert not workers() & first


@pytest.mark.slow
def test_parts_that_are_cancelled_at_once_end_with_their_workers_and_others_never_begin(pretended: list[Path]) -> None:
    backend = LocalBackend(2)
    backend.submit(pretended)
    wait_until_begun(*pretended[:2])
    trained_by = workers()
    backend.cancel(at_once=True)
    assert backend.watch(60) == []
    assert not any(part.with_suffix(".begun").exists() for part in pretended[2:])
    assert not any(worker.is_running() for worker in trained_by)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0, 0.02, 0.1, 0.5])
def test_no_worker_is_left_however_soon_they_are_ended(after_s: float) -> None:
    end_workers()
    begin_workers(2)
    begun = workers()
    time.sleep(after_s)
    end_workers()
    assert not any(worker.is_running() for worker in begun)


@pytest.mark.slow
def test_a_worker_that_dies_without_a_part_is_replaced(pretended: list[Path]) -> None:
    begin_workers(1)
    (worker,) = workers()
    worker.kill()
    worker.wait()
    pretended[0].unlink()
    backend = LocalBackend(1)
    deaths = 1
    while deaths:  # loky may notice it only when the part has been submitted
        backend.submit(pretended[:1])
        deaths = sum(one.death is not None for one in watch_all(backend, 1))
    assert pretended[0].with_suffix(".begun").exists()
    assert worker not in workers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no parents")
@pytest.mark.slow
def test_a_worker_without_a_part_ends_when_the_sweep_is_killed(started: Start) -> None:
    program = (
        "from bnlab.sweeps.backends.local import begin_workers; import psutil;"
        "begin_workers(1); print(*(child.pid for child in psutil.Process().children()), flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = started(sys.executable, "-c", program, env=environment, stdin=subprocess.PIPE)
    assert process.stdout is not None
    children = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
    process.kill()
    gone, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert len(gone) >= 1
    assert not left
