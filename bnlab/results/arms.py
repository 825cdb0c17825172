"""The one rule of every view of a sweep: what an arm is, which learning rate is best, and which runs are missing.

Arm: all runs with the same settings of what is swept, except for the learning rate and the seed.

Best rate: the one with the best mean outcome (see `results.outcomes`) over the *complete* seeds, those with an outcome
at every rate at which the arm has any. Three other rules were weighed:

- Each rate on the seeds that it has. Seeds can differ by more than neighboring rates do: a rate without its worst seed
  would win for that reason alone. Runs are missing where training is hard, so this error is not even random.
- Only the rates with all of their seeds. One missing run then removes the best rate, and another one is named.
- Seeds with an outcome at every rate *of the sweep*. While a sweep trains, or where one rate fails for every seed, no
  seed is complete in that sense, and there would be no answer for hours, or ever.

The price: one missing run takes its seed out of the comparison, until it is run again. Where no seed is complete, each
rate is judged by the seeds that it has: the first of the other rules, as nothing better is left.
Every view prints `SweepArms.sentences`, which name the missing runs and say what the best rates were chosen from.
"""

import itertools
import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bnlab.records import ENDED
from bnlab.results.outcomes import NOT_THERE, NUM_NAMED, ArmRun, Cell, Row, in_words, read_outcomes
from bnlab.stats.response import Metric, ResponseCurve, place_of_least

SEED, LEARNING_RATE = "seed", "optim.lr"

_SAYS_ENOUGH = frozenset({"norm", "model", "data", "optim"})
"""Keys whose value is known by itself: batch says enough, norm=batch says no more."""


def arm_keys(swept: Iterable[str]) -> tuple[str, ...]:
    """Return the settings that make an arm: what is swept besides the learning rate and the seed; else the norm.

    Args:
        swept: The settings that tell the runs of a sweep apart, by their dotted keys.
    """
    return tuple(key for key in swept if key not in {SEED, LEARNING_RATE}) or ("norm",)


def label_of(settings: Mapping[str, Any]) -> str:
    """Return the name of some settings in tables and figures; a setting of None is left out.

    Example:
        >>> label_of({"norm": "batch", "model.depth": 5, "norm.eps": 1e-05, "norm.num_groups": None})
        'batch depth=5 eps=1e-05'
    """
    written = {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in settings.items() if v is not None}
    return " ".join(
        text if key in _SAYS_ENOUGH else f"{key.rpartition('.')[2]}={text}" for key, text in written.items()
    )


def folder_name(settings: Mapping[str, Any]) -> str:
    """Return a name of some settings that is safe as a folder's: words as they are, other values after their key.

    Example:
        >>> folder_name({"norm": "my.layers:Mine", "model.depth": 5, "norm.eps": None})
        'Mine-depth=5'
    """
    parts = [
        value.rpartition(":")[2] if isinstance(value, str) else f"{key.rpartition('.')[2]}={value}"
        for key, value in settings.items()
        if value is not None
    ]
    return re.sub(r"[^A-Za-z0-9_.=-]+", "_", "-".join(parts)).strip(".") or "all"


@dataclass(frozen=True)
class BestRate:
    """The learning rate at which an arm does best.

    Attributes:
        lr: The rate, the lowest among equals; None if no run ended better than it started.
        cell: The runs that were compared at that rate; at the lowest rate where ``lr`` is None.
        edge: Which end of the rates with an outcome it is: a better rate may lie beyond. None if it is neither end, or
            the only rate.
    """

    lr: float | None
    cell: Cell
    edge: Literal["lowest", "highest"] | None


