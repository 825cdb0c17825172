"""A sweep leaves a figure where there is something to draw."""

from pathlib import Path
from typing import Any

import pytest
from written_runs import write_runs

from bnlab.report.dashboard import write_dashboard


@pytest.mark.slow
def test_a_sweep_over_a_grid_leaves_its_figure(tmp_path: Path) -> None:
    paths = write_dashboard(write_runs(tmp_path, lambda *_: {}))
    assert [path.name for path in paths] == ["lr-sensitivity.svg", "lr-sensitivity.png"]


def test_runs_whose_learning_rates_are_no_grid_leave_none(tmp_path: Path) -> None:
    def as_a_search_does(norm: str, lr: float, seed: int) -> dict[str, Any] | None:
        return {} if (norm == "batch") == (lr < 0.5) and seed == 0 else None

    assert write_dashboard(write_runs(tmp_path, as_a_search_does)) == []
    assert not list(tmp_path.glob("*.png"))
