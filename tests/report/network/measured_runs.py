"""Run folders written by hand: the values of their diagnostics are known, and nothing was trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord
from bnlab.runfolder.json_lines import record_line

Points = Mapping[str, Mapping[str, Sequence[float]]]
"""Diagnostic -> key -> values at the steps."""

STEPS = (0, 1, 10, 100, 1000)


def write_measured_run(
    folder: Path,
    points: Points,
    *,
    steps: Sequence[int] = STEPS,
    norm: str = "batch",
    activation: str = "sigmoid",
    names: Sequence[str] = (),
    figures: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a finished run with records of some diagnostics; return its folder."""
    folder.mkdir(parents=True)
    config = {
        "seed": seed,
        "norm": {"name": norm},
        "model": {"name": "mlp", "activation": activation},
        "data": {"name": "digits"},
        "optim": {"name": "sgd", "lr": 0.1},
        "diagnostics": {"name": "full", "names": list(names)},
    }
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "status": "finished", "config": config}))
    (folder / "summary.json").write_text(json.dumps({"run_id": folder.name, "status": "finished", **(figures or {})}))
    lines = []
    for place, step in enumerate(steps):
        for name, curves in points.items():
            values = {key: float(values[place]) for key, values in curves.items()}
            lines.append(record_line(DiagnosticRecord(step, name, values)))
    for split in ("validation", "test"):
        known = {key: one for key, one in (figures or {}).items() if key.startswith(split) and one is not None}
        values = {key.removeprefix(f"{split}_"): one for key, one in known.items()}
        if values:
            lines.append(record_line(EvalRecord(steps[-1], split, values)))
    lines.append(record_line(EndRecord(steps[-1], "finished", {})))
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder
