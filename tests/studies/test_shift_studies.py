"""The two studies of covariate shift: what they say of each other in their files must stay true."""

import pytest

from bnlab.studies.study_file import StudyFile
from bnlab.studies.study_search import find_studies
from bnlab.studies.study_sweeps import main_sweep


def _file(name: str) -> StudyFile:
    (study,) = find_studies([name], None)
    return study.file


def test_the_two_studies_of_shift_train_their_runs_once():
    drift, slowness = (_file(name).scales["quick"] for name in ("covariate-shift", "shift-causes-slowness"))
    first, second = (scale.parts["main"] for scale in (drift, slowness))
    assert main_sweep(first, range(drift.seeds), None) == main_sweep(second, range(slowness.seeds), None)


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_drift_is_measured_in_the_runs_whose_speed_decides(scale: str):
    slowness = _file("shift-causes-slowness").scales[scale]  # type: ignore[index]  # a parameter
    main = slowness.parts["main"].words
    assert "preactivation_drift" in main["diagnostics.names"]
    assert {"batch", "none", "batch_noisy"} <= set(main["norm"])
