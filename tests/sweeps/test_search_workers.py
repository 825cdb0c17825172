"""Searches by real workers: killed, cut off, pruned, and read by Optuna's own dashboard."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.backends.local import LocalBackend, end_workers
from bnlab.sweeps.samplers import OLDEST
from bnlab.sweeps.search_execution import run_search
from bnlab.sweeps.search_plan import plan_search
from bnlab.sweeps.trials import SearchResult
from bnlab.training.interruption import Interruption

pytest.importorskip("optuna", minversion=f"{OLDEST}.0", reason=f"no Optuna {OLDEST}: pip install 'bnlab[optuna]'")
pytestmark = pytest.mark.slow

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]
OPTUNA = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6"]
LR = "optim.lr=tag(log, interval(1e-3, 10))"
TROUBLE = ["norm=none,troubled_norms:Troubled", "norm.trouble=trouble.txt"]
PATIENCE_S = 120.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _norms_in_reach() -> None:
    shutil.copy(Path(__file__).with_name("troubled_norms.py"), Path.cwd())


@pytest.fixture(scope="module", autouse=True)
def _no_worker_left() -> Iterator[None]:
    yield
    end_workers()


def words_of(*words: str) -> list[str]:
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in [*QUICK, *OPTUNA] if word.partition("=")[0] not in given), *words]


def search(*words: str, runs: str = "runs", **options: Any) -> SearchResult:
    """Search with two trials at a time, by one worker: each further one would import torch too."""
    if not any(word.startswith("hydra/launcher=") for word in words):
        options = {"backend": LocalBackend(1), **options}
    return run_search(plan_search(words_of(*words), Path(runs), jobs=2), **options)


def outcomes(result: SearchResult) -> list[tuple[Mapping[str, str], float | None]]:
    return [(trial.chosen, trial.value) for trial in result.trials.values()]


def metrics(runs: str = "runs") -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path(runs, "s").glob("*/metrics.jsonl")}


def test_words_arrive_as_they_are_typed() -> None:
    words = ["accept=[few_values],['small_momentum'],[]", "norm=none,troubled_norms:Troubled", "model.depth=range(1,3)"]
    result = search(*words, "hydra.sweeper.n_trials=10")
    assert {trial.problem for trial in result.trials.values()} == {None}
    assert {trial.chosen["norm"] for trial in result.trials.values()} == {"none", "troubled_norms:Troubled"}
    assert {trial.chosen["model.depth"] for trial in result.trials.values()} == {"1", "2"}
    for trial in result.trials.values():
        config = RunFolder(result.sweep.folder / str(trial.run)).read_config()
        assert str(config["model"]["depth"]) == trial.chosen["model.depth"]
        assert config["norm"]["name"] == trial.chosen["norm"]


def test_a_diverged_run_is_no_failure_and_never_the_best() -> None:
    result = search("optim.lr=0.3,1e30", "norm=none")
    values = {trial.chosen["optim.lr"]: trial.value for trial in result.trials.values()}
    assert {summary.status for summary in result.sweep.summaries} == {"finished", "diverged"}
    assert result.best is not None
    assert result.trials[result.best].chosen["optim.lr"] == "0.3"
    assert values["0.3"] < values["1e+30"]  # type: ignore[operator]


def test_a_failing_run_is_a_failed_trial_and_the_search_continues() -> None:
    Path("trouble.txt").write_text("raise")
    result = search(*TROUBLE, LR)
    failed = [trial for trial in result.trials.values() if trial.chosen["norm"] != "none"]
    assert 0 < len(failed) < len(result.trials) == 6
    assert all("ArithmeticError: two and two are five" in str(trial.problem) for trial in failed)
    assert all(trial.value is not None for trial in result.trials.values() if trial not in failed)


def test_a_killed_worker_changes_nothing() -> None:
    words = [*TROUBLE, LR, "train.checkpoint_every=5"]
    whole = search(*words, runs="whole")
    Path("trouble.txt").write_text("kill once")
    assert outcomes(search(*words)) == outcomes(whole)
    assert not Path("trouble.txt").exists()
    assert metrics() == metrics("whole")
    assert any(RunFolder(Path("runs/s") / name).read_manifest().get("resumed") for name in metrics())


def test_a_search_that_is_interrupted_ends_as_one_that_was_not() -> None:
    words = [LR, *TROUBLE[1:], "norm=troubled_norms:Troubled", "train.steps=100", "hydra.sweeper.n_trials=2"]
    whole = search(*words, runs="whole")
    Path("trouble.txt").write_text("slow")
    interruption = Interruption()

    class View:
        def take(self, line: Mapping[str, Any]) -> None:
            interruption.is_asked |= "steps" in line

    cut = search(*words, view=View(), interruption=interruption)
    assert "interrupted" in {summary.status for summary in cut.sweep.summaries}
    assert len(cut.trials) < 2
    assert not list(Path("runs/s").glob(".parts*"))
    Path("trouble.txt").unlink()
    assert outcomes(search(*words)) == outcomes(whole)
    assert metrics() == metrics("whole")
    assert any(RunFolder(Path("runs/s") / name).read_manifest().get("resumed") for name in metrics())


KILLED = """
import sys
from pathlib import Path
from bnlab.sweeps.backends.local import LocalBackend
from bnlab.sweeps.search_execution import run_search
from bnlab.sweeps.search_plan import plan_search

