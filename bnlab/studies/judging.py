"""A verdict on any sweep: "the first arm is better than the second by more than X"."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bnlab.errors import ConfigError, RunError, StudyError, did_you_mean
from bnlab.results.arms import Arm, SweepArms, read_arms
from bnlab.results.outcomes import Row
from bnlab.results.query import describe_column, read_condition
from bnlab.results.sweep import FACTS, SweepRuns, read_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows
from bnlab.studies.arm_pair import ArmPair
from bnlab.studies.caveats import sentences_of
from bnlab.studies.judged import Judged
from bnlab.studies.planning import what_would_change
from bnlab.studies.quantity import Quantity
from bnlab.studies.stress import stress


def judge_sweep(
    folder: Path,
    quantity: Quantity,
    *,
    arms: Sequence[str] = (),
    sesoi: float | None = None,
    looks: int = 1,
    where: Sequence[str] = (),
) -> Judged:
    """Return a verdict on two arms of a sweep.

    Args:
        folder: The sweep's folder; any folder of runs will do.
        quantity: What the arms are compared by.
        arms: The labels of the first and the second arm; none: the only two arms, ``norm=none`` last.
        sesoi: The smallest effect of interest, in the quantity's unit; None: the usual one.
        looks: How often the data are looked at in all.
        where: Conditions that runs must fulfill, such as ``model.depth=5``.

    Raises:
        ConfigError: A condition, an arm or the smallest effect is none.
        StudyError: There are no runs, or the figure cannot be read from them.
    """
    sweep = read_sweep(folder)
    if not sweep.rows:
        raise StudyError(_why_no_sweep(folder))
    grid = _arms_where(sweep, where)
    first, second = _find_arms(grid, arms)
    facts = sweep.shared_settings()
    data = str(first.settings.get("data") or facts.get("data") or "")
    smallest = quantity.checked_sesoi(quantity.usual_sesoi(data) if sesoi is None else sesoi)
    pair = ArmPair(first, second, quantity, grid.lrs, smallest, looks)
    base = pair.base
    verdict, pairs = pair.verdict(base), pair.pairs(base)
    rows = [run.row for arm in (first, second) for cell in arm.cells for run in cell.runs if run.row is not None]
    seconds = math.fsum(_seconds_of(row) for row in rows)
    sentences = sentences_of(grid, pair, verdict, pairs)
    judged = Judged(
        folder=folder,
        quantity=quantity,
        sesoi=smallest,
        arms=(first, second),
        verdict=verdict,
        pairs=pairs,
        stress=stress(pair),
        where=tuple(where),
        facts=facts,
        rates=base["rate"].words if "rate" in base else "",
        to_change="",
        seconds=seconds,
        sentences=tuple(sentences),
    )
    return replace(judged, to_change=what_would_change(judged))


def _why_no_sweep(folder: Path) -> str:
    """Return why a folder is no sweep, and what to do."""
    inside = read_run_rows(folder)
    if len(inside) == 1 and Path(inside[0]["folder"]) == folder:
        return f"{folder} is one run, where a sweep is wanted: arms are compared over seeds."
    sweeps = sorted({Path(row["folder"]).parent.name for row in inside})
    if sweeps:
        return f"{folder} holds runs in folders of their own. Name one of its sweeps: {', '.join(sweeps)}."
    return f"{folder} holds no runs that can be read. Sweep them: bnlab sweep norm=batch,none 'seed=range(5)'."


def _arms_where(sweep: SweepRuns, where: Sequence[str]) -> SweepArms:
    """Return the arms of the runs that fulfill all conditions.

    Raises:
        ConfigError: A condition is none, or no run fulfills them.
    """
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
    grid = read_arms(rows, sweep.swept, [run_id for run_id in sweep.planned if run_id not in chosen_out])
    # of runs without a folder that no place names, nobody knows whether they fulfill the conditions
    return replace(grid, unplaced=(), num_unnamed=0) if where else grid


def _find_arms(grid: SweepArms, wanted: Sequence[str]) -> tuple[Arm, Arm]:
    """Return the two arms of some labels.

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
    first, second = _find_arm(grid, wanted[0]), _find_arm(grid, wanted[1])
    if first is second:
        raise ConfigError(f"--arms {','.join(wanted)}: both words name {first.label}. Arms: {labels}.")
    return first, second


def _find_arm(grid: SweepArms, word: str) -> Arm:
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
    raise ConfigError(
        f"--arms {word} means {len(found)} arms: {others}. Write one of these, in quotes, or choose runs by --where "
        "KEY=VALUE."
    )


def _seconds_of(row: Row) -> float:
    """Return how long a run took to train; of one that was trained together with others, its share."""
    try:
        cohort = RunFolder(Path(row["folder"])).read_manifest().get("cohort") or {}
    except RunError:
        cohort = {}
    return float(row.get("duration_s") or 0.0) / max(len(cohort.get("runs", ())), 1)
