"""The dashboard of a sweep: its arms side by side, for TensorBoard on the sweep's folder.

::

    runs/<sweep>/
        events.out.tfevents.*              the page of the sweep: its charts, a table, figures
        arms/<arm>/events.out.tfevents.*   a TensorBoard run per arm: means over seeds, and their intervals
        <run id>/events.out.tfevents.*     each run, one row of the HParams table

An arm's curves have the tags of its runs, so that TensorBoard overlays them. Its band, and its outcomes against the
learning rate, have tags of their own: a chart with a band complains about every run that has only some of its tags.
"""

import contextlib
import io
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.summary.writer.record_writer import RecordWriter

from bnlab.loggers.tensorboard.first_page import ARMS
from bnlab.loggers.tensorboard.layouts import INSIDE, as_value, band, category, inside_charts, learning_charts
from bnlab.loggers.tensorboard.values import beginning, event, picture, scalar, text
from bnlab.records import ENDED
from bnlab.results.arms import Arm, BestRate, SweepArms
from bnlab.results.curves import Curve, read_best_curves
from bnlab.results.outcomes import Cell
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.stats.response import RANGE, Metric

BANDS = {"eval/loss": "validation loss", "eval/accuracy": "validation accuracy", "train/loss": "training loss"}
"""Curves that get a band: three tags each, so not all."""

FIRST = frozenset({"eval/loss", "eval/accuracy"})
"""Those at the top of the page: below two charts, what is inside the networks can be seen without scrolling."""

LR_STEPS_PER_DECADE = 100
"""TensorBoard's steps are whole numbers: a learning rate stands at 100 * log10(LR), so that 0.1 is -100, and 1 is 0."""

LR_AXIS = "by 100 log10(LR): -200 is 0.01, 0 is 1"
FINALS: tuple[Metric, ...] = ("loss", "accuracy")
"""The figures of the validation set at the end that are drawn against the learning rate, with their intervals."""

DIVERGED = "lr_sensitivity/diverged_share"
"""Without one: that of 0 out of 5 reaches to 0.43, and would cover everything else."""

WAIT_S = 30.0
"""Seconds to wait for another process that writes the same dashboard; it takes less than two for 300 runs."""

_FIRST_STEP = -(10**9)
_ENDING = ".bnlab"  # of our files: none but these are taken away
_log = logging.getLogger("bnlab")


def write_sweep_dashboard(sweep_folder: Path, figures: Mapping[str, bytes] | None = None) -> None:
    """Write a sweep's page and its arms, out of the runs that have ended; again whenever there are more.

    Earlier pages are replaced. A TensorBoard that is running shows the new curves at its next reload.

    Args:
        sweep_folder: The folder of the sweep, finished or not; any folder of runs will do.
        figures: PNG files for TensorBoard's Images page, by the name that they have there; None: no page.
    """
    (sweep_folder / ".locks").mkdir(exist_ok=True)
    try:
        with FileLock(sweep_folder / ".locks" / "dashboard.lock", timeout=WAIT_S):
            sweep = read_sweep(sweep_folder)
            found = sweep.read_arms()
            bests = [(arm, best) for arm in found.arms if (best := arm.best()) is not None]
            has_seeds = any(len(best.cell.runs) > 1 for _, best in bests)
            tags: dict[str, None] = {}
            for arm, best in bests:
                curves = read_best_curves(arm)
                tags |= dict.fromkeys(curves)
                _write_events(sweep_folder / ARMS / arm.folder_name, _arm_events(arm, best, curves, has_seeds))
            page = [as_value(_layout([arm for arm, _ in bests], tags, has_seeds))]
            page.append(text("sweep", _summary(sweep, found), "The sweep so far."))
            page += [picture(name, png, "") for name, png in (figures or {}).items()]
            _write_events(sweep_folder, [event(0, page)])
            _remove_other_arms(sweep_folder / ARMS, {arm.folder_name for arm, _ in bests})
    except Timeout:
        _log.warning("%s: another process writes its dashboard; this one leaves it alone", sweep_folder)


