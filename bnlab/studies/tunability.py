"""How much tuning each arm of a sweep needs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnlab.errors import ConfigError, StudyError, did_you_mean
from bnlab.results.arms import LEARNING_RATE, SEED, Arm, label_of, read_arms
from bnlab.results.outcomes import Cell
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.stats.estimate import Estimate, FloatArray
from bnlab.stats.tuning_budget import EffectiveDimension, Setting, effective_dimension, expected_score

TUNED = (LEARNING_RATE, "optim.weight_decay", "model.init_std", "train.batch_size")
"""What is tuned if nothing else is said: the hyperparameters that norms are said to make matter less."""

FEW_SETTINGS = 4
"""Below, a budget has nothing to choose from."""

WITHIN = 0.01
"""1 point of accuracy: how near to trying all settings a budget must come."""


@dataclass(frozen=True)
class ArmTunability:
    """How much tuning one arm needs.

    Attributes:
        label: Its name.
        num_settings: How many settings of all hyperparameters have an outcome for each of the seeds.
        seeds: The seeds that have one at each of these settings.
        by_budget: Number of settings tried -> test accuracy to be expected.
        best: The best setting by the mean validation accuracy.
        dimension: How many hyperparameters must be tuned; None where no setting ends better than the start.
        budget: The least number of settings to be tried whose expected accuracy is within 1 point of trying all.
    """

    label: str
    num_settings: int
    seeds: tuple[int, ...]
    by_budget: Mapping[int, Estimate]
    best: Setting
    dimension: EffectiveDimension | None
    budget: int


@dataclass(frozen=True)
class Tunability:
    """How much tuning each arm of a sweep needs.

    Attributes:
        folder: The folder of the sweep.
        tuned: The hyperparameters.
        arms: In the order of the sweep.
        sentences: What must be said aloud.
    """

    folder: Path
    tuned: tuple[str, ...]
    arms: tuple[ArmTunability, ...]
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        arms = [
            {
                **asdict(arm),
                "by_budget": {str(budget): asdict(estimate) for budget, estimate in arm.by_budget.items()},
                "best": dict(zip(self.tuned, arm.best, strict=True)),
                "dimension": None
                if arm.dimension is None
                else {
                    **asdict(arm.dimension),
                    "default": dict(zip(self.tuned, arm.dimension.default, strict=True)),
                },
            }
            for arm in self.arms
        ]
        return {
            "study": self.folder.name,
            "tuned": list(self.tuned),
            "arms": arms,
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True)
class _Grid:
    """The outcomes of one arm; accuracies have a row per seed and a column per setting."""

    label: str
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    validation: FloatArray
    test: FloatArray
    start: float


def read_tunability(folder: Path, tuned: Sequence[str] = ()) -> Tunability:
    """Return how much tuning each arm of a sweep needs.

    Args:
        folder: The sweep's folder: a full grid of the hyperparameters, with the same seeds everywhere.
        tuned: The hyperparameters, by their dotted keys, to which the learning rate is added where it is swept; none:
            those of `TUNED` that are swept.

    Raises:
        ConfigError: A hyperparameter is not swept.
        StudyError: There are too few settings or runs.
    """
    sweep = read_sweep(folder)
    if not sweep.rows:
        raise StudyError(f"{folder} holds no runs that can be read. Sweep learning rates and weight decays, say.")
    names = _tuned_keys(sweep, tuned)
    grids, sentences = _read_grids(sweep, names)
    shared = [setting for setting in grids[0].settings if all(setting in grid.settings for grid in grids)]
    if not shared:
        raise StudyError("the arms have no setting in common at which all runs have an outcome. Run the sweep again.")
    default = _best_for_all(grids, shared)
    sentences += [
        f"{grid.label}: no setting ends better than the start, so that there is nothing to tune."
        for grid in grids
        if grid.validation.mean(0).max() <= grid.start
    ]
    arms = tuple(_arm(grid, names, default) for grid in grids)
    sentences.append(
        "Without tuning, all arms have the setting that is best for them on average: "
        + ", ".join(f"{name}={value}" for name, value in zip(names, default, strict=True))
        + "."
    )
    return Tunability(folder, names, arms, tuple(sentences))


def _tuned_keys(sweep: SweepRuns, tuned: Sequence[str]) -> tuple[str, ...]:
    """Return the hyperparameters.

    Raises:
        ConfigError: One is not swept, or none is.
    """
    swept = [key for key in sweep.swept if key != SEED]
    if unknown := [key for key in tuned if key not in swept]:
        raise ConfigError(f"--over {unknown[0]} is not swept in {sweep.folder}. {did_you_mean(unknown[0], swept)}")
    names = tuple(tuned) or tuple(key for key in TUNED if key in swept)
    if names and LEARNING_RATE in swept and LEARNING_RATE not in names:
        names = (LEARNING_RATE, *names)  # an arm has all of its learning rates
    if not names:
        raise ConfigError(
            f"{sweep.folder} sweeps none of {', '.join(TUNED)}. Sweep some, or name what is tuned: --over KEY,KEY."
        )
    return names


def _read_grids(sweep: SweepRuns, names: tuple[str, ...]) -> tuple[list[_Grid], list[str]]:
    """Return the outcomes of each arm, and what must be said of missing ones.

    Raises:
        StudyError: An arm has too few settings with an outcome.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in read_arms(sweep.rows, sweep.swept, sweep.planned).arms:
        settings = {key: value for key, value in arm.settings.items() if key not in names}
        groups.setdefault(label_of(settings) or "all", []).append(arm)
    grids, sentences = [], []
    for label, arms in groups.items():
        cells = {
            tuple(_text(cell.lr if name == LEARNING_RATE else arm.settings.get(name)) for name in names): cell
            for arm in arms
            for cell in arm.cells
        }
        all_seeds = {run.seed for cell in cells.values() for run in cell.runs}
        complete = {setting: cell for setting, cell in cells.items() if set(cell.outcomes) == all_seeds}
        if len(complete) < FEW_SETTINGS:
            raise StudyError(
                f"{label} has {len(complete)} settings with an outcome for each of its seeds: {FEW_SETTINGS} or more "
                "are needed. Sweep more values, or run the sweep again where runs are missing."
            )
        if len(complete) < len(cells):
            sentences.append(
                f"{label}: {len(cells) - len(complete)} of {len(cells)} settings lack a run, and are left out."
            )
        grids.append(_grid(label, complete, sorted(all_seeds)))
    return grids, sentences


