"""Bench recipe=cifar10_fast: accuracy against seconds with four norms, each at the learning rate that suits it best.

    python scripts/bench_recipe.py                          # tune, train, print
    python scripts/bench_recipe.py --runs DIR --write       # keep the runs of tuning in DIR, and the figures
    python scripts/bench_recipe.py --picture                # draw docs/cifar10-fast.svg from the figures that are kept
    python scripts/bench_recipe.py --norm batch --epochs 2 data=digits model.width=4

Tuning trains every norm for a part of the epochs, with the seed after those that decide, first with half the source's
rate and with that rate, then with rates twice as large or half as large, until the best one by validation accuracy has
a worse neighbor on both sides.

Seconds are those of the processor, in one thread, from the start of the process on: Python's imports, reading and
augmenting images, training, validation. On an idle machine they are the seconds of a clock with one core.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import PercentFormatter

import bnlab
from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.experiment.observer import RunObserver
from bnlab.experiment.single import train_one
from bnlab.records import EvalRecord, Record, RunSummary
from bnlab.report.palette import COLORS, INK, LINE, SMALL
from bnlab.report.style import frame, new_figure, paper

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "scripts" / "bench_results" / "recipe.json"
PICTURE = ROOT / "docs" / "cifar10-fast.svg"

NORMS = ("batch", "group", "layer", "none")
SOURCE_LR = 0.24
MOST_DOUBLINGS = 5
"""Of the rate, up or down: no search goes on for ever."""

RECIPE = ("recipe=cifar10_fast", "threads=1")
WIDTH, HEIGHT = 5.6, 3.0
"""Inches of the picture."""


def tuned_rate(norm: str, words: Sequence[str], runs: Path) -> tuple[float, dict[float, float]]:
    """Return the rate of the best validation accuracy, and the accuracy that each rate reached."""
    found: dict[float, float] = {}
    wanted = [SOURCE_LR / 2, SOURCE_LR]
    while wanted:
        for rate in wanted:
            summary = bnlab.train([*RECIPE, *words, f"norm={norm}", f"optim.lr={rate:g}"], runs=runs)
            found[rate] = summary.validation_accuracy or 0.0
        best = max(found, key=found.__getitem__)
        within = abs(math.log2(best / SOURCE_LR)) < MOST_DOUBLINGS
        wanted = [rate for rate in (best / 2, best * 2) if rate not in found and within]
    return best, found


def one_curve(words: Sequence[str]) -> dict[str, Any]:
    """Train one run in this process; return its accuracies and the processor's seconds at each of them."""
    points: list[tuple[int, float, float]] = []

    class Watch(RunObserver):
        """Notes when an evaluation came."""

        def open_logger(self, *_: object) -> "Watch":
            return self

        def take(self, record: Record) -> None:
            if isinstance(record, EvalRecord) and record.split == "validation":
                points.append((record.step, time.process_time(), record.values["accuracy"]))

        def close(self, summary: RunSummary | None) -> None:
            """Nothing is open."""

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        summary = train_one(compose_run([*RECIPE, *words]), Path(folder), observer=Watch())
        ended = {"cpu_s": time.process_time(), "wall_s": time.perf_counter() - started}
    return {"points": points, "test_accuracy": summary.test_accuracy, **ended}


def curve_of_a_new_process(words: Sequence[str]) -> dict[str, Any]:
    """Train one run in a process of its own, so that its seconds hold all that it needs."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", *words]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def measure(norm: str, words: Sequence[str], arguments: argparse.Namespace, runs: Path) -> dict[str, Any]:
    """Tune one norm's rate, and train it with each seed."""
    tuning = [f"train.epochs={arguments.tuning_epochs}", f"seed={arguments.seeds}", "name=tuning"]
    rate, tuned = tuned_rate(norm, [*words, *tuning], runs)
    longer = [*words, f"train.epochs={arguments.epochs}", f"norm={norm}", f"optim.lr={rate:g}"]
    seeds = [curve_of_a_new_process([*longer, f"seed={seed}"]) for seed in range(arguments.seeds)]
    print(f"{norm:<8}lr {rate:<6g}" + "".join(f"{s['test_accuracy']:>8.1%} in {s['cpu_s']:.0f} s" for s in seeds))
    return {"lr": rate, "tuned": tuned, "seeds": seeds}


def mean_points(seeds: Sequence[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """Return seconds and accuracy of each evaluation, both as means over seeds; what is not finite is left out."""
    for points in zip(*(one["points"] for one in seeds), strict=True):
        seconds, accuracies = ([point[part] for point in points] for part in (1, 2))
        if all(map(math.isfinite, accuracies)):
            yield statistics.mean(seconds), statistics.mean(accuracies)


def draw(kept: dict[str, Any], path: Path) -> None:
    """Draw validation accuracy over the processor's seconds, one line per norm."""
    with paper():
        figure = new_figure(WIDTH, HEIGHT, "constrained")
        axes = figure.subplots()
        for color, marker, (norm, row) in zip(COLORS, "os^D", kept["norms"].items(), strict=False):
            seconds, accuracies = zip(*mean_points(row["seeds"]), strict=True)
            label = f"{norm}, lr {row['lr']:g}"
            axes.plot(seconds, accuracies, color=color, marker=marker, markersize=4, linewidth=1.5, label=label)
        axes.set_ylim(0.6, 1)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y", color=LINE, linewidth=0.5)
        axes.set_title("Validation accuracy", loc="left", fontsize=SMALL, color=INK)
        axes.set_xlabel("Seconds of one core, everything counted", fontsize=SMALL, color=INK)
        axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
        frame(axes)
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the config, for all runs")
    parser.add_argument("--norm", action="append", help="in place of the four; may be repeated")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--tuning-epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="where the runs of tuning are kept, and found again")
    parser.add_argument("--write", action="store_true", help="keep the figures in scripts/bench_results/")
    parser.add_argument("--picture", action="store_true", help="draw the figures that are kept, and train nothing")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    words = arguments.overrides
    if arguments.one:
        print(json.dumps(one_curve(words)))
        return
    if not arguments.picture:
        with tempfile.TemporaryDirectory() as folder:
            runs = arguments.runs or Path(folder)
            rows = {norm: measure(norm, words, arguments, runs) for norm in arguments.norm or NORMS}
        if arguments.write:
            facts = {
                "epochs": arguments.epochs,
                "tuning_epochs": arguments.tuning_epochs,
                "overrides": words,
                "norms": rows,
            }
            about = {"made": provenance.now(), "hardware": provenance.hardware(), "versions": provenance.versions()}
            KEPT.write_text(json.dumps({**about, "threads": 1, **facts}, indent=1) + "\n", encoding="utf-8")
    if arguments.picture or arguments.write:
        draw(json.loads(KEPT.read_text(encoding="utf-8")), PICTURE)


if __name__ == "__main__":
    main()
