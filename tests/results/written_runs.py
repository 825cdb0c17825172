"""A sweep's folder written by hand: what each run ended with is known, and nothing has been trained."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bnlab.data.fingerprint import content_fingerprint
from bnlab.identity.changes import facts_for_manifest
from bnlab.records import EndRecord, EvalRecord, Record, StepRecord
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.json_lines import record_line
from bnlab.sweeps.plan import plan_sweep

Outcome = dict[str, Any]


def write_runs(
    folder: Path,
    outcome: Callable[[str, float, int], Outcome | None],
    *,
    norms: Iterable[str] = ("batch", "none"),
    lrs: Iterable[float] = (0.01, 0.1, 1.0, 10.0),
    seeds: Iterable[int] = (0, 1, 2),
    config: Callable[[str], dict[str, Any]] = lambda _: {},
) -> Path:
    """Write one run folder for each norm, learning rate and seed, and the sweep's plan; return the folder.

    Args:
        folder: The sweep's.
        outcome: What a run ended with: any of status, loss, accuracy, start_loss, start_accuracy; None: it left no
            folder.
        norms: The arms.
        lrs: The learning rates.
        seeds: The seeds.
        config: Further settings of an arm, nested.
    """
    planned = []
    for norm in norms:
        for lr in lrs:
            for seed in seeds:
                name = f"{norm}-mlp-digits-lr{lr:g}-s{seed}-00000000"
                planned.append(name)
                found = outcome(norm, lr, seed)
                if found is not None:
                    settings = {
                        "optim": {"name": "sgd", "lr": lr},
                        "norm": {"name": norm},
                        "seed": seed,
                        **config(norm),
                    }
                    settings = {"model": {"name": "mlp"}, "data": {"name": "digits"}, **settings}
                    _write_run(folder / name, settings, found)
    write_sweep(folder, [], planned)
    return folder


def write_planned(words: list[str], outcome: Callable[[str, float, int], Outcome], runs: Path) -> Path:
    """Write every run of a sweep as if it had been trained, so that its command only reads it; return its folder.

    Args:
        words: The overrides of the sweep.
        outcome: As for `write_runs`; every run must have ended.
        runs: The folder for all runs.
    """
    sweep = plan_sweep(words, runs)
    for name, config in sweep.configs.items():
        found = outcome(config.norm.name, config.optim.lr, config.seed)
        content = content_fingerprint(config.data)
        origin = {"data": {} if content is None else {"content": content}, "code": facts_for_manifest(config)}
        _write_run(sweep.folder / name, config.as_dict(), found, origin)
        summary = sweep.folder / name / "summary.json"
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "seed": config.seed}))
    write_sweep(sweep.folder, sweep.overrides, list(sweep.configs))
    return sweep.folder


def _write_run(path: Path, config: dict[str, Any], found: Outcome, origin: Mapping[str, Any] | None = None) -> None:
    path.mkdir(parents=True)
    status = found.get("status", "finished")
    manifest = {"schema_version": 1, "status": status, "config": config, "started": "x", **(origin or {})}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    start = {"loss": found.get("start_loss", 2.3), "accuracy": found.get("start_accuracy", 0.1)}
    records: list[Record] = [
        EvalRecord(0, "validation", start),
        EvalRecord(5, "validation", {"loss": 99.0, "accuracy": 0.99}),
    ]
    if status in {"finished", "diverged"}:
        figures = {"loss": found.get("loss", 0.1), "accuracy": found.get("accuracy", 0.9)}
        records += [StepRecord(9, {}), EvalRecord(9, "validation", figures), EvalRecord(9, "test", {})]
        records.append(EndRecord(9, status, {}))
        summary = {f"validation_{key}": value if math.isfinite(value) else None for key, value in figures.items()}
        (path / "summary.json").write_text(json.dumps({"run_id": path.name, "status": status, **summary}))
    (path / "metrics.jsonl").write_text("".join(f"{record_line(one)}\n" for one in records), encoding="utf-8")
