"""Sweeps behind the gates: which runs are made, and what is read from them, one value per seed.

Three seeds each; GATE_SEEDS=10 in the environment makes it ten, as when a threshold is confirmed.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import bnlab
from bnlab.sweeps.execute import run_sweep

SEEDS = range(int(os.environ.get("GATE_SEEDS", "3")))

Values = list[float]


@dataclass(frozen=True)
class Swept:
    """The runs of a sweep.

    Attributes:
        folder: The folder of the sweep.
        runs: One row each.
        curves: All that was recorded of them.
    """

    folder: Path
    runs: pd.DataFrame
    curves: pd.DataFrame

    def by_seed(self, value_of: Callable[[pd.DataFrame], float], **settings: Any) -> Values:
        """Return a figure of the runs with some settings, in the order of their seeds.

        Args:
            value_of: Takes it out of the records of one run.
            **settings: Columns of the runs; a dot of a name is written as two underscores.
        """
        return [value_of(self.curves[self.curves["run_id"] == run_id]) for run_id in self.chosen(settings)["run_id"]]

    def accuracies(self, **settings: Any) -> Values:
        """Return the final test accuracies of the runs with some settings; of one that diverged, chance."""
        chosen = self.chosen(settings)
        finished = chosen["status"] == "finished"
        return [float(value) for value in chosen["test_accuracy"].where(finished, 0.1)]

    def chosen(self, settings: Mapping[str, Any]) -> pd.DataFrame:
        """Return the rows with some settings, one for each seed."""
        rows = self.runs
        for name, value in settings.items():
            rows = rows[rows[name.replace("__", ".")] == value]
        rows = rows.sort_values("seed")
        assert list(rows["seed"]) == list(SEEDS), (
            f"{settings}: one run of each seed is wanted, got {list(rows['seed'])}"
        )
        assert set(rows["status"]) <= {"finished", "diverged"}
        return rows


def swept(runs: Path, *words: str) -> Swept:
    """Train what the words ask for, with the gates' seeds, in this process."""
    result = run_sweep([*words, f"seed=range({len(SEEDS)})"], runs=runs, jobs=1)
    return Swept(result.folder, bnlab.read_runs(result.folder), bnlab.read_curves(result.folder))


def diagnostic(name: str, key: str, step: int | None = 0) -> Callable[[pd.DataFrame], float]:
    """Return what takes a diagnostic's value out of a run's records.

    Args:
        name: Of the diagnostic.
        key: Of the layer.
        step: The step; None: the mean over all steps.
    """

    def value_of(curves: pd.DataFrame) -> float:
        chosen = curves[(curves["name"] == name) & (curves["key"] == key)]
        if step is not None:
            chosen = chosen[chosen["step"] == step]
        assert len(chosen) > 0, f"no {name} of {key} at step {step}"
        return float(chosen["value"].mean())

    return value_of


def validations(curves: pd.DataFrame) -> pd.DataFrame:
    """Return steps and accuracies of the validations of one run."""
    return curves[(curves["kind"] == "eval") & (curves["split"] == "validation") & (curves["key"] == "accuracy")]


def mean_accuracy(curves: pd.DataFrame) -> float:
    """Return the area under the curve of validation accuracy, as a mean over the steps."""
    found = validations(curves)
    steps, values = found["step"].to_numpy(float), found["value"].to_numpy(float)
    return float(((values[1:] + values[:-1]) / 2 * (steps[1:] - steps[:-1])).sum() / (steps[-1] - steps[0]))


def ratios(first: Values, second: Values) -> Values:
    """Return first / second, seed by seed."""
    return [one / other for one, other in zip(first, second, strict=True)]


def differences(first: Values, second: Values) -> Values:
    """Return first - second, seed by seed."""
    return [one - other for one, other in zip(first, second, strict=True)]


def told(gate: str, **figures: Values) -> None:
    """Print the figures of a gate, which pytest shows where it fails, and with -rP."""
    for name, values in figures.items():
        print(f"{gate} {name}: {', '.join(f'{value:.4g}' for value in values)}")