def _arm_events(arm: Arm, best: BestRate, curves: Mapping[str, Curve], has_seeds: bool) -> list[Event]:
    values: dict[int, list[Summary.Value]] = {}
    num_seeds = len(best.cell.runs)
    mean = f"Mean over {num_seeds} seeds" if num_seeds > 1 else "One seed"
    what = f"{mean} at the {'best ' if len(arm.compared) > 1 else ''}learning rate of this arm, {best.cell.lr:g}."
    for tag, curve in curves.items():
        _add(values, curve.steps, {tag: curve.mean}, what)
        if has_seeds and tag in BANDS:
            _add(values, curve.steps, _band_of(band_tags(tag), curve), f"{what} Band: 95% interval of the mean.")
    events = [event(step, values[step]) for step in sorted(values)]
    if len(arm.compared) > 1:
        events += [event(lr_step(cell.lr), _values_at(cell)) for cell in arm.compared]
    return events


def _add(
    values: dict[int, list[Summary.Value]], steps: Sequence[int], curves: Mapping[str, Sequence[float]], what: str
) -> None:
    for tag, curve in curves.items():
        for number, (step, value) in enumerate(zip(steps, curve, strict=True)):
            values.setdefault(step, []).append(scalar(tag, value, "" if number else what))


def band_tags(tag: str) -> tuple[str, str, str]:
    """Return the tags of a band: its mean, its lower and its upper end."""
    name = f"over_seeds/{tag.replace('/', '_')}"
    return f"{name}_mean", f"{name}_low", f"{name}_high"


def _band_of(tags: tuple[str, str, str], curve: Curve) -> dict[str, Sequence[float]]:
    return dict(zip(tags, (curve.mean, curve.low, curve.high), strict=True))


def lr_step(lr: float) -> int:
    """Return the step at which a learning rate stands.

    Example:
        >>> [lr_step(lr) for lr in (0.01, 0.1, 0.3, 1, 10)]
        [-200, -100, -52, 0, 100]
    """
    return round(LR_STEPS_PER_DECADE * math.log10(lr))


def lr_tags(final: str) -> tuple[str, str, str]:
    """Return the tags of the outcomes against the learning rate: of the mean, and of the ends of its interval."""
    name = f"lr_sensitivity/validation_{final}"
    return name, f"{name}_low", f"{name}_high"


def _values_at(cell: Cell) -> list[Summary.Value]:
    values = [scalar(DIVERGED, cell.num_diverged / len(cell.runs), f"Share of the seeds, {LR_AXIS}.")]
    for final in FINALS:
        estimate = cell.mean(final)
        least, most = RANGE[final]
        low = estimate.value if estimate.low is None else max(estimate.low, least)
        high = estimate.value if estimate.high is None else min(estimate.high, most)
        what = (
            f"Mean over seeds at the end, and its 95% interval, {LR_AXIS}. A run that diverged enters with its start."
        )
        values += [scalar(t, v, what) for t, v in zip(lr_tags(final), (estimate.value, low, high), strict=True)]
    return values


def _layout(arms: Sequence[Arm], tags: Iterable[str], has_seeds: bool) -> Any:
    """Return the Custom Scalars page, for arms whose curves have some tags, with bands if there are several seeds."""
    has_rates = any(len(arm.compared) > 1 for arm in arms)
    title = f"Arms{', each at its best learning rate' if has_rates else ''}"
    if has_seeds:
        curves = [band(words, *band_tags(tag)) for tag, words in BANDS.items() if tag in FIRST]
        parts = [category(f"{title}: mean over seeds, 95% interval", curves)]
    else:
        parts = [category(title, learning_charts())]
    groups = dict.fromkeys(tag.partition("/")[0] for tag in tags if not tag.startswith(("train/", "eval/")))
    if inside := inside_charts(sorted(groups, key=lambda name: name != "saturation")):
        parts.append(category(INSIDE, inside))
    if has_rates:
        charts = [band(f"validation {final} at the end, {LR_AXIS}", *lr_tags(final)) for final in FINALS]
        charts.append(band(f"share of the runs that diverged, {LR_AXIS}", DIVERGED))
        parts.append(category("Learning-rate sensitivity", charts))
    if has_seeds:
        curves = [band(words, *band_tags(tag)) for tag, words in BANDS.items() if tag not in FIRST]
        parts.append(category("On the training set", curves))
    return Layout(category=parts)


