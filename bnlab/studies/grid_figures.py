"""Figures of a whole grid, seed by seed: the largest learning rate that trains, the width of the range, sensitivity."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnlab.errors import ConfigError, StudyError
from bnlab.results.arms import LEARNING_RATE, SEED, Arm
from bnlab.stats.response import Metric, ResponseCurve
from bnlab.stats.sensitivity import sensitivity_by_seed
from bnlab.stats.trainable import Rule, best_accuracy, trainable_range
from bnlab.studies.quantity import Quantity
from bnlab.studies.run_values import UNKNOWN, Figure

OfSeeds = dict[int, Figure | None]
"""Seed -> figure; None where there is none."""


def grid_figures(arms: Sequence[Arm], lrs: Sequence[float], quantity: Quantity, choice: Any) -> list[OfSeeds]:
    """Return a figure of the whole grid for each arm.

    Args:
        arms: The arms; what counts as trained is set by the best accuracy that any of them reaches.
        lrs: The learning rates of the grid, or the values of the other key, rising.
        quantity: A quantity of the grid: ``max_lr``, ``width`` or ``lr_sensitivity``.
        choice: The rule by which a run is trained; of ``lr_sensitivity``, accuracy or loss.

    Raises:
        StudyError: The grid has one value only, or an arm has no seed with an outcome at each of them.
    """
    curves = _curves(arms, lrs, quantity)
    if quantity.kind == "lr_sensitivity":
        return [_sensitivities(curve, choice) for curve in curves]
    best = best_accuracy(*curves)
    read = _largest if quantity.kind == "max_lr" else _widths
    return [read(curve, choice, best) for curve in curves]


def _curves(arms: Sequence[Arm], lrs: Sequence[float], quantity: Quantity) -> list[ResponseCurve]:
    of_rates = quantity.kind != "width" or quantity.key == LEARNING_RATE
    what = "learning rate" if of_rates else f"value of {quantity.key}"
    if len(lrs) < 2:
        shown, several = f"{lrs[0]:g}" if lrs else "none", "learning rates" if of_rates else f"values of {quantity.key}"
        raise StudyError(
            f"{quantity.name} needs 2 or more {several}, the runs have {shown} alone. "
            "Sweep them: 'optim.lr=logspace(1e-3,10,9)'."
        )
    curves = []
    for arm in arms:
        curve = arm.response_curve(lrs)
        if curve is None:
            raise StudyError(
                f"{quantity.name} needs a seed with an outcome at each {what}, {arm.label} has none "
                f"({'; '.join(arm.missing[:3])}). Run the sweep again."
            )
        curves.append(curve)
    return curves


def _largest(curve: ResponseCurve, rule: Rule, best: float) -> OfSeeds:
    """Return the largest rate that trains; the truth is up to one step of the grid larger."""
    beyond = dict(zip(curve.lrs, [*curve.lrs[1:], math.inf], strict=True))
    largest = zip(curve.seeds, trainable_range(curve, rule, best).max_lr_by_seed, strict=True)
    return {seed: UNKNOWN if lr is None else Figure(lr, lr, beyond[lr]) for seed, lr in largest}


def _widths(curve: ResponseCurve, rule: Rule, best: float) -> OfSeeds:
    """Return the width in decades; the truth is up to one step of the grid wider at each end, at an edge unknown."""
    found = trainable_range(curve, rule, best)
    decades = [math.log10(lr) for lr in curve.lrs]
    steps = [after - before for before, after in itertools.pairwise(decades)]
    figures: OfSeeds = {}
    for seed, largest, width in zip(curve.seeds, found.max_lr_by_seed, found.width_by_seed, strict=True):
        if largest is None or width is None:
            figures[seed] = UNKNOWN
            continue
        last = curve.lrs.index(largest)
        first = min(range(len(decades)), key=lambda place: abs(decades[last] - width - decades[place]))
        below = steps[first - 1] if first > 0 else math.inf
        above = steps[last] if last < len(steps) else math.inf
        figures[seed] = Figure(width, width, width + below + above)
    return figures


def _sensitivities(curve: ResponseCurve, metric: Metric) -> OfSeeds:
    values = sensitivity_by_seed(curve, metric)
    return {seed: Figure(float(v), float(v), float(v)) for seed, v in zip(curve.seeds, values, strict=True)}


def with_values_as_rates(
    rows: Iterable[Mapping[str, Any]], swept: Sequence[str], key: str
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return runs with another key's values in the place of learning rates, so that its range is measured alike.

    Args:
        rows: The runs, as `read_run_rows` gives them.
        swept: The settings that tell the runs apart.
        key: The key, such as ``model.init_std``.

    Raises:
        ConfigError: The key is not swept, has values that are no numbers above 0, or other keys vary with it.
    """
    if key == LEARNING_RATE:
        return [dict(row) for row in rows], tuple(swept)
    placed = [dict(row) for row in rows]
    values = {row.get(key) for row in placed}
    if key not in swept or not all(isinstance(v, int | float) and v > 0 for v in values):
        raise ConfigError(
            f"width:{key} needs numbers above 0 of {key} that are swept, got {sorted(map(str, values))[:5]}. "
            f"Sweep them: '{key}=logspace(1e-3,1,7)'."
        )
    rates = {row.get(LEARNING_RATE) for row in placed}
    if len(rates) > 1:
        raise ConfigError(
            f"width:{key} needs one learning rate, the runs have {len(rates)}. Choose one: --where optim.lr=X."
        )
    for row in placed:
        row[LEARNING_RATE] = float(row[key])
    kept = [name for name in swept if name not in {key, LEARNING_RATE}]
    return placed, (*kept, *(() if SEED in kept else (SEED,)), LEARNING_RATE)
