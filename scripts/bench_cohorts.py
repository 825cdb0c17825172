"""Bench runs that are trained together: are they the same as alone, and how much faster are they?

    python scripts/bench_cohorts.py                     # residual nets and others, with SGD and with Muon
    python scripts/bench_cohorts.py --only resnet       # the rows whose names contain this
    python scripts/bench_cohorts.py --write             # keep the figures in scripts/bench_results/, for docs/speed.md

Equality: three runs (two learning rates, two seeds) make some steps as one program with stacked tensors, and each of
them alone. The difference of a loss is taken as a share of the loss alone, that of a parameter or a buffer as a share
of the largest value of its tensor, or of a thousandth of the network's largest value if that is more: biases of
attention's keys have no gradient, and so hold nothing but rounding. The figure is the largest one of all steps, runs
and tensors. In float64 it is what another order of sums leaves; in float32 it shows how fast training magnifies that.

Speed: steps per second and run of 8 runs together, over those of one run alone, in float32 on one thread. Both take
turns in one process; the figure is the median over rounds of the ratio within a round, with quartiles.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from bench_norms import RESULTS
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bnlab import provenance
from bnlab.config.compose import compose_run
from bnlab.data.splits import DataSet, Split
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked, check
from bnlab.schema import RunConfig
from bnlab.seeding import stream_seed
from bnlab.sweeps.cohorts import MOST_TOGETHER
from bnlab.training.cohort import Cohort
from bnlab.training.precision import computing_with
from bnlab.training.stacked.runs import StackedRuns

CPU = torch.device("cpu")
RESNET = ["model=resnet", "model.depth=8", "model.width=8"]
CASES = {
    "resnet post, batch": [*RESNET, "norm=batch"],
    "resnet pre, batch": [*RESNET, "model.block=pre", "norm=batch"],
    "resnet skipinit, none": [*RESNET, "model.residual=skipinit", "norm=none"],
    "resnet nf, scaled_weight_standardization": [
        *(*RESNET, "model.block=pre", "model.shortcut=projection", "model.residual=nf"),
        "norm=scaled_weight_standardization",
    ],
    "residual_mlp pre, layer": ["model=residual_mlp", "model.depth=4", "model.width=32", "norm=layer"],
    "vit pre, layer": ["model=vit", "model.depth=2", "model.width=32", "norm=layer"],
    "cnn, batch": ["model=cnn", "model.depth=3", "model.width=8", "norm=batch"],
    "mlp, batch": ["model=mlp", "model.width=32", "norm=batch"],
    "rnn, none": ["model=rnn", "norm=none"],
    "rnn, layer": ["model=rnn", "norm=layer"],
    "lstm, none": ["model=lstm", "norm=none"],
    "lstm, layer": ["model=lstm", "norm=layer"],
    "lstm, batch": ["model=lstm", "norm=batch"],
}
"""Network and norm -> words. They are small, as those that a sweep of many runs has."""

OPTIMIZERS = {"sgd": ["optim=sgd", "optim.momentum=0.9"], "muon": ["optim=muon"]}
LEAST_SCALE = 1e-3
"""What the largest value of a tensor counts as at least, as a share of the network's largest value."""

RATES = {"sgd": (0.02, 0.01), "muon": (0.02, 0.01)}


def configs_of(words: Sequence[str], optimizer: str) -> list[RunConfig]:
    """Return three runs of one program: with two learning rates and two seeds."""
    first, second = RATES[optimizer]
    common = ["data=digits", "diagnostics=none", *words, *OPTIMIZERS[optimizer]]
    return [
        compose_run([*common, f"optim.lr={lr}", f"seed={seed}"]) for lr, seed in ((first, 0), (second, 1), (second, 0))
    ]


@contextlib.contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Make a float type torch's default for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def in_default_type(data: DataSet) -> DataSet:
    """Return the same data in torch's default float type."""
    train, validation, test = (
        Split(split.images.to(torch.get_default_dtype()), split.labels)
        for split in (data.train, data.validation, data.test)
    )
    return dataclasses.replace(data, train=train, validation=validation, test=test)


