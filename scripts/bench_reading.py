"""Bench reading the runs of a sweep into data frames: 300 runs of 2,000 steps, with the records of cheap diagnostics.

    python scripts/bench_reading.py            # read_runs, read_curves, and what one would write by hand
    python scripts/bench_reading.py --write    # keep the figures in scripts/bench_results/

By hand: each line of each file by json.loads, a row per value, a data frame of them. All take turns.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from bench_norms import RESULTS
from rich.console import Console
from rich.table import Table

import bnlab
from bnlab import provenance

NUM_RUNS = 300


def make_runs(folder: Path) -> None:
    """Train one run, and copy it."""
    run = Path(bnlab.train(["data=synthetic", "train.steps=2000", "train.log_every=10"], runs=folder / "one").folder)
    for number in range(NUM_RUNS):
        copy = folder / "many" / f"run{number}"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.pt", "events*"))
        for path in (copy / "manifest.json", copy / "summary.json"):  # or each would be said to be a copy
            path.write_text(path.read_text(encoding="utf-8").replace(run.name, copy.name), encoding="utf-8")


def by_hand(folder: Path) -> pd.DataFrame:
    """Read curves as one would without bnlab."""
    rows = []
    for path in sorted(folder.glob("*/metrics.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for key, value in record["values"].items():
                facts = {name: record[name] for name in ("kind", "step", "split", "name")}
                rows.append({"run_id": path.parent.name, **facts, "key": key, "value": value})
    return pd.DataFrame(rows)


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "read_runs": bnlab.read_runs,
    "read_curves": bnlab.read_curves,
    "curves by hand": by_hand,
}


def main() -> None:
    """Measure and print; keep the figures where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    rows: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        for number in range(arguments.rounds + 1):
            for name, read in READERS.items():
                began = time.perf_counter()
                rows[name] = len(read(Path(folder) / "many"))
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - began)
    table = Table("", "rows", "seconds", "at least", "at most")
    for name, times in seconds.items():
        figures = (statistics.median(times), min(times), max(times))
        table.add_row(name, f"{rows[name]:,}", *(f"{figure:.2f}" for figure in figures))
    Console().print(table)
    if arguments.write:
        facts = {"made": provenance.now(), "hardware": provenance.hardware(), "versions": provenance.versions()}
        text = json.dumps({**facts, "num_runs": NUM_RUNS, "rows": rows, "seconds": seconds}, indent=1)
        (RESULTS / "reading.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
