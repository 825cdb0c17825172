"""Run folders whose numbers are known, without any training."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, StepRecord
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.folder import record_line

STEPS = (0, 10, 20)


def run_folder(
    sweep: Path,
    norm: str,
    lr: float,
    seed: int,
    losses: Sequence[float],
    *,
    status: str = "finished",
    diverged_at: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write a run whose validation loss goes through `losses`, its accuracy being 1 - loss / 10; return its id."""
    run_id = f"{norm}-mlp-fake-lr{lr:g}-s{seed}" + "".join(f"-{value}" for value in (settings or {}).values())
    folder = sweep / run_id
    folder.mkdir(parents=True)
    records: list[Record] = []
    for step, loss in zip(STEPS, losses, strict=False):
        if step:
            records.append(StepRecord(step, {"loss": loss + 1, "accuracy": 0.5, "lr": lr}))
        records.append(EvalRecord(step, "validation", {"loss": loss, "accuracy": 1 - min(loss, 10) / 10}))
        records.append(DiagnosticRecord(step, "saturation", {"hidden1": seed + step, "hidden2": math.nan}))
    if status in {"finished", "diverged"}:
        values: dict[str, float] = {} if diverged_at is None else {"diverged_at_step": diverged_at}
        records.append(EndRecord(STEPS[-1], "finished" if status == "finished" else "diverged", values))
    (folder / "metrics.jsonl").write_text("".join(record_line(record) + "\n" for record in records))
    config: dict[str, Any] = {"norm": {"name": norm}, "optim": {"name": "sgd", "lr": lr}, "seed": seed}
    config["model"] = {"name": "mlp", **(settings or {})}
    (folder / "manifest.json").write_text(json.dumps({"status": status, "config": config}))
    final = losses[-1] if status == "finished" and math.isfinite(losses[-1]) else None
    summary = {"run_id": run_id, "status": status, "seed": seed, "validation_loss": final, "steps": STEPS[-1]}
    summary |= {"validation_accuracy": None if final is None else 1 - final / 10, "diverged_at_step": diverged_at}
    (folder / "summary.json").write_text(json.dumps(summary))
    return run_id


def sweep_of(folder: Path, runs: Sequence[str], overrides: Sequence[str] = ()) -> Path:
    """Write down that these are the runs of a sweep."""
    write_sweep(folder, list(overrides), list(runs))
    return folder