def trained(run: Cohort, num_steps: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Train; return losses (steps, R) and the weights of each run."""
    losses = [loss.reshape(-1) for loss, _, _ in itertools.islice(run.steps(), num_steps)]
    return torch.stack(losses), run.weights()


def largest_difference(configs: Sequence[RunConfig], checked: Checked, num_steps: int) -> dict[str, dict[str, float]]:
    """Return the largest relative difference between runs together and alone: of losses, and of parameters and buffers.

    Args:
        configs: The runs.
        checked: What `check` found for the first one.
        num_steps: How many steps to train.
    """
    found: dict[str, dict[str, float]] = {}
    for dtype in (torch.float64, torch.float32):
        with computing_in(dtype):
            here = dataclasses.replace(checked, data=in_default_type(checked.data))
            together = StackedRuns(configs, here.data, CPU, checked.plan.num_steps)
            losses, weights = trained(together, num_steps)
            of_losses, of_weights = [], []
            for row, config in enumerate(configs):
                with computing_with(1, stream_seed(config.seed, "noise"), CPU):
                    expected, (own,) = trained(assemble(config, here)[0], num_steps)
                of_losses.append(((losses[:, row] - expected[:, 0]) / expected[:, 0]).abs().max().item())
                of_weights.append(largest_relative(weights[row], own))
        found[str(dtype).removeprefix("torch.")] = {"losses": max(of_losses), "parameters": max(of_weights)}
    return found


def largest_relative(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the largest difference of tensors, each as a share of its scale."""
    largest = {name: value.abs().max().item() for name, value in expected.items()}
    least = LEAST_SCALE * max(largest.values())
    gaps = {name: (found[name].double() - value.double()).abs().max().item() for name, value in expected.items()}
    return max(gap / max(largest[name], least) for name, gap in gaps.items())


def speed(config: RunConfig, checked: Checked, rounds: int, turn_s: float) -> list[float]:
    """Return the quartiles of the speed per run of 8 runs together over that of one alone.

    Args:
        config: One of the runs.
        checked: What `check` found for it.
        rounds: How often both take a turn.
        turn_s: About how many seconds a turn takes.
    """
    configs = [config.model_copy(update={"seed": seed}) for seed in range(MOST_TOGETHER)]
    alone = assemble(config, checked)[0].steps()
    together = StackedRuns(configs, checked.data, CPU, checked.plan.num_steps).steps()
    for steps in (alone, together):
        turn(steps, 2)  # the first steps are slower
    num_alone, num_together = (max(1, round(turn_s / turn(steps, 2))) for steps in (alone, together))
    ratios = [turn(alone, num_alone) / (turn(together, num_together) / MOST_TOGETHER) for _ in range(rounds)]
    return statistics.quantiles(ratios, n=4)


def turn(steps: Iterator[object], num_steps: int) -> float:
    """Make steps; return the seconds that one takes."""
    began = time.perf_counter()
    for _ in itertools.islice(steps, num_steps):
        pass
    return (time.perf_counter() - began) / num_steps


def measure(words: Sequence[str], optimizer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a network with an optimizer.

    Args:
        words: Of the network and its norm.
        optimizer: One of `OPTIMIZERS`.
        arguments: Of the command line.
    """
    configs = configs_of([*words, *arguments.overrides], optimizer)
    checked = check(configs[0])
    first, middle, last = speed(configs[0], checked, arguments.rounds, arguments.turn)
    return {
        "difference": largest_difference(configs, checked, arguments.steps),
        "speed": {"median": middle, "quartiles": [first, last]},
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    heads = [f"{part}, {dtype}" for dtype in ("float64", "float32") for part in ("losses", "parameters")]
    table = Table("network, norm", "optimizer", *heads, "speed together / alone", box=None)
    for name, row in rows.items():
        network, _, optimizer = name.rpartition(", ")
        cells = [f"{row['difference'][d][p]:.0e}" for d in ("float64", "float32") for p in ("losses", "parameters")]
        low, high = row["speed"]["quartiles"]
        table.add_row(network, optimizer, *cells, f"{row['speed']['median']:.2f} ({low:.2f}-{high:.2f})")
    Console(width=150).print(table)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the config, for all rows")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="after which weights are compared")
    parser.add_argument("--turn", type=float, default=0.2, help="seconds that a turn takes, about")
    parser.add_argument("--only", default="", help="the rows whose names contain this; nothing is kept of them")
    parser.add_argument("--write", action="store_true", help="keep the figures in scripts/bench_results/")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write keeps the figures of all rows: leave out --only")
    torch.set_num_threads(1)
    rows = {
        f"{case}, {optimizer}": measure(words, optimizer, arguments)
        for case, words in CASES.items()
        for optimizer in OPTIMIZERS
        if arguments.only in f"{case}, {optimizer}"
    }
    show(rows)
    if arguments.write:
        kept = {"hardware": provenance.hardware(), "versions": provenance.versions(), "threads": 1}
        facts = {"rounds": arguments.rounds, "steps": arguments.steps, "together": MOST_TOGETHER, "rows": rows}
        path = RESULTS / "cohorts.json"
        path.write_text(json.dumps({"made": provenance.now(), **kept, **facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
