"""Bench sweeps of many short runs: what a sweep costs by itself, and what each of its runs costs beside its training.

    python scripts/bench_scale.py                       # 100 and 400 runs of five steps
    python scripts/bench_scale.py --beside ../earlier   # in turns with another checkout of bnlab
    python scripts/bench_scale.py --runs 10000          # one large sweep, the same command again, bnlab list runs
    python scripts/bench_scale.py --word train.keep_weights=false

Of each command: seconds by the clock, CPU-seconds of all its processes, the largest memory of the command's own process
and of its largest worker, in MiB. Of a sweep: how many files and how many KiB of the disk each run has. On a shared
machine the CPU-seconds are what to compare.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parents[1]
SIZES = 100, 400
"""Runs of the two sweeps whose difference is what further runs cost."""

LOOK_EVERY_S = 0.2
"""Seconds between two looks at the memory of a command and its workers."""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: By the clock.
        cpu_s: Of all its processes, in seconds.
        memory: The largest memory of its own process, in MiB.
        memory_after: The same, in the last quarter of its time.
        of_worker: The largest memory of one of its workers, in MiB; 0 without workers.
    """

    seconds: float
    cpu_s: float
    memory: float
    memory_after: float
    of_worker: float


def measure(checkout: Path, words: list[str], folder: Path) -> Cost:
    """Return what a command of bnlab takes.

    Args:
        checkout: The tree of bnlab that is measured.
        words: The words after ``bnlab``.
        folder: Where it is started.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bnlab.cli.app", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    looks: list[tuple[float, float]] = []
    looking = threading.Thread(target=look_at_memory, args=(process.pid, looks))
    looking.start()
    _, messages = process.communicate()
    seconds, after = time.perf_counter() - began, os.times()
    looking.join()
    if process.returncode:
        raise SystemExit(f"bnlab {' '.join(words)}\n{messages.decode()}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    own = [own for own, _ in looks] or [0.0]
    return Cost(seconds, cpu_s, max(own), max(own[-len(own) // 4 :]), max((other for _, other in looks), default=0.0))


def look_at_memory(pid: int, looks: list[tuple[float, float]]) -> None:
    """Note the memory of a process and of its largest worker until it ends, in MiB.

    Args:
        pid: The process.
        looks: Takes both, at each look.
    """
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            of_workers = [0.0]
            for child in process.children(recursive=True):
                try:
                    of_workers.append(child.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue
            looks.append((process.memory_info().rss / 2**20, max(of_workers)))
            time.sleep(LOOK_EVERY_S)
    except psutil.NoSuchProcess:
        return


def on_disk(sweep: Path) -> tuple[float, float]:
    """Return how many files a run of a sweep has, and how many KiB of the disk they take.

    Args:
        sweep: The sweep's folder.
    """
    runs = [path for path in sweep.iterdir() if (path / "manifest.json").exists()]
    files = [file for run in runs for file in run.rglob("*") if file.is_file()]
    sizes = [file.stat() for file in files]
    used = sum(getattr(one, "st_blocks", -(-one.st_size // 512)) * 512 for one in sizes)
    return len(files) / len(runs), used / len(runs) / 1024


def sweep_words(num_runs: int, arguments: argparse.Namespace, name: str) -> list[str]:
    """Return the words of a sweep of so many runs of five steps, with two norms."""
    axes = ["norm=batch,none", f"seed=range({num_runs // 2})"]
    return ["sweep", "data=digits", "train.steps=5", *axes, f"name={name}", *arguments.word]


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure small sweeps, in turns with another checkout where one is given, and print what they take."""
    checkouts = {"this": HERE} | ({"beside": arguments.beside.resolve()} if arguments.beside else {})
    costs: dict[tuple[str, int], list[Cost]] = {}
    disk: dict[str, tuple[float, float]] = {}
    for number in range(arguments.rounds):
        for num_runs in SIZES:
            for name, checkout in checkouts.items():
                sweep = f"{name}-{num_runs}-{number}"
                cost = measure(checkout, sweep_words(num_runs, arguments, sweep), folder)
                costs.setdefault((name, num_runs), []).append(cost)
                disk[name] = on_disk(folder / "runs" / sweep)
    rows: dict[str, list[str]] = {}
    for name in checkouts:
        few, many = (costs[name, num_runs] for num_runs in SIZES)
        for num_runs, of in zip(SIZES, (few, many), strict=True):
            rows.setdefault(f"{num_runs} runs, seconds", []).append(middle([c.seconds for c in of]))
            rows.setdefault(f"{num_runs} runs, CPU-seconds", []).append(middle([c.cpu_s for c in of]))
        pairs = list(zip(few, many, strict=True))
        for title, more in (
            ("each run more, ms", [b.seconds - a.seconds for a, b in pairs]),
            ("each run more, CPU-ms", [b.cpu_s - a.cpu_s for a, b in pairs]),
        ):
            rows.setdefault(title, []).append(middle([1000 * one / (SIZES[1] - SIZES[0]) for one in more]))
        rows.setdefault("memory of the command, MiB", []).append(f"{max(c.memory for c in many):.0f}")
        rows.setdefault("of its largest worker, MiB", []).append(f"{max(c.of_worker for c in many):.0f}")
        rows.setdefault("files of a run", []).append(f"{disk[name][0]:.0f}")
        rows.setdefault("KiB of a run", []).append(f"{disk[name][1]:.0f}")
    table = Table("", *checkouts)
    for title, cells in rows.items():
        table.add_row(title, *cells)
    Console().print(table)
    for num_runs in SIZES if arguments.beside else ():
        both = zip(costs["this", num_runs], costs["beside", num_runs], strict=True)
        ratios = [(a.seconds / b.seconds, a.cpu_s / b.cpu_s) for a, b in both]
        by_clock, of_cpu = (statistics.median(values) for values in zip(*ratios, strict=True))
        print(f"{num_runs} runs, this build to the other: {by_clock:.2f} by the clock, {of_cpu:.2f} in CPU-seconds")


def middle(values: list[float]) -> str:
    """Return the median of some values, as text."""
    return f"{statistics.median(values):.1f}"


def scale(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure one large sweep, the same command again and the list of its runs, and print what they take."""
    words = sweep_words(arguments.runs, arguments, "large")
    table = Table("command", "seconds", "CPU-s", "memory", "at the end", "worker")
    for title, command in (
        (f"a sweep of {arguments.runs:,} runs", words),
        ("the same again", words),
        ("bnlab list runs", ["list", "runs"]),
        ("bnlab list runs again", ["list", "runs"]),
    ):
        cost = measure(HERE, command, folder)
        sizes = (cost.memory, cost.memory_after, cost.of_worker)
        table.add_row(title, f"{cost.seconds:.1f}", f"{cost.cpu_s:.1f}", *(f"{size:.0f} MiB" for size in sizes))
    Console().print(table)
    files, used = on_disk(folder / "runs" / "large")
    print(f"{files:.0f} files and {used:.0f} KiB a run")


def main() -> None:
    """Parse the command line and bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--runs", type=int, help="measure one sweep of so many runs, its repetition and the list of runs"
    )
    parser.add_argument("--beside", type=Path, help="another checkout of bnlab, which takes turns with this one")
    parser.add_argument("--word", action="append", default=[], help="a further word of the sweep, such as loggers=[]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (scale if arguments.runs else compare)(arguments, Path(name))


if __name__ == "__main__":
    main()
