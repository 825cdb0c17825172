"""A verdict on any sweep: "the first arm is better than the second by more than X"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError, StudyError, did_you_mean
from bnlab.results.arms import LEARNING_RATE, Arm, SweepArms, read_arms
from bnlab.results.outcomes import Row
from bnlab.results.query import describe_column, read_condition
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.results.swept import FACTS
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows
from bnlab.studies.arm_pair import ArmPair
from bnlab.studies.caveats import sentences_of
from bnlab.studies.grid_figures import with_values_as_rates
from bnlab.studies.judged import Judged
from bnlab.studies.planning import what_would_change
from bnlab.studies.quantity import Quantity
from bnlab.studies.stress import stress


@dataclass(frozen=True)
class Question:
    """Two arms of a sweep and what is asked about them.

    Attributes:
        folder: The folder of the sweep.
        grid: All arms of the runs that were chosen.
        pair: The two arms, seed by seed.
        facts: The settings that all runs of the sweep share.
        where: The conditions by which runs were chosen.
    """

    folder: Path
    grid: SweepArms
    pair: ArmPair
    facts: Mapping[str, Any]
    where: tuple[str, ...]


def judge_sweep(
    folder: Path,
    quantity: Quantity,
    *,
    arms: Sequence[str] = (),
    sesoi: float | None = None,
    looks: int = 1,
    where: Sequence[str] = (),
    sweep: SweepRuns | None = None,
) -> Judged:
    """Return a verdict on two arms of a sweep.

    Args:
        folder: The sweep's folder; any folder of runs will do.
        quantity: What the arms are compared by.
        arms: The labels of the first and the second arm; none: the only two arms, ``norm=none`` last.
        sesoi: The smallest effect of interest, in the quantity's unit; None: the usual one.
        looks: How often the data are looked at in all.
        where: Conditions that runs must fulfill, such as ``model.depth=5``.
        sweep: The folder, as the caller has read it; None: it is read.

    Raises:
        ConfigError: A condition, an arm or the smallest effect is none.
        StudyError: There are no runs, or the figure cannot be read from them.
    """
    return judged(ask(folder, quantity, arms=arms, sesoi=sesoi, looks=looks, where=where, sweep=sweep))


def ask(
    folder: Path,
    quantity: Quantity,
    *,
    arms: Sequence[str] = (),
    sesoi: float | None = None,
    looks: int = 1,
    where: Sequence[str] = (),
    tuned: Mapping[str, float] | None = None,
    alone: str | None = None,
    sweep: SweepRuns | None = None,
) -> Question:
    """Return two arms of a sweep, with what is asked about them.

    Args:
        folder: As in `judge_sweep`.
        quantity: As in `judge_sweep`.
        arms: As in `judge_sweep`.
        sesoi: As in `judge_sweep`.
        looks: As in `judge_sweep`.
        where: As in `judge_sweep`.
        tuned: Label of an arm -> the learning rate that was chosen for it on other seeds; None: none was.
        alone: The label of an arm whose own figures are of interest, in the place of a difference; it stands for both.
        sweep: As in `judge_sweep`.

    Raises:
        ConfigError: A condition, an arm or the smallest effect is none.
        StudyError: There are no runs, or the figure cannot be read from them.
    """
    sweep = sweep or read_sweep(folder)
    if not sweep.rows:
        raise StudyError(_why_no_sweep(folder))
    grid = _arms_where(sweep, where, quantity.key if quantity.kind == "width" else LEARNING_RATE)
    first, second = find_arms(grid, arms) if alone is None else (_find_arm(grid, alone),) * 2
    facts = sweep.shared_settings()
    data = str(first.settings.get("data") or facts.get("data") or "")
    smallest = quantity.checked_sesoi(quantity.usual_sesoi(data) if sesoi is None else sesoi)
    chosen = None
    if tuned is not None:
        if missing := [arm.label for arm in (first, second) if arm.label not in tuned]:
            raise StudyError(f"{folder}: no learning rate was chosen for {missing[0]}. Run the study again.")
        chosen = tuned[first.label], tuned[second.label]
    pair = ArmPair(first, second, quantity, grid.lrs, smallest, looks, chosen)
    return Question(folder, grid, pair, facts, tuple(where))


def judged(question: Question) -> Judged:
    """Return the verdict on two arms.

    Args:
        question: The arms, and what is asked about them.

    Raises:
        StudyError: The figure cannot be read from the runs.
    """
    grid, pair = question.grid, question.pair
    base = pair.base
    verdict, pairs = pair.verdict(base), pair.pairs(base)
    found = Judged(
        folder=question.folder,
        quantity=pair.quantity,
        sesoi=pair.sesoi,
        arms=pair.arms,
        verdict=verdict,
        pairs=pairs,
        stress=stress(pair),
        where=question.where,
        facts=question.facts,
        rates=base["rate"].words if "rate" in base else "",
        to_change="",
        seconds=seconds_of(pair.arms),
        sentences=tuple(sentences_of(grid, pair, verdict, pairs)),
    )
    return replace(found, to_change=what_would_change(found))


def seconds_of(arms: Sequence[Arm]) -> float:
    """Return how long all runs of some arms took to train, one after the other, in seconds."""
    unique = {id(arm): arm for arm in arms}.values()
    rows = [run.row for arm in unique for cell in arm.cells for run in cell.runs if run.row is not None]
    return math.fsum(_seconds_of(row) for row in rows)


def _why_no_sweep(folder: Path) -> str:
    """Return why a folder is no sweep, and what to do."""
    inside = read_run_rows(folder)
    if len(inside) == 1 and Path(inside[0]["folder"]) == folder:
        return f"{folder} is one run, where a sweep is wanted: arms are compared over seeds."
    sweeps = sorted({Path(row["folder"]).parent.name for row in inside})
    if sweeps:
        return f"{folder} holds runs in folders of their own. Name one of its sweeps: {', '.join(sweeps)}."
    return f"{folder} holds no runs that can be read. Sweep them: bnlab sweep norm=batch,none 'seed=range(5)'."


def _arms_where(sweep: SweepRuns, where: Sequence[str], ranged: str) -> SweepArms:
    """Return the arms of the runs that fulfill all conditions.

    Args:
        sweep: The sweep whose runs are looked at.
        where: The conditions.
        ranged: The key whose values are the points of a response curve: the learning rate, or another one.

    Raises:
        ConfigError: A condition is none, or no run fulfills them.
    """
    if not where and ranged == LEARNING_RATE:
        return sweep.read_arms()
    rows = list(sweep.rows)
    for text in where:
        condition = read_condition(text, rows)
        if condition.column in FACTS:
            raise ConfigError(
                f"--where {text}: {condition.column} is no setting of a run. To choose runs by what became of them "
                "would decide the verdict."
            )
        kept = [row for row in rows if condition.holds(row)]
        if not kept:
            raise ConfigError(f"--where {text}: no run is left. {describe_column(condition.column, rows)}.")
        rows = kept
    chosen_out = {row["run_id"] for row in sweep.rows} - {row["run_id"] for row in rows}
    placed, swept = with_values_as_rates(rows, sweep.swept, ranged)
    grid = read_arms(placed, swept, [run_id for run_id in sweep.planned if run_id not in chosen_out])
    # of runs without a folder that no place names, nobody knows whether they fulfill the conditions
    return replace(grid, unplaced=(), num_unnamed=0) if where else grid


def find_arms(grid: SweepArms, wanted: Sequence[str], *, with_where: bool = True) -> tuple[Arm, Arm]:
    """Return the two arms of some labels.

    Args:
        grid: All arms of the sweep.
        wanted: The labels of the first and the second arm; none: the only two arms, ``norm=none`` last.
        with_where: Whether the command has the option ``--where``, which tells arms apart too.

    Raises:
        ConfigError: There are no such arms, or a label means several.
    """
    labels = ", ".join(arm.label for arm in grid.arms)
    if not wanted:
        if len(grid.arms) == 1:
            raise ConfigError(f"a verdict compares two arms, the sweep has one: {labels}. Sweep norm=batch,none, say.")
        if len(grid.arms) > 2:
            raise ConfigError(f"--arms FIRST,SECOND is missing: the sweep has {len(grid.arms)} arms: {labels}.")
        first, second = grid.arms
        return (second, first) if first.settings.get("norm") == "none" else (first, second)
    if len(wanted) != 2 or wanted[0] == wanted[1]:
        raise ConfigError(f"--arms takes two different arms, as batch,none, got {','.join(wanted)}. Arms: {labels}.")
    first, second = (_find_arm(grid, word, with_where) for word in wanted)
    if first is second:
        raise ConfigError(f"--arms {','.join(wanted)}: both words name {first.label}. Arms: {labels}.")
    return first, second


def _find_arm(grid: SweepArms, word: str, with_where: bool = True) -> Arm:
    """Return the arm of a label, of its folder's name, or of the only value that tells it apart.

    Raises:
        ConfigError: There is none, or there are several.
    """
    named = [arm for arm in grid.arms if word in {arm.label, arm.folder_name}]
    found = named or [arm for arm in grid.arms if word in map(str, arm.settings.values())]
    if len(found) == 1:
        return found[0]
    if not found:
        near = did_you_mean(word, [arm.label for arm in grid.arms])
        raise ConfigError(f"--arms {word}: the sweep has no such arm. {near}")
    others = ", ".join(arm.label for arm in found)
    or_where = ", or choose runs by --where KEY=VALUE" if with_where else ""
    raise ConfigError(f"--arms {word} means {len(found)} arms: {others}. Write one of these, in quotes{or_where}.")


def _seconds_of(row: Row) -> float:
    """Return how long a run took to train; of one that was trained together with others, its share."""
    try:
        cohort = RunFolder(Path(row["folder"])).read_manifest().get("cohort") or {}
    except RunError:
        cohort = {}
    return float(row.get("duration_s") or 0.0) / max(len(cohort.get("runs", ())), 1)
