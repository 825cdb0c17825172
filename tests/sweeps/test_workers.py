"""Workers are there when the sweep is planned, and gone when it is done."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bnlab.sweeps import workers
from bnlab.sweeps.execute import begin, run_sweep
from bnlab.sweeps.plan import plan_sweep

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "model.width=8"]


def begun() -> set[int]:
    """Return the numbers of the processes that joblib has begun for this one."""
    children = psutil.Process().children()
    return {child.pid for child in children if "popen_loky" in " ".join(child.cmdline())}


@pytest.fixture(autouse=True)
def _no_workers() -> None:
    workers.end_workers()


def test_those_that_are_begun_beforehand_are_those_that_train() -> None:
    workers.begin_workers(2)
    for thread in workers._beginning:
        thread.join()
    before = begun()
    assert len(before) == 2
    run_sweep([*QUICK, "norm=batch,none", "seed=0,1"], jobs=2)
    assert begun() == before


@pytest.mark.parametrize("after_s", [0, 0.02, 0.05, 0.1, 0.2, 1.0, 3.0])
def test_none_is_left_in_the_end(after_s: float) -> None:
    workers.begin_workers(2)
    while not begun():
        time.sleep(0.001)
    time.sleep(after_s)
    workers.end_workers()
    assert not begun()


@pytest.mark.parametrize(
    ("words", "jobs"), [(["seed=0,1"], 2), (["norm=batch,none"], 1), (["norm=batch,none", "hydra/launcher=basic"], 2)]
)
def test_none_is_begun_for_what_may_need_none(words: list[str], jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.sweeps.execute.begin_workers", lambda _: pytest.fail("begun"))
    sweep = plan_sweep([*QUICK, *words])
    begin(sweep, sweep.missing(), jobs)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 1.0, 2.0])
def test_an_interruption_while_they_begin_leaves_no_word_and_no_process(after_s: float) -> None:
    command = [sys.executable, "-m", "bnlab.cli.app", "sweep", *QUICK, "norm=batch,none,layer,group", "seed=range(9)"]
    sweep = subprocess.Popen([*command, "--jobs", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not psutil.Process(sweep.pid).children():
        time.sleep(0.01)
    time.sleep(after_s)
    os.killpg(sweep.pid, signal.SIGINT)
    said = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == 130
    assert "Traceback" not in said
    time.sleep(0.5)
    of_the_sweep = [process for process in psutil.process_iter() if os.getsid(process.pid) == sweep.pid]
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in of_the_sweep)  # dead, and nobody's to bury