def _grid(label: str, cells: Mapping[Setting, Cell], seeds: Sequence[int]) -> _Grid:
    outcomes = [[cell.outcomes[seed] for cell in cells.values()] for seed in seeds]
    test = [[_test_accuracy(cell, seed) for cell in cells.values()] for seed in seeds]
    start = float(np.mean([[each.start_accuracy for each in of_seed] for of_seed in outcomes]))
    validation = np.array([[each.accuracy for each in of_seed] for of_seed in outcomes])
    return _Grid(label, tuple(cells), tuple(seeds), validation, np.array(test), start)


def _test_accuracy(cell: Cell, seed: int) -> float:
    """Return the test accuracy of a run; of one that diverged, its validation accuracy at the start."""
    (run,) = (run for run in cell.runs if run.seed == seed)
    assert run.outcome is not None
    value = None if run.row is None else run.row.get("test_accuracy")
    return run.outcome.accuracy if run.outcome.diverged or value is None else float(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _best_for_all(grids: Sequence[_Grid], shared: Sequence[Setting]) -> Setting:
    """Return the setting that is best on average over arms; each arm's accuracy counts from its start to its best."""
    totals = dict.fromkeys(shared, 0.0)
    for grid in grids:
        means = dict(zip(grid.settings, grid.validation.mean(0).tolist(), strict=True))
        span = max(max(means.values()) - grid.start, 1e-12)
        for setting in shared:
            totals[setting] += (means[setting] - grid.start) / span
    return max(shared, key=lambda setting: totals[setting])


def _arm(grid: _Grid, names: tuple[str, ...], default: Setting) -> ArmTunability:
    num = len(grid.settings)
    budgets = [budget for budget in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if budget < num] + [num]
    expected = {budget: expected_score(grid.validation, grid.test, budget) for budget in range(1, num + 1)}
    means = dict(zip(grid.settings, grid.validation.mean(0).tolist(), strict=True))
    enough = next(budget for budget, each in expected.items() if each.value >= expected[num].value - WITHIN)
    return ArmTunability(
        grid.label,
        num,
        grid.seeds,
        {budget: expected[budget] for budget in budgets},
        max(means, key=lambda setting: means[setting]),
        effective_dimension(names, means, default, grid.start) if max(means.values()) > grid.start else None,
        enough,
    )
