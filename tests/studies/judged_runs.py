"""Sweeps written by hand whose figures are known step by step, to be judged."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.json_lines import record_line

STEPS = (0, 50, 100, 150, 200)


class Place(NamedTuple):
    """Where a run stands in its sweep."""

    norm: str
    lr: float
    seed: int


class Setting(NamedTuple):
    """Where a run stands in a grid that is tuned."""

    norm: str
    lr: float
    decay: float
    seed: int


@dataclass
class Written:
    """One run: its validation accuracies at STEPS, its losses (a tenth of the error), its test figures.

    Its drift is raw and spread, at each of STEPS but the first.
    """

    accuracies: Iterable[float]
    test_accuracy: float | None
    test_loss: float = 0.5
    losses: Iterable[float] | None = None
    saturation: Iterable[float] = ()
    logit_scale: Iterable[float] = ()
    drift: Iterable[tuple[float, float]] = ()
    status: str = "finished"
    settings: dict[str, Any] = field(default_factory=dict)


def rising(end: float, test: float | None = None, **more: Any) -> Written:
    """Return a run whose accuracy rises in a straight line from 10% to its end."""
    accuracies = [0.1 + (end - 0.1) * step / STEPS[-1] for step in STEPS]
    return Written(accuracies, end if test is None else test, **more)


def write_judged(
    folder: Path,
    run: Callable[[Place], Written | None],
    *,
    norms: Iterable[str] = ("batch", "none"),
    lrs: Iterable[float] = (0.1,),
    seeds: Iterable[int] = range(5),
    data: str = "digits",
) -> Path:
    """Write a sweep; of a run that is None nothing is left."""
    planned = []
    for norm in norms:
        for lr in lrs:
            for seed in seeds:
                name = f"{norm}-mlp-{data}-lr{lr:g}-s{seed}-00000000"
                planned.append(name)
                written = run(Place(norm, lr, seed))
                if written is not None:
                    settings = {"norm": {"name": norm}, "optim": {"name": "sgd", "lr": lr}, "seed": seed}
                    write_run(folder / name, {**settings, "model": {"name": "mlp"}, "data": {"name": data}}, written)
    write_sweep(folder, [], planned)
    return folder


def write_run(path: Path, config: dict[str, Any], run: Written) -> None:
    """Write the folder of one run."""
    path.mkdir(parents=True)
    accuracies = list(run.accuracies)
    losses = [(1 - each) / 10 for each in accuracies] if run.losses is None else list(run.losses)
    records: list[Record] = []
    saturation, drift, scales = list(run.saturation), list(run.drift), list(run.logit_scale)
    for place, step in enumerate(STEPS[: len(accuracies)]):
        records.append(EvalRecord(step, "validation", {"loss": losses[place], "accuracy": accuracies[place]}))
        if scales:
            records.append(DiagnosticRecord(step, "logit_scale", {"network/scale": scales[place]}))
        if saturation:
            records.append(DiagnosticRecord(step, "saturation", {"hidden1": saturation[place], "hidden2": 0.0}))
        if drift and place > 0:
            raw, spread = drift[place - 1]
            values = {"hidden1/raw": raw, "hidden1/normalized": raw / spread}
            records.append(DiagnosticRecord(step, "preactivation_drift", values))
    if run.logit_scale:
        config = {**config, "diagnostics": {"names": ["logit_scale"]}}
    summary: dict[str, Any] = {"run_id": path.name, "status": run.status, "steps": STEPS[len(accuracies) - 1]}
    if run.status in {"finished", "diverged"}:
        last = STEPS[len(accuracies) - 1]
        if run.test_accuracy is not None:
            test = {"loss": run.test_loss, "accuracy": run.test_accuracy}
            records.append(EvalRecord(last, "test", test))
            summary |= {"test_loss": run.test_loss, "test_accuracy": run.test_accuracy}
        records += [EndRecord(last, run.status, {})]  # type: ignore[arg-type]
        summary |= {"duration_s": 2.0}
        summary |= {"validation_loss": losses[-1], "validation_accuracy": accuracies[-1]}
    (path / "metrics.jsonl").write_text("".join(f"{record_line(one)}\n" for one in records), encoding="utf-8")
    (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    manifest = {"schema_version": 1, "status": run.status, "config": config, "num_steps": STEPS[-1], "started": "x"}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