@dataclass(frozen=True)
class Arm:
    """One value of the factor under comparison, with all of its learning rates and seeds.

    Attributes:
        label: Its name in tables and figures.
        folder_name: Its name as a folder; no two arms share it, whatever the case of its letters.
        settings: Key -> value of what is compared; a key that the arm does not have is left out.
        cells: One per learning rate, in the order of the sweep.
        seeds: The complete seeds: those with an outcome at every learning rate at which the arm has any.
        compared: One cell per learning rate with an outcome, rising, that holds the runs by which the rate is judged:
            those of the complete seeds, or all that have an outcome where no seed is complete.
        kept: What readers of its runs' records keep here, so that these are read once; see `results.curves`.
    """

    label: str
    folder_name: str
    settings: dict[str, Any]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = field(init=False)
    compared: tuple[Cell, ...] = field(init=False)
    kept: dict[Any, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the complete seeds, and the runs that are compared."""
        with_outcome = sorted((cell for cell in self.cells if cell.outcomes), key=lambda cell: cell.lr)
        complete = set.intersection(*(set(cell.outcomes) for cell in with_outcome)) if with_outcome else set()
        object.__setattr__(self, "seeds", tuple(sorted(complete)))
        object.__setattr__(self, "compared", tuple(cell.of_seeds(complete or cell.outcomes) for cell in with_outcome))

    @property
    def missing(self) -> list[str]:
        """Every missing run in words, such as ``batch at 0.1, seed 2: failed``."""
        runs = [run for cell in self.cells for run in cell.runs if run.outcome is None]
        return [f"{self.label} at {run.lr:g}, seed {run.seed}: {run.reason}" for run in runs]

    def best(self, metric: Metric = "loss") -> BestRate | None:
        """Return the best learning rate by this module's rule; None where no run has an outcome.

        Args:
            metric: Which outcome decides: the lowest validation loss, or the highest validation accuracy.
        """
        if not self.compared:
            return None
        values = [[outcome.value(metric) for outcome in cell.outcomes.values()] for cell in self.compared]
        starts = [[outcome.start(metric) for outcome in cell.outcomes.values()] for cell in self.compared]
        sign = 1 if metric == "loss" else -1
        place = place_of_least(np.asarray([sign * np.mean(of_cell) for of_cell in values]))
        cell = self.compared[place]
        if values == starts:
            return BestRate(None, cell, None)
        ends: dict[int, Literal["lowest", "highest"]] = {0: "lowest", len(self.compared) - 1: "highest"}
        return BestRate(cell.lr, cell, ends.get(place) if len(self.compared) > 1 else None)

    def response_curve(self, lrs: Sequence[float]) -> ResponseCurve | None:
        """Return the outcomes of the complete seeds over a whole grid; None where one of its rates has no outcome.

        Args:
            lrs: The learning rates of the grid, rising. Figures of a part of it could not be compared with other arms.
        """
        if not self.seeds or [cell.lr for cell in self.compared] != list(lrs):
            return None
        table = [[cell.outcomes[seed] for cell in self.compared] for seed in self.seeds]
        return ResponseCurve(
            lrs=tuple(lrs),
            seeds=self.seeds,
            loss=tuple(tuple(one.loss for one in of_seed) for of_seed in table),
            accuracy=tuple(tuple(one.accuracy for one in of_seed) for of_seed in table),
            diverged=tuple(tuple(one.diverged for one in of_seed) for of_seed in table),
            start_loss=tuple(of_seed[0].start_loss for of_seed in table),
            start_accuracy=tuple(of_seed[0].start_accuracy for of_seed in table),
        )

    def choice(self) -> str:
        """Return from what the best rate was chosen, in words; none where that is all seeds at all rates."""
        if not self.compared:
            return "no run has an outcome"
        without = [f"{cell.lr:g}" for cell in self.cells if not cell.outcomes]
        rates = f"no outcome at {', '.join(without)}; the other learning rates are" if without else "learning rates are"
        if len(self.compared) > 1 and not self.seeds:
            return f"{rates} compared on different seeds, since no seed has an outcome at each of them"
        if len(self.compared) > 1 and len(self.seeds) < len({run.seed for cell in self.cells for run in cell.runs}):
            only = "ones" if len(self.seeds) > 1 else "one"
            return f"{rates} compared on {in_words(self.seeds)}, the only {only} with an outcome at each of them"
        return rates.partition("; ")[0] if without else ""


@dataclass(frozen=True)
class SweepArms:
    """All arms of a sweep.

    Attributes:
        arms: In the order of the sweep.
        lrs: The learning rates that any run has, rising.
        seeds: The seeds that any run has, rising.
        num_runs: How many runs were planned.
        unplaced: Ids of the runs that were planned and left no folder, where nothing tells their arm; empty where
            ``num_unnamed`` counts them.
        num_unnamed: Runs that were planned and left no folder, besides those that the arms name as missing: they have
            an arm, a learning rate or a seed of which no run is there.
    """

    arms: tuple[Arm, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    num_runs: int
    unplaced: tuple[str, ...]
    num_unnamed: int

    @property
    def missing(self) -> list[str]:
        """Every missing run in words, as far as it can be named."""
        return [text for arm in self.arms for text in arm.missing] + [f"{name}: {NOT_THERE}" for name in self.unplaced]

    @property
    def num_missing(self) -> int:
        """How many runs have no outcome, with those that cannot be named."""
        return len(self.missing) + self.num_unnamed

    def sentences(self) -> list[str]:
        """Return what every view must say aloud: which runs are missing, and from what the best rates were chosen."""
        missing, num_missing = self.missing, self.num_missing
        sentences = []
        if num_missing:
            named = missing[:NUM_NAMED]
            if num_missing > len(named):
                named.append(f"{num_missing - len(named)} more")
            verb = "is" if num_missing == 1 else "are"
            sentences.append(f"{num_missing} of {self.num_runs} runs {verb} missing ({'; '.join(named)}).")
        choices: dict[str, list[str]] = {}
        for arm in self.arms:
            choices.setdefault(arm.choice(), []).append(arm.label)
        sentences += [f"{', '.join(labels)}: {choice}." for choice, labels in choices.items() if choice]
        return sentences


def read_arms(rows: Iterable[Row], swept: Sequence[str], planned: Sequence[str]) -> SweepArms:
    """Sort the runs of a sweep into arms, and read their outcomes.

    Of two runs with the same settings and the same seed the later one enters, rather one that ended.

    Args:
        rows: The runs that are there, in the order of the sweep, as `read_run_rows` gives them. A row that tells no
            learning rate or no seed is taken for a run that is not there.
        swept: The settings that tell the runs apart, by their dotted keys.
        planned: The ids of all runs of the sweep.
    """
    placed = [row for row in rows if isinstance(row.get(SEED), int) and isinstance(row.get(LEARNING_RATE), int | float)]
    keys = arm_keys(swept)
    groups: dict[str, list[Row]] = {}
    for row in placed:
        groups.setdefault(json.dumps([row.get(key) for key in keys], sort_keys=True), []).append(row)
    lrs = list(dict.fromkeys(float(row[LEARNING_RATE]) for row in placed))
    seeds = sorted({row[SEED] for row in placed})
    tables = [_by_place(group) for group in groups.values()]
    wanted = [lrs if LEARNING_RATE in swept else list(dict.fromkeys(lr for _, lr in table)) for table in tables]
    num_vacant = sum(len(rates) * len(seeds) - len(table) for table, rates in zip(tables, wanted, strict=True))
    absent = list(itertools.filterfalse({row["run_id"] for row in placed}.__contains__, planned))
    is_grid = num_vacant <= len(absent)  # otherwise nobody planned a run for each place that is vacant
    arms: dict[str, Arm] = {}
    for group, table, rates in zip(groups.values(), tables, wanted, strict=True):
        settings = {key: group[0][key] for key in keys if group[0].get(key) is not None}
        cells = _cells(table, rates, seeds if is_grid else ())
        name = _free_name(folder_name(settings), arms)
        arms[name.casefold()] = Arm(label_of(settings) or "all", name, settings, cells)
    num_unnamed = len(absent) - num_vacant if is_grid and num_vacant else 0
    unplaced = () if is_grid and num_vacant else tuple(absent)
    return SweepArms(tuple(arms.values()), tuple(sorted(lrs)), tuple(seeds), len(planned), unplaced, num_unnamed)


def _by_place(rows: Iterable[Row]) -> dict[tuple[int, float], Row]:
    """Return the runs of an arm by seed and learning rate."""
    table: dict[tuple[int, float], Row] = {}
    for row in rows:
        place = row[SEED], float(row[LEARNING_RATE])
        if place not in table or row["status"] in ENDED:
            table[place] = row
    return table


def _cells(table: Mapping[tuple[int, float], Row], lrs: Sequence[float], seeds: Iterable[int]) -> tuple[Cell, ...]:
    """Return the cells of an arm, with a missing run for each of the seeds that a cell does not have."""
    runs: dict[float, dict[int, ArmRun]] = {lr: {} for lr in lrs}
    by_seed: dict[int, dict[float, Row]] = {}
    for seed, lr in sorted(table):
        by_seed.setdefault(seed, {})[lr] = table[seed, lr]
    for seed, rows in by_seed.items():
        for lr, run in read_outcomes(rows, seed).items():
            runs[lr][seed] = run
    for lr, of_lr in runs.items():
        for seed in set(seeds) - set(of_lr):
            of_lr[seed] = ArmRun(lr, seed, None, None, NOT_THERE)
    return tuple(Cell(lr, tuple(of_lr[seed] for seed in sorted(of_lr))) for lr, of_lr in runs.items() if of_lr)


def _free_name(name: str, taken: Container[str]) -> str:
    """Return a name, with a number behind it if it is taken: by a class of the same name of another package."""
    numbered = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in numbered if one.casefold() not in taken)
