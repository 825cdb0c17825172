"""What the instruments of a sweep measured last: one value per arm, instrument, layer and seed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnlab.errors import RunError
from bnlab.renamed import current_name
from bnlab.results.arms import Arm
from bnlab.results.sweep import SweepRuns
from bnlab.runfolder.folder import RunFolder

_GROUP = "diagnostics"


def asked_instruments(sweep: SweepRuns) -> list[str]:
    """Return the instruments that the words of a sweep ask for; none where its runs measure what every run does.

    Args:
        sweep: The sweep's folder, as read.
    """
    words = [word for of_command in (sweep.overrides, *sweep.earlier) for word in of_command]
    keys = {word.lstrip("+").partition("=")[0] for word in words}
    if not keys & {_GROUP, f"{_GROUP}.names"}:
        return []
    names = [name for row in sweep.rows for name in row.get("diagnostics.names") or []]
    return list(dict.fromkeys(current_name(name) for name in names if isinstance(name, str)))


def last_values(arm: Arm, names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return what was measured last in the runs of an arm at its best learning rate.

    Args:
        arm: The arm.
        names: The instruments that are read. A place such as ``package.module:Class`` does not tell the name in the
            records: with one of these, all that was recorded is read.

    Returns:
        ``instrument/layer`` or ``instrument/layer/facet`` -> seed -> value, finite ones alone; in the order of the
        records. A run whose file is damaged has what stands above the damage.
    """
    key = ("last values", tuple(names))
    if key not in arm.kept:
        arm.kept[key] = _read_last_values(arm, names)
    return dict(arm.kept[key])


def _read_last_values(arm: Arm, names: Sequence[str]) -> dict[str, dict[int, float]]:
    best = arm.best()
    wanted = None if any(":" in name for name in names) else frozenset(names)
    found: dict[str, dict[int, float]] = {}
    for run in best.cell.runs if best is not None else ():
        if run.row is not None:
            for key, value in _last_of(Path(run.row["folder"]), wanted).items():
                if math.isfinite(value):
                    found.setdefault(key, {})[run.seed] = value
    place = {name: number for number, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda entry: place.get(entry[0].partition("/")[0], len(place))))


def _last_of(folder: Path, names: frozenset[str] | None) -> Mapping[str, float]:
    last: dict[str, float] = {}
    try:
        for record in RunFolder(folder).read_records():
            if record["kind"] == "diagnostic" and (names is None or record["name"] in names):
                values = {**record["values"], **record.get("nonfinite", {})}
                last.update({f"{record['name']}/{key}": float(value) for key, value in values.items()})
    except RunError:
        return last
    return last