run_search(plan_search(sys.argv[1:], Path("runs"), jobs=2), backend=LocalBackend(1))
"""
"""The same as `search`: two trials at a time, by one worker."""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_a_search_that_is_killed_ends_as_one_that_was_not(started: Start) -> None:
    words = [LR, "norm=batch,none", "train.steps=200", "train.checkpoint_every=20", "hydra.sweeper.n_trials=4"]
    words += ["hydra.sweeper.sampler.n_startup_trials=2", "hydra.sweeper.pruner=median"]
    words += ["hydra.sweeper.pruner.n_startup_trials=2", "train.eval_every=20"]
    whole = search(*words, runs="whole")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = started(sys.executable, "-c", KILLED, *words_of(*words), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while len(metrics()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert len(metrics()) >= 3
    continued = search(*words)
    assert outcomes(continued) == outcomes(whole)
    assert [trial.pruned_at for trial in continued.trials.values()] == [one.pruned_at for one in whole.trials.values()]
    assert continued.best == whole.best
    finished = {one.run_id for one in whole.sweep.summaries if one.status == "finished"}
    pruned = {str(trial.run) for trial in whole.trials.values() if trial.pruned_at}
    for name in finished - pruned:
        assert metrics()[name] == metrics("whole")[name]


def test_a_pruned_run_stops_soon_with_a_checkpoint() -> None:
    words = [LR, "train.steps=100000", "train.eval_every=20", "train.log_every=1000", "hydra.sweeper.n_trials=2"]
    result = search(*words, "hydra.sweeper.pruner=threshold", "hydra.sweeper.pruner.upper=0.0")
    assert [trial.pruned_at for trial in result.trials.values()] == [20, 20]
    assert {summary.status for summary in result.sweep.summaries} == {"interrupted"}
    for summary in result.sweep.summaries:
        assert RunFolder(Path(summary.folder)).checkpoint_path.exists()
        assert 20 <= (summary.steps or 0) < 100000 or summary.steps is None


def test_a_search_by_processes_that_submitit_starts() -> None:
    pytest.importorskip("submitit", reason="no submitit: pip install 'bnlab[slurm]'")
    words = [LR, "hydra.sweeper.n_trials=1"]
    whole = search(*words, runs="whole")
    assert outcomes(search(*words, "hydra/launcher=submitit_local")) == outcomes(whole)


def test_optuna_dashboard_opens_the_journal(started: Start) -> None:
    if importlib.util.find_spec("optuna_dashboard") is None:
        pytest.skip("no optuna-dashboard: pip install optuna-dashboard")
    result = search("optim.lr=0.1,0.2", "hydra.sweeper.n_trials=2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from optuna_dashboard._cli import main; main()"
    command = [sys.executable, "-c", program, "runs/s/search.journal", "--host", "127.0.0.1", "--port", str(port)]
    started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (study,) = _answer(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
    trials = _answer(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}?after=0")["trials"]
    assert [trial["values"] for trial in trials] == [[trial.value] for trial in result.trials.values()]
    assert [trial["intermediate_values"] != [] for trial in trials] == [True, True]


def _answer(url: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