def _summary(sweep: SweepRuns, found: SweepArms) -> str:
    """Return a page of Markdown: the best of each arm, the missing runs, the overrides, the settings of all runs."""
    ended = sum(row["status"] in ENDED for row in sweep.rows)
    table = ["| arm | best learning rate | seeds | validation loss | validation accuracy | diverged, of all runs |"]
    table.append("|---" * 6 + "|")
    for arm in found.arms:
        if (best := arm.best()) is not None:
            entries = [arm.folder_name, _rate_of(best), *_figures_of(best.cell), _diverged(arm)]
            table.append(f"| {' | '.join(entries)} |")
    parts = [f"{ended} of {len(sweep.planned)} runs have ended.", "\n".join(table), *found.sentences()]
    for words in (*sweep.earlier, sweep.overrides):
        parts += ["Asked for:", _block(words)] if words else []
    shared = sweep.shared_settings()
    return "\n\n".join([*parts, "In all runs:", _block(f"{key}: {json.dumps(v)}" for key, v in shared.items())])


def _rate_of(best: BestRate) -> str:
    if best.lr is None:
        return "none: no run ended better than it started"
    return f"{best.lr:g}{' (the edge of the grid)' if best.edge else ''}"


def _figures_of(cell: Cell) -> list[str]:
    return [f"{len(cell.runs)}", f"{cell.mean('loss').value:.4f}", f"{cell.mean('accuracy').value:.1%}"]


def _diverged(arm: Arm) -> str:
    num_runs = sum(len(cell.outcomes) for cell in arm.cells)
    return f"{sum(cell.num_diverged for cell in arm.cells)} of {num_runs}"


def _block(entries: Iterable[str]) -> str:
    return "\n".join(["```", *entries, "```"])


def _write_events(folder: Path, events: Iterable[Event]) -> None:
    """Put one event file in the place of those that were there; a reader sees the old one or the new, whole.

    Raises:
        OSError: The folder cannot be written to; the old file stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = list(folder.glob(f"events.out.tfevents.*{_ENDING}"))
    now = time.time_ns()
    header = Event(wall_time=now / 1e9, file_version="brain.Event:2")
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for each in (header, beginning(_FIRST_STEP), *events):
        writer.write(each.SerializeToString())
    beside = folder / ".dashboard.tmp"  # a name that TensorBoard does not read
    try:
        beside.write_bytes(buffer.getvalue())
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    # a new name each time: a TensorBoard that has read a file to its end does not look at what replaces it
    beside.replace(folder / f"events.out.tfevents.{now}{_ENDING}")
    for old in before:
        _empty_or_remove(old)


def _remove_other_arms(folder: Path, names: set[str]) -> None:
    """Remove the arms of an earlier sweep with other settings."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name not in names:
            with contextlib.suppress(OSError):
                for old in path.glob(f"events.out.tfevents.*{_ENDING}"):
                    old.unlink()
                path.rmdir()  # unless somebody else's files are in it


def _empty_or_remove(path: Path) -> None:
    """Empty a file, and remove it the next time.

    A TensorBoard that reads by Python stands at the end of it, looks there first, and goes no further if it is gone.
    """
    with contextlib.suppress(OSError):  # on Windows, while it is open; the newer file overrules it all the same
        if path.stat().st_size > 0:
            os.truncate(path, 0)
        else:
            path.unlink()
