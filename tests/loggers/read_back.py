"""What a library keeps of a run, read without the library and without bnlab: tag -> step -> value."""

import csv
import json
import math
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Curves = dict[str, dict[int, float]]


def expected(folder: Path) -> Curves:
    """The curves as metrics.jsonl, timings.jsonl and summary.json have them."""
    curves: Curves = {}
    shown = json.loads((folder / "manifest.json").read_text())["config"]["diagnostics"]["tensorboard"]
    for name in ("metrics.jsonl", "timings.jsonl"):
        for line in (folder / name).read_text().splitlines():
            facts = json.loads(line)
            group = {"step": "train", "eval": {"validation": "eval"}.get(facts.get("split"))}.get(facts["kind"])
            if facts["kind"] == "diagnostic" and facts["name"] in shown:
                group = facts["name"]
            if facts["kind"] == "timing":
                group = "speed"
            for key, value in {**facts["values"], **facts.get("nonfinite", {})}.items():
                if group and key not in {"lr", "elapsed_s", "train_s"}:
                    curves.setdefault(f"{group}/{key}", {})[facts["step"]] = float(value)
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("accuracy", "loss"):
        if summary[f"test_{key}"] is not None:
            curves[f"test/{key}"] = {summary["steps"]: summary[f"test_{key}"]}
    return curves


def of_csv(folder: Path) -> Curves:
    curves: Curves = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for tag, value in row.items():
                if tag != "step" and value:
                    _put(curves, tag, int(row["step"]), float(value))
    return curves


def of_mlflow(folder: Path) -> Curves:
    curves: Curves = {}
    with sqlite3.connect(folder.parent.parent / "mlflow.db") as base:
        runs = mlflow_runs(folder)
        assert len(runs) == 1
        for key, step, value, is_nan in base.execute(
            "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?", (runs[0]["run_uuid"],)
        ):
            huge = math.copysign(math.inf, value) if abs(value) > 1.79e308 else value  # findings/mlflow-infinity.sh
            _put(curves, key, step, math.nan if is_nan else huge)
    return curves


def mlflow_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs of a name that are not deleted, with their tags and parameters."""
    with sqlite3.connect(folder.parent.parent / "mlflow.db") as base:
        base.row_factory = sqlite3.Row
        found = base.execute(
            "SELECT r.*, e.name AS experiment FROM runs r JOIN experiments e USING (experiment_id) "
            "WHERE r.name = ? AND r.lifecycle_stage = 'active' AND e.name = ?",
            (folder.name, folder.parent.name if folder.parent.name != "single" else "bnlab"),
        ).fetchall()
        return [
            {
                **dict(one),
                "tags": dict(base.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (one["run_uuid"],))),
                "params": dict(base.execute("SELECT key, value FROM params WHERE run_uuid = ?", (one["run_uuid"],))),
            }
            for one in found
        ]


def of_trackio(folder: Path) -> Curves:
    project = folder.parent.name if folder.parent.name != "single" else "bnlab"
    curves: Curves = {}
    with sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / f"{project}.db") as base:
        for step, text in base.execute("SELECT step, metrics FROM metrics WHERE run_name = ?", (folder.name,)):
            for tag, value in json.loads(text).items():
                _put(curves, tag, step, float(value))
    return curves


def of_wandb(folder: Path) -> Curves:
    curves: Curves = {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            for tag, text in items.items():
                if not tag.startswith("_"):
                    _put(curves, tag, int(items["_step"]), float(json.loads(text)))
    return curves


def wandb_records(folder: Path) -> list[Any]:
    """The records of the one file that W&B has in a run's folder, whose writer may need a moment after the run's end.

    See findings/wandb-finish-does-not-wait.sh.
    """
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while True:
        records = list(_records_in(path))
        if any(one.WhichOneof("record_type") == "exit" for one in records) or time.monotonic() > deadline:
            return records
        time.sleep(0.1)


def _records_in(path: Path) -> Iterator[Any]:
    """The records of a file of W&B's: blocks of 32 KiB, each record in one or more pieces."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415  (an extra)

    content, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last piece
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            record = b""
            yield message


def _put(curves: Curves, tag: str, step: int, value: float) -> None:
    steps = curves.setdefault(tag, {})
    assert step not in steps, f"{tag} stands twice at step {step}"
    steps[step] = value


READERS = {"csv": of_csv, "mlflow": of_mlflow, "wandb": of_wandb, "trackio": of_trackio}


def assert_same(found: Curves, wanted: Curves) -> None:
    assert {tag: list(steps) for tag, steps in sorted_steps(found).items()} == {
        tag: list(steps) for tag, steps in sorted_steps(wanted).items()
    }
    for tag, steps in wanted.items():
        for step, value in steps.items():
            assert found[tag][step] == value or (math.isnan(value) and math.isnan(found[tag][step])), (tag, step)


def sorted_steps(curves: Curves) -> Curves:
    return {tag: dict(sorted(curves[tag].items())) for tag in sorted(curves)}
