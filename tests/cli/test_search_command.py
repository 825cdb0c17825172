import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pretended_runs import PretendedRuns

from bnlab.cli.search_command import TrialView
from bnlab.sweeps import search_execution
from bnlab.sweeps.backends import local
from bnlab.sweeps.samplers import OLDEST

Say = Callable[..., Any]

QUICK = ["data=digits", "data.limit=200", "train.steps=30", "diagnostics=none", "model.width=8", "loggers=[]", "name=s"]
SEARCH = [*QUICK, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "norm=batch,none"]
LR = "optim.lr=tag(log, interval(1e-3, 10))"


pytest.importorskip("optuna", minversion=f"{OLDEST}.0", reason=f"no Optuna {OLDEST}: pip install 'bnlab[optuna]'")


@pytest.fixture(scope="module", autouse=True)
def _one_worker() -> Iterator[None]:
    """Have all searches trained by one worker, however many trials at a time: each further one would import torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_execution, "open_backend", lambda _words, _jobs: local.LocalBackend(1))
        patch.setattr(local, "end_workers", lambda: None)  # which each command does at its end
        yield
    local.end_workers()


@pytest.mark.slow
def test_a_search_that_trains_nothing_but_pretends_to_is_printed(
    bnlab_says: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_execution, "open_backend", lambda _words, _jobs: PretendedRuns())
    answer = bnlab_says("sweep", *QUICK, "hydra/sweeper=optuna", "norm=batch,none", "hydra.sweeper.n_trials=1")
    assert answer.status == 0
    assert "1 run: 1 finished" in answer.out
    assert "trial 1 of 1: norm=" in answer.err
    assert answer.out.splitlines()[-2].startswith("best trial: 1 of 1, validation loss")


@pytest.mark.slow
def test_a_search_prints_its_runs_and_the_best_trial_as_one_would_type_it(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SEARCH, LR, "--jobs", "2")
    assert answer.status == 0
    assert "4 runs: 4 finished" in answer.out
    assert "4 trials in" in answer.err
    assert "2 at a time; norm batch, none; optim.lr from 0.001 to 10.0, logarithmic; sampler tpe" in answer.err
    assert sorted(line.split(":")[0] for line in answer.err.splitlines() if line.startswith("trial")) == [
        f"trial {number} of 4" for number in (1, 2, 3, 4)
    ]
    assert any(
        line.startswith("all trials: optuna-dashboard ") and line.endswith("search.journal")
        for line in answer.out.splitlines()
    )
    quiet = bnlab_says("sweep", *SEARCH, LR, "--jobs", "2", "--json", "--quiet")
    runs = [json.loads(line) for line in quiet.out.splitlines()]
    assert quiet.err == ""
    assert all(run["cached"] for run in runs)
    best = min(runs, key=lambda run: run["validation_loss"])
    words = answer.out.splitlines()[-1].replace("'", "").split()
    again = bnlab_says("train", *words, "--json", "--quiet", "--runs", "elsewhere")
    assert json.loads(again.out)["run_id"] == best["run_id"]


@pytest.mark.slow
def test_a_search_leaves_its_arms_for_tensorboard_and_no_figure_of_a_grid_that_it_does_not_have(
    bnlab_says: Say,
) -> None:
    words = [word for word in SEARCH if not word.startswith("loggers")]
    answer = bnlab_says("sweep", *words, LR, "--jobs", "1")
    assert answer.status == 0
    assert list(Path("runs/s/arms").iterdir())
    assert not list(Path("runs/s").glob("lr-sensitivity*"))


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_searched_and_makes_nothing(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SEARCH, LR, "seed=0,1", "--dry-run")
    assert (answer.status, answer.out) == (0, "")
    assert "4 trials in" in answer.err
    assert "the best trial will be the luckiest. Give one seed" in answer.err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_search_with_a_run_that_fails_says_so_and_exits_with_one(bnlab_says: Say) -> None:
    Path("broken_norms.py").write_text(
        "import torch\n\nclass Broken(torch.nn.Identity):\n    def forward(self, x):\n"
        "        if self.training and x.is_floating_point() and not x.is_meta and x.requires_grad:\n"
        "            raise ArithmeticError('two and two are five')\n        return x\n"
    )
    words = [*QUICK, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "norm=none,broken_norms:Broken"]
    answer = bnlab_says("sweep", *words, "optim.lr=0.1,0.2", "--jobs", "1")
    assert answer.status == 1
    assert "two and two are five" in answer.err
    assert "best trial" in answer.out
    assert "norm=none" in answer.out.splitlines()[-1]


def test_what_makes_no_sense_for_a_search_is_refused_in_one_sentence(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SEARCH, LR, "--only", "failed")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "error: --only failed: a search does not know its runs beforehand. Leave it out.\n"


def test_a_line_says_what_became_of_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    view = TrialView(9)
    trial = {"chosen": {"norm": "batch"}, "run": "a", "seed": 0, "value": None, "problem": None, "pruned_at": None}
    view.take({"told": 4, "best": 0.875})
    view.take({"steps": {"a": 3}, "of": 9})
    view.take({"trial": 4, **trial, "value": 0.5})
    view.take({"trial": 5, **trial, "value": 0.75})
    view.take({"trial": 6, **trial, "value": 1.5, "pruned_at": 60})
    view.take({"trial": 7, **trial, "problem": "two and two are five"})
    assert capsys.readouterr().err.splitlines() == [
        "4 trials of an earlier call, best 0.8750",
        "trial 5 of 9: norm=batch: validation loss 0.5000, best 0.5000",
        "trial 6 of 9: norm=batch: validation loss 0.7500, best 0.5000",
        "trial 7 of 9: norm=batch: stopped early at step 60, validation loss 1.5000",
        "trial 8 of 9: norm=batch: failed: two and two are five",
    ]


@pytest.mark.slow
def test_a_database_that_is_not_there_is_told_in_one_sentence(bnlab_says: Say) -> None:
    answer = bnlab_says("sweep", *SEARCH, LR, "hydra.sweeper.storage=trials.db")
    assert (answer.status, answer.out) == (2, "")
    assert "Give the URL of a database, such as sqlite:///" in answer.err.splitlines()[-1]
    assert not Path("runs").exists()
