"""Bench a sweep over norms, learning rates and seeds: bnlab against loops that others would write.

    python scripts/bench_sweep.py                                    # tiny, small and default perceptrons
    python scripts/bench_sweep.py --lightning-python VENV/bin/python # lightning too, from an environment that has it
    python scripts/bench_sweep.py engines                            # one step of many together against one alone
    python scripts/bench_sweep.py --write                            # keep the figures in scripts/bench_results/

The same runs, whole commands timed from outside, each in new processes that compute on one thread each:

    auto         bnlab sweep, as it comes, with a process per core
    sequential   bnlab sweep with sweep.engine=sequential, with a process per core
    hand         a loop by hand over all runs, in one process
    lightning    a process per run with lightning's Trainer and DataLoader, as many at once as there are cores;
                 a few runs are made, and the time of all is told from theirs

All keep a loss curve, validate once per epoch and test at the end; bnlab also writes down every run (records,
TensorBoard, weights, manifest) and makes a table. The first three take turns, and ratios are those of one round, so
that the speed of a shared machine drops out.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_norms import RESULTS

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check
from bnlab.schema import RunConfig
from bnlab.training.cohort import Cohort
from bnlab.training.stacked.runs import StackedRuns

PEERS = Path(__file__).with_name("bench_sweep_peers.py")
NORMS = ("none", "batch", "layer", "group")
RATES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
SEEDS = range(5)
TINY = ["model.width=32", "data=digits"]
SWEEPS = {"tiny": (TINY, 580), "tiny, longer": (TINY, 2000), "small": (["model.width=32"], 580), "default": ([], 580)}
"""Name -> overrides, and steps of each run (580 are 10 epochs of mnist_5k). On 784 pixels even a narrow first layer is
one large product: little is left to gain. A short sweep is mostly the beginning and the end of its processes."""


def environment() -> dict[str, str]:
    """Return the environment of a process that computes on one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def timed(command: Sequence[str], folder: Path) -> float:
    """Return the seconds that a command takes.

    Args:
        command: Its words.
        folder: Where to run it.
    """
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - began


