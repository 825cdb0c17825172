"""Processes of this machine train parts; what happens to a part when its process dies, or the sweep ends."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from parts_to_train import one_run_per_part

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


@pytest.mark.slow
def test_each_part_is_trained_and_returned_once_by_workers_that_stay_until_another_number_is_wanted() -> None:
    begin_workers(1)
    (alone,) = workers()
    begin_workers(2)
    assert not alone.is_running()
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
def test_a_worker_that_is_killed_ends_all_parts_and_the_next_ones_have_new_workers() -> None:
    sweep, parts = one_run_per_part(*LONG)
    backend = LocalBackend(2)
    backend.submit(parts)
    wait_until_in_training(sweep.folder, 2)
    workers().pop().kill()
    ended = watch_all(backend, 3)
    assert all("SIGKILL" in str(one.death) or "terminated" in str(one.death) for one in ended)
    assert sorted(one.part for one in ended) == parts
    shutil.rmtree("runs")
    _, parts = one_run_per_part("seed=0")
    backend.submit(parts)
    assert watch_all(backend, 1) == [PartEnded(parts[0], None)]


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True])
def test_cancelled_parts_end_with_a_checkpoint_or_at_once_and_others_never_begin(at_once: bool) -> None:
    sweep, parts = one_run_per_part(*LONG)
    backend = LocalBackend(2)
    backend.submit(parts)
    wait_until_in_training(sweep.folder, 2)
    trained_by = workers()
    if not at_once:
        (parts[0].parent / HALT).touch()
    backend.cancel(at_once=at_once)
    assert backend.watch(60) == []
    assert len(list(sweep.folder.glob("*/checkpoint.pt"))) == (0 if at_once else 2)
    assert len(list(sweep.folder.glob("*/metrics.jsonl"))) == 2
    assert not at_once or not any(worker.is_running() for worker in trained_by)


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
def test_a_worker_that_dies_without_a_part_is_replaced() -> None:
    begin_workers(1)
    (worker,) = workers()
    worker.kill()
    worker.wait()
    sweep, parts = one_run_per_part("seed=0", "norm=none")
    backend = LocalBackend(1)
    deaths = 1
    while deaths:  # loky may notice it only when the part has been submitted
        backend.submit(parts)
        deaths = sum(one.death is not None for one in watch_all(backend, 1))
    assert sweep.missing() == []


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
