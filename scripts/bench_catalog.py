"""Bench what each norm of the catalog costs a training step.

    python scripts/bench_catalog.py            # all norms, in the default MLP and in the default CNN
    python scripts/bench_catalog.py --write    # keep the figures in scripts/bench_results/, for docs/norms.md

Every arm trains on the same images in one process and on one thread, a few steps at a time in turn; a figure is the
median over rounds of its time over that of the arm without a norm in the same round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from bench_norms import RESULTS
from rich.console import Console
from rich.table import Table

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.errors import ConfigError
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check
from bnlab.norms.names import NORMS
from bnlab.training.precision import computing_with

MODELS = {"mlp": (["model=mlp"], 40), "cnn": (["model=cnn", "train.batch_size=32", "train.epochs=1"], 1)}
"""Name -> overrides, steps per turn."""


def stepper(norm: str, overrides: list[str]) -> Callable[[], object] | None:
    """Return what makes one training step of an arm; None where the norm does not suit the model."""
    config = compose_run([f"norm={norm}", "threads=1", *overrides])
    try:
        checked = check(config)
    except ConfigError:
        return None
    steps = assemble(config, checked)[0].steps()
    return lambda: next(steps)


def measure(overrides: list[str], at_once: int, rounds: int) -> dict[str, float | None]:
    """Return every norm's cost of a step, as a multiple of a step without a norm."""
    found = {norm: stepper(norm, overrides) for norm in NORMS}
    steppers = {norm: step for norm, step in found.items() if step is not None}
    times: dict[str, list[float]] = {norm: [] for norm in steppers}
    for number in range(rounds + 1):
        for norm, step in steppers.items():
            began = time.perf_counter()
            for _ in range(at_once):
                step()
            if number:  # the first round warms up
                times[norm].append(time.perf_counter() - began)
    return {
        norm: statistics.median(a / b for a, b in zip(times[norm], times["none"], strict=True))
        if norm in times
        else None
        for norm in NORMS
    }


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="keep the figures in scripts/bench_results/")
    arguments = parser.parse_args()
    with computing_with(1, 0, check(compose_run(["device=cpu"])).device):
        costs = {model: measure(*how, arguments.rounds) for model, how in MODELS.items()}
    table = Table("norm", "step of the MLP / none", "step of the CNN / none", box=None)
    for norm in NORMS:
        table.add_row(norm, *(f"{cost:.2f}" if (cost := costs[model][norm]) else "-" for model in MODELS))
    Console().print(table)
    if arguments.write:
        kept = {"hardware": provenance.hardware(), "versions": provenance.versions(), "threads": 1, "costs": costs}
        path = RESULTS / "catalog.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"made": provenance.now(), "rounds": arguments.rounds, **kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
