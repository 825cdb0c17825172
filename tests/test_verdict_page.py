"""docs/verdicts.md has the numbers of its results: `scripts/simulate_verdicts.py`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "simulate_verdicts.py"


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script("simulate_verdicts")


def test_the_page_and_its_figure_are_made_from_the_results(script: Any) -> None:
    results = json.loads(script.RESULTS.read_text("utf-8"))
    assert script.PAGE.read_text("utf-8") == script.page(results)
    kept = script.FIGURE.read_text("utf-8")
    assert all(kind in kept for kind in results["worse_ends"])


def test_the_kept_error_rates_are_those_of_todays_rule(script: Any) -> None:
    kept = json.loads(script.RESULTS.read_text("utf-8"))["worse_ends"]
    for kind, draw in script.KINDS.items():
        for n in (5, 10):
            low, high = script.interval_of_means(draw(np.random.default_rng(n), (script.NUM_STUDIES, n)))
            now = max(np.mean(low > 0), np.mean(high < 0))
            assert now == pytest.approx(kept[kind]["bnlab"][str(n)], abs=0.004)  # 3 standard errors at 2 x 5%


def test_the_page_promises_no_more_than_the_results_hold(script: Any) -> None:
    results = json.loads(script.RESULTS.read_text("utf-8"))
    known = [kind for kind in results["worse_ends"] if kind != "one run in ten far off"]
    assert all(share <= 0.05 for kind in known for share in results["worse_ends"][kind]["bnlab"].values())
    assert all(share <= 0.05 for kind in known for share in results["looks"][kind].values())
    as_planned = [kind for kind in known if not kind.startswith(("heavy", "very skewed"))]  # the page says so of these
    assert len(as_planned) == 3
    assert all(of[kind] >= 0.8 for of in results["power"].values() for kind in as_planned)
