"""A network that is not bnlab's resumes as if it had never been interrupted."""

from pathlib import Path

import pytest
from interrupted_runs import QUICK, Notes, assert_equal, composed, train_until, trained_in_one_go

from bnlab.experiment.cohort_run import run_experiment
from bnlab.identity.run_id import run_id
from bnlab.runfolder.folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=own_networks:Residual", "diagnostics=full"),
        ("model=own_networks:Drawing", "norm=none"),
        ("model=own_networks:Rows", "optim=muon"),
    ],
)
def test_an_interrupted_run_ends_as_one_that_was_not(words: tuple[str, ...], tmp_path: Path) -> None:
    common = [word for word in QUICK if not word.startswith("model.")]
    config = composed(*common, *words)
    folder, notes = RunFolder(tmp_path / run_id(config)), Notes()
    train_until(11, config, folder)
    run_experiment(config, folder, notes)
    assert notes.resumed_at == [12]
    assert_equal(folder, trained_in_one_go(config))