def write_task(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Write what the peers need to make the same runs, and return it.

    Args:
        config: Of any run.
        folder: Where to.
    """
    data = check(config).data
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    torch.save({name: (split.images, split.labels) for name, split in splits.items()}, folder / "data.pt")
    runs = [{"norm": norm, "lr": lr, "seed": seed} for norm, lr, seed in itertools.product(NORMS, RATES, SEEDS)]
    task = {
        "data": str(folder / "data.pt"),
        "runs": runs,
        **config.model.model_dump(include={"width", "depth"}),
        "momentum": config.optim.model_dump()["momentum"],
        "batch_size": config.train.batch_size,
        "steps": config.train.steps,
        "log_every": config.train.log_every,
    }
    (folder / "task.json").write_text(json.dumps(task))
    return task


def bench_sweep(overrides: list[str], steps: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of each way to make a sweep, by round, and how many runs it has.

    Args:
        overrides: Of its model.
        steps: Of each run.
        arguments: Of the command line.
    """
    words = [f"train.steps={steps}", "diagnostics=none", "optim.momentum=0.9", *overrides]
    axes = [f"norm={','.join(NORMS)}", f"optim.lr={','.join(map(str, RATES))}", f"seed=range({len(SEEDS)})"]
    jobs = str(provenance.num_physical_cores())
    seconds: dict[str, list[float]] = {"auto": [], "sequential": [], "hand": [], "lightning": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = write_task(compose_run(words), folder)
        bnlab = [sys.executable, "-m", "bnlab.cli.app", "sweep", *axes, *words, "--jobs", jobs, "--quiet", "--again"]
        for number in range(arguments.rounds):
            for engine in ("auto", "sequential"):
                command = [*bnlab, f"sweep.engine={engine}", "--runs", str(folder / f"{engine}{number}")]
                seconds[engine].append(timed(command, folder))
            seconds["hand"].append(timed([sys.executable, str(PEERS), "hand", str(folder / "task.json")], folder))
            print(f"  round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f} s" for k, v in seconds.items() if v))
        if arguments.lightning_python:
            seconds["lightning"].append(lightning_seconds(task, arguments, folder))
            print(f"  lightning: {seconds['lightning'][0]:.0f} s")
    return {"runs": len(task["runs"]), "jobs": int(jobs), "overrides": words, "seconds": seconds}


def lightning_seconds(task: dict[str, Any], arguments: argparse.Namespace, folder: Path) -> float:
    """Return how long all runs would take with lightning, from a few of each norm.

    Args:
        task: What to make.
        arguments: Of the command line.
        folder: For what they leave behind.
    """
    num_runs, jobs = len(task["runs"]), provenance.num_physical_cores()
    chosen = range(0, num_runs, num_runs // (arguments.lightning_runs))
    command = [arguments.lightning_python, str(PEERS), "lightning", str(folder / "task.json")]
    began = time.perf_counter()
    waiting, running = [str(number) for number in chosen], list[subprocess.Popen[bytes]]()
    while waiting or running:
        for process in [process for process in running if process.poll() is not None]:
            running.remove(process)
            if process.returncode:
                raise SystemExit(f"a run with lightning failed: {process.args!r}")
        while waiting and len(running) < jobs:
            words, null = [*command, waiting.pop(0)], subprocess.DEVNULL
            running.append(subprocess.Popen(words, cwd=folder, env=environment(), stdout=null, stderr=null))
        time.sleep(0.02)
    return (time.perf_counter() - began) * num_runs / len(chosen)


def stepper(run: Cohort) -> Callable[[int], None]:
    """Return what makes so many steps of a cohort.

    Args:
        run: The cohort.
    """
    steps = run.steps()

    def go(num_steps: int) -> None:
        for _ in itertools.islice(steps, num_steps):
            pass

    return go


def bench_engines(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the time of a step of one run alone over its share of a step of many together, by setting."""
    torch.set_num_threads(1)
    gains: dict[str, Any] = {}
    for norm, width, together in itertools.product(NORMS, (16, 32, 64, 100, 128, 256), (2, 4, 8, 16)):
        words = [f"norm={norm}", f"model.width={width}", "optim.momentum=0.9", "diagnostics=none"]
        config = compose_run([*words, *arguments.overrides])
        checked = check(config)
        configs = [config.model_copy(update={"seed": seed}) for seed in range(together)]
        alone = stepper(assemble(config, checked)[0])
        many = stepper(StackedRuns(configs, checked.data, checked.device, checked.plan.num_steps))
        ratios = []
        for number in range(arguments.rounds + 1):
            began = time.perf_counter()
            alone(arguments.engine_steps)
            middle = time.perf_counter()
            many(arguments.engine_steps // together + 1)
            share = (time.perf_counter() - middle) / (arguments.engine_steps // together + 1) / together
            if number:  # the first round warms up
                ratios.append((middle - began) / arguments.engine_steps / share)
        gains[f"{norm}, width {width}, {together} together"] = statistics.median(ratios)
        print(f"{norm:8} width {width:4} {together:3} together: {statistics.median(ratios):.2f} times as fast per run")
    return gains


def main() -> None:
    """Print the figures, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sweeps", "engines"], nargs="?", default="sweeps")
    parser.add_argument("overrides", nargs="*", help="of the config, for all runs; after 'sweeps' or 'engines'")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=SWEEPS, help="one of the sweeps; nothing is kept of it")
    parser.add_argument("--engine-steps", type=int, default=160, help="of one run alone, per round")
    parser.add_argument("--lightning-python", help="a Python that has lightning")
    parser.add_argument("--lightning-runs", type=int, default=8, help="of all runs, to tell the others from")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write keeps the figures of all sweeps: leave out --only")
    facts = provenance.hardware()
    print(f"{facts['processor']}, {facts['physical_cores']} cores; torch {torch.__version__}")
    if arguments.what == "engines":
        found: dict[str, Any] = bench_engines(arguments)
    else:
        found = {}
        for name, (overrides, steps) in SWEEPS.items():
            if arguments.only not in {None, name}:
                continue
            print(f"{name}, {steps} steps")
            found[name] = bench_sweep([*overrides, *arguments.overrides], steps, arguments)
            print_ratios(found[name]["seconds"])
    if arguments.write:
        result = {"made": provenance.now(), "hardware": facts, "versions": provenance.versions(), "found": found}
        name = "sweep_engines.json" if arguments.what == "engines" else "sweep.json"
        (RESULTS / name).write_text(json.dumps({**result, "rounds": arguments.rounds}, indent=1) + "\n")


def print_ratios(seconds: dict[str, list[float]]) -> None:
    """Print how many times as long as bnlab each other way takes.

    Args:
        seconds: Way -> seconds by round.
    """
    for way in ("sequential", "hand"):
        ratios = [other / auto for other, auto in zip(seconds[way], seconds["auto"], strict=True)]
        print(f"  {way} / auto: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    if seconds["lightning"]:
        print(f"  lightning / auto: {seconds['lightning'][0] / statistics.median(seconds['auto']):.0f}")


if __name__ == "__main__":
    main()
