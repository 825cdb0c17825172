"""Two arms of a sweep, seed by seed: their difference under each analysis."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from bnlab.errors import StudyError
from bnlab.results.arms import Arm
from bnlab.stats.median_interval import least_seeds_for_median
from bnlab.stats.response import Metric
from bnlab.stats.verdict import Center, Verdict, judge, level_of_look
from bnlab.studies.analysis import BARS_OF_LR_SENSITIVITY, BARS_OF_THE_GRID, Analysis, Choice, targets
from bnlab.studies.grid_figures import grid_figures
from bnlab.studies.pairs import Pairs, paired
from bnlab.studies.quantity import OF_THE_GRID, Quantity
from bnlab.studies.run_values import Figure, RunValues, values_by_seed

UNTRAINED = (
    "No run of either arm trained: all diverged, or ended no better than they started. Take other learning rates, or "
    "more steps."
)
"""Why there is no verdict on two arms that are equal since neither has learned anything."""


class ArmPair:
    """Two arms and what they are compared by.

    Args:
        first: The arm whose advantage is claimed.
        second: The arm that it is compared with.
        quantity: What they are compared by.
        lrs: The learning rates of the sweep, rising.
        sesoi: The smallest effect of interest, in the quantity's unit.
        looks: How often the data are looked at in all.
        tuned: The learning rates of the first and the second arm that were chosen on other seeds; they decide. None:
            the rates are chosen by the runs that are judged.

    Raises:
        StudyError: An arm has no run with an outcome.
    """

    def __init__(
        self,
        first: Arm,
        second: Arm,
        quantity: Quantity,
        lrs: Sequence[float],
        sesoi: float,
        looks: int = 1,
        tuned: tuple[float, float] | None = None,
    ) -> None:
        self.arms = first, second
        self.quantity = quantity
        self.sesoi = sesoi
        self._lrs = tuple(lrs)
        self._looks = looks
        self.tuned = tuned
        self._cells: dict[tuple[int, float], dict[int, RunValues | None]] = {}
        for arm in self.arms:
            if not arm.compared:
                raise StudyError(f"{arm.label} has no run with an outcome: {'; '.join(arm.missing[:3])}.")

    @property
    def base(self) -> Analysis:
        """The analysis that decides."""
        return {factor: choices[0] for factor, choices in self.factors.items()}

    @property
    def analyses(self) -> list[Analysis]:
        """All analyses: each choice of each factor with each of the others; the one that decides comes first."""
        return [dict(zip(self.factors, chosen, strict=True)) for chosen in itertools.product(*self.factors.values())]

    @cached_property
    def factors(self) -> Mapping[str, tuple[Choice, ...]]:
        """The choices of each factor, the one that decides first."""
        center = [Choice("center", "the mean over seeds", "mean")]
        if self._num_pairs >= least_seeds_for_median(level_of_look(self._looks)):
            center.append(Choice("center", "the median over seeds", "median"))
        kind = self.quantity.kind
        if kind == "lr_sensitivity":
            return {"bar": BARS_OF_LR_SENSITIVITY, "center": tuple(center)}
        if kind in OF_THE_GRID:
            return {"bar": BARS_OF_THE_GRID, "center": tuple(center)}
        if kind in {"steps_to", "seconds_to"}:
            return {"target": self._targets(), "rate": self._rates(self.fastest), "center": tuple(center)}
        rates = self._rates()
        if kind == "area":
            parts = Choice("steps", "all steps", "whole"), Choice("steps", "the first half of the steps", "half")
            return {"steps": parts, "rate": rates, "center": tuple(center)}
        if kind == "diagnostic":
            steps = [Choice("steps", "its last value", "last")]
            if self.quantity.is_mean:
                steps.insert(0, Choice("steps", "its mean over all measured steps", "all"))
            if self._all_runs(rates, lambda run: run.is_diagnosed_by_half(self.quantity)):
                steps.append(Choice("steps", "its value at half of the steps", "half"))
                steps.append(Choice("steps", "its mean over the second half", "second half"))
            return {"steps": tuple(steps), "rate": rates, "center": tuple(center)}
        figures = [Choice("figure", "the accuracy", "accuracy"), Choice("figure", "the loss", "loss")]
        images = [
            Choice("images", "the test set at the end", "test"),
            Choice("images", "the validation set at the end", "end"),
        ]
        if self._all_runs(rates, lambda run: run.is_validated_by_half):
            images.append(Choice("images", "the validation set at each run's best step", "best"))
            images.append(Choice("images", "the validation set after half of the steps", "half"))
        ordered = figures if kind == "test_accuracy" else figures[::-1]
        ordered[1] = replace(ordered[1], words=f"{ordered[1].words} (any difference)")
        return {"figure": tuple(ordered), "images": tuple(images), "rate": rates, "center": tuple(center)}

    @property
    def _num_pairs(self) -> int:
        """How many seeds both arms have at the rates that have an outcome."""
        return len(set.intersection(*({s for cell in arm.compared for s in cell.outcomes} for arm in self.arms)))

    def _all_runs(self, rates: Sequence[Choice], holds: Callable[[RunValues], bool]) -> bool:
        """Return whether something holds for every run at the rates of any analysis."""
        runs = [
            run for choice in rates for place, lr in enumerate(choice.value) for run in self._cell(place, lr).values()
        ]
        return all(holds(run) for run in runs if run is not None and not run.outcome.diverged)

    def verdict(self, analysis: Analysis) -> Verdict:
        """Return the verdict under one analysis; its figures are on the log scale where arms are compared by a ratio.

        Args:
            analysis: One choice per factor.

        Raises:
            StudyError: The figure cannot be read from the runs.
        """
        pairs = self.pairs(analysis)
        center: Center = analysis["center"].value
        sesoi = math.log(self.sesoi) if self.quantity.scale == "ratio" else self.sesoi
        is_other = self.is_of_another_figure(analysis)
        if is_other:
            sesoi = 0.0  # the smallest effect has the unit of the other figure; of this one any difference counts
        found = judge(pairs.differences, sesoi=sesoi, looks=self._looks, brackets=pairs.brackets, center=center)
        if found.verdict != "inconclusive" and self.is_untrained:
            found = replace(found, verdict="inconclusive", reason=UNTRAINED)
        return found if is_other else self.quantity.within_limits(found)

    def is_of_another_figure(self, analysis: Analysis) -> bool:
        """Return whether an analysis compares another figure than the one asked for: the loss in place of the accuracy.

        Args:
            analysis: One choice per factor.
        """
        factor = "bar" if self.quantity.kind == "lr_sensitivity" else "figure"
        return factor in analysis and analysis[factor] != self.factors[factor][0]

    def pairs(self, analysis: Analysis) -> Pairs:
        """Return the differences under one analysis.

        Args:
            analysis: One choice per factor.

        Raises:
            StudyError: The figure cannot be read from the runs.
        """
        if self.quantity.kind in OF_THE_GRID:
            of_first, of_second = grid_figures(self.arms, self._lrs, self.quantity, analysis["bar"].value)
            less = self.quantity.less_is_better
            return paired(of_first, of_second, self.quantity.scale, None, less_is_better=less)
        lrs: tuple[float, float] = analysis["rate"].value
        read = self._reader(analysis)
        values: list[dict[int, Figure | None]] = []
        for place, lr in enumerate(lrs):
            cell = self._cell(place, lr)
            values.append({seed: None if run is None else read(run) for seed, run in cell.items()})
        if "figure" in analysis:  # two networks that learned nothing differ by the noise of their starts alone
            for seed in set.intersection(*self._at_start(lrs, analysis["figure"].value)):
                values[0][seed] = values[1][seed]
        less_is_better = self.quantity.less_is_better
        if "figure" in analysis:
            less_is_better = analysis["figure"].value == "loss"
        return paired(values[0], values[1], self.quantity.scale, lrs, less_is_better=less_is_better)

    def _at_start(self, lrs: tuple[float, float], metric: Metric) -> tuple[set[int], set[int]]:
        """Return the seeds with which the runs of the first and of the second arm count with their start."""
        cells = [self._cell(place, lr).items() for place, lr in enumerate(lrs)]
        first, second = ({seed for seed, run in cell if run is not None and run.is_at_start(metric)} for cell in cells)
        return first, second

    def num_at_start(self) -> tuple[int, int]:
        """Return how many runs of each arm count with their start, where accuracy or loss is compared."""
        if "figure" not in self.base:
            return 0, 0
        first, second = self._at_start(self.base["rate"].value, self.base["figure"].value)
        return len(first), len(second)

    @property
    def is_untrained(self) -> bool:
        """Whether accuracies or losses are compared and no run of either arm has trained: that says nothing of them."""
        if self.quantity.kind not in {"test_accuracy", "test_loss", "area"}:
            return False  # diagnostics are measured of initial weights too
        pairs, lrs = self.pairs(self.base), self.base["rate"].value
        metric: Metric = self.base["figure"].value if "figure" in self.base else "accuracy"
        num_runs = [sum(figure is not None for figure in side) for side in (pairs.first, pairs.second)]
        return sum(num_runs) > 0 and [len(seeds) for seeds in self._at_start(lrs, metric)] == num_runs

    def steps_between_validations(self) -> int | None:
        """Return to how many steps the steps to a target are known; None where something else is compared."""
        if self.quantity.kind not in {"steps_to", "seconds_to"}:
            return None
        lrs: tuple[float, float] = self.base["rate"].value
        runs = [run for place, lr in enumerate(lrs) for run in self._cell(place, lr).values() if run is not None]
        return max((run.steps_between_validations for run in runs), default=None)

    def _reader(self, analysis: Analysis) -> Callable[[RunValues], Figure | None]:
        kind = self.quantity.kind
        if kind == "steps_to":
            return lambda run: run.steps_to(analysis["target"].value)
        if kind == "seconds_to":
            return lambda run: run.seconds_to(analysis["target"].value)
        if kind == "area":
            return lambda run: _exact(run.area(half=analysis["steps"].value == "half"))
        if kind == "diagnostic":
            return lambda run: run.diagnosed(self.quantity, analysis["steps"].value)
        return lambda run: _exact(run.evaluated(analysis["figure"].value, analysis["images"].value))

    def _cell(self, place: int, lr: float) -> dict[int, RunValues | None]:
        if (place, lr) not in self._cells:
            (cell,) = (cell for cell in self.arms[place].cells if cell.lr == lr)
            self._cells[place, lr] = values_by_seed(cell.runs)
        return self._cells[place, lr]

    def _targets(self) -> tuple[Choice, ...]:
        assert self.quantity.target is not None
        starts = [outcome.start_accuracy for arm in self.arms for c in arm.compared for outcome in c.outcomes.values()]
        return targets(self.quantity.target, max(starts))

    def _rates(self, fastest: Callable[[int], float] | None = None) -> tuple[Choice, ...]:
        """Return the ways to choose the learning rates of both arms, each pair of rates once."""
        metrics: tuple[Metric, Metric] = ("loss", "accuracy")
        ways = [
            (f"each arm's best learning rate by validation {metric}", (self._best(0, metric), self._best(1, metric)))
            for metric in metrics
        ]
        if fastest is not None:
            ways.insert(0, ("each arm's fastest learning rate", (fastest(0), fastest(1))))
        if self.tuned is not None:
            ways.insert(0, ("each arm's best learning rate on other seeds", self.tuned))
        decides = ways[0][1]
        shared = [lr for lr in decides if all(any(cell.lr == lr for cell in arm.compared) for arm in self.arms)]
        ways += [(f"both arms at the learning rate {lr:g}", (lr, lr)) for lr in shared]
        choices: dict[tuple[float, float], Choice] = {}
        for words, lrs in ways:
            choices.setdefault(lrs, Choice("rate", words, lrs))
        return tuple(choices.values())

    def _best(self, place: int, metric: Metric) -> float:
        best = self.arms[place].best(metric)
        assert best is not None
        return best.cell.lr

    def fastest(self, place: int) -> float:
        """Return the rate at which an arm reaches the target first, by the geometric mean over its complete seeds.

        Among equals, as where no run reaches it, the one with the lowest loss.

        Args:
            place: 0 for the first arm, 1 for the second one.
        """
        target = self.quantity.target
        assert target is not None
        means: dict[float, tuple[float, float]] = {}
        for cell in self.arms[place].compared:
            runs = [run for seed, run in self._cell(place, cell.lr).items() if seed in cell.outcomes]
            steps = [run.steps_to(target).value for run in runs if run is not None]
            means[cell.lr] = math.fsum(math.log(step) for step in steps) / len(steps), cell.mean("loss").value
        return min(means, key=lambda lr: means[lr])


def _exact(value: float | None) -> Figure | None:
    return None if value is None else Figure(value, value, value)
