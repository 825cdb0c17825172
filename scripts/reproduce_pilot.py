"""Measure again, with bnlab's instruments, what a pilot in NumPy found, and print both side by side.

    python scripts/reproduce_pilot.py              # ten seeds: some minutes on two cores
    python scripts/reproduce_pilot.py --seeds 3
    python scripts/reproduce_pilot.py --write      # keep the figures in scripts/bench_results/

Each figure comes from a sweep that anybody can make: bnlab sweep sweep=vanishing-gradient, ... The pilot's figures are
orders of magnitude from two to five seeds; its networks and data are the same but for details.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_norms import RESULTS

from bnlab import provenance
from bnlab.results.frames import read_curves, read_runs
from bnlab.stats.estimate import mean_over_seeds
from bnlab.sweeps.execute import run_sweep

Curves = pd.DataFrame
"""The diagnostics of one run."""


def at_the_start(name: str, key: str) -> Callable[[Curves], float]:
    """Return what takes a diagnostic's value at step 0 out of a run's records.

    Args:
        name: Of the diagnostic.
        key: Of the layer.
    """
    return lambda curves: float(
        curves[(curves["name"] == name) & (curves["key"] == key) & (curves["step"] == 0)]["value"].iloc[0]
    )


def mean_drift(curves: Curves) -> float:
    """Return the normalized drift of the last hidden layer per 20 steps, over a whole training."""
    chosen = curves[(curves["name"] == "preactivation_drift") & (curves["key"] == "hidden3/normalized")]
    return float(chosen["value"].mean())


@dataclass(frozen=True)
class Figure:
    """One figure of the pilot.

    Attributes:
        what: In words.
        sweep: Its file in conf/sweep.
        of_run: Out of a run's records.
        pilot: By norm, what the pilot found.
    """

    what: str
    sweep: str
    of_run: Callable[[Curves], float]
    pilot: dict[str, str]


FIGURES = (
    Figure(
        "gradient first/last, ten sigmoid layers, at init",
        "vanishing-gradient",
        at_the_start("gradient_ratio", "network"),
        {"none": "4e-6", "batch": "3.0"},
    ),
    Figure(
        "saturation of layer 3, sigmoid, init std 1",
        "wide-weights",
        at_the_start("saturation", "hidden3"),
        {"none": "0.63", "batch": "0.002"},
    ),
    Figure(
        "gradient growth per relu layer, depth 30, width 500, B 256",
        "exploding-gradient",
        at_the_start("gradient_growth", "network/rate"),
        {"batch": "1.446-1.454 (theory 1.467)"},
    ),
    Figure(
        "effective rank behind 30 relu layers",
        "rank-collapse",
        at_the_start("effective_rank", "hidden30"),
        {"none": "1.2", "batch": "20.8"},
    ),
    Figure(
        "drift per 20 steps over spread, layer 3, sigmoid, lr 0.3",
        "drift",
        mean_drift,
        {"none": "0.082", "batch": "0.017", "layer": "0.164", "batch_noisy": "0.102"},
    ),
)


def measure(figure: Figure, num_seeds: int, runs: Path) -> dict[str, Any]:
    """Return, by norm, a figure's values over seeds, their mean and its interval.

    Args:
        figure: Which.
        num_seeds: How many.
        runs: Where the runs go.
    """
    result = run_sweep([f"sweep={figure.sweep}", f"seed=range({num_seeds})"], runs=runs)
    curves, rows = read_curves(result.folder), read_runs(result.folder)
    found: dict[str, Any] = {}
    for norm, ids in rows.groupby("norm", sort=False)["run_id"]:
        values = [figure.of_run(curves[curves["run_id"] == run_id]) for run_id in ids]
        estimate = mean_over_seeds(values)
        found[str(norm)] = {"values": values, "mean": estimate.value, "low": estimate.low, "high": estimate.high}
    return found


def main() -> None:
    """Print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for figure in FIGURES:
            found[figure.what] = measure(figure, arguments.seeds, arguments.runs or Path(folder))
            print(f"{figure.what}   (bnlab sweep sweep={figure.sweep})")
            for norm, facts in found[figure.what].items():
                interval = f"{facts['mean']:.4g} [{facts['low']:.4g}, {facts['high']:.4g}]"
                print(f"    {norm:12} {interval:36} pilot: {figure.pilot.get(norm, '-')}")
            if {"batch", "none"} <= found[figure.what].keys():
                pairs = (found[figure.what][norm]["values"] for norm in ("batch", "none"))
                ratios = [one / other for one, other in zip(*pairs, strict=True)]
                middle = float(np.exp(statistics.fmean(np.log(ratios))))
                print(f"    batch / none, seed by seed: {middle:.3g} ({min(ratios):.3g} to {max(ratios):.3g})")
    if arguments.write:
        result = {"made": provenance.now(), "hardware": provenance.hardware(), "versions": provenance.versions()}
        path = RESULTS / "pilot.json"
        path.write_text(json.dumps({**result, "seeds": arguments.seeds, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
