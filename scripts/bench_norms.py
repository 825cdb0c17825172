"""Bench BatchNorm, forward and backward, against PyTorch's own layer.

    python scripts/bench_norms.py                # at ten inputs, eager
    python scripts/bench_norms.py --compiled     # torch.compile of both besides (needs a C++ compiler, takes minutes)
    python scripts/bench_norms.py --write        # keep the figures in scripts/bench_results/

All contestants of one input take turns in one process on one thread, and their CPU time counts; a figure is the median
over rounds of the ratio within a round, with quartiles, so that the speed of a shared machine drops out. "read" is the
layer as the article writes it, its backward left to autograd.

Bytes: the least that any BatchNorm moves, if nothing but the input of a pass stays in the cache, is x in, y out
forward and x, g in, dx out backward: 5 times the input. "bandwidth" is that, over the time, over what a plain
copy of a tensor of the same size reaches (2 times the input) beside it. Above 1: the copy pays for pages that the
layer finds in the cache.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bnlab import provenance
from bnlab.norms.batch import BatchNorm
from bnlab.norms.batch_formula import normalize_batch_by_autograd
from bnlab.norms.moments import update_running

SHAPES = [(60, 100), (128, 256), (128, 32, 28, 28), (128, 64, 32, 32), (64, 256, 8, 8)]
RESULTS = Path(__file__).parent / "bench_results"
BYTES_LEAST, BYTES_COPY = 5, 2


class ReadableBatchNorm(BatchNorm):
    """BatchNorm in training mode with the readable formula."""

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch."""
        y_NCS, mean_C, var_C = normalize_batch_by_autograd(x_NCS, self.weight, self.bias, self.eps)
        assert self.running_mean is not None
        assert self.running_var is not None
        update_running(self.running_mean, mean_C, 0.9)
        update_running(self.running_var, var_C, 0.9)
        return y_NCS


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the CPU time of one piece of work, the mean of some in a row."""
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def training_step(layer: nn.Module, x: Tensor, g: Tensor) -> Callable[[], None]:
    """Return a forward and backward pass, gradients to the input and all parameters."""

    def step() -> None:
        x.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        layer(x).backward(g)

    return step


def contestants(shape: tuple[int, ...], compiled: bool) -> dict[str, nn.Module]:
    """Return the layers by name, torch's among them."""
    theirs = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1])
    layers: dict[str, nn.Module] = {"torch": theirs, "ours": BatchNorm(shape[1]), "read": ReadableBatchNorm(shape[1])}
    if compiled:
        torch._dynamo.reset()
        layers["ours compiled"] = torch.compile(BatchNorm(shape[1]), fullgraph=True, dynamic=False)  # type: ignore[assignment]
        same = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1])
        layers["torch compiled"] = torch.compile(same, fullgraph=True, dynamic=False)  # type: ignore[assignment]
    return layers


def measure(shape: tuple[int, ...], layout: str, dtype: torch.dtype, rounds: int, compiled: bool) -> dict[str, Any]:
    """Return one input's figures: the time of torch's layer, and everyone's ratio to it with quartiles."""
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x = torch.randn(shape).to(dtype).to(memory_format=memory_format).requires_grad_()
    g, room = torch.randn_like(x), torch.empty_like(x)
    work: dict[str, Callable[[], object]] = {
        name: training_step(layer, x, g) for name, layer in contestants(shape, compiled).items()
    }
    work["copy"] = lambda: room.copy_(x.detach())
    repeats = max(1, int(2e6 / x.numel()))
    for step in work.values():
        seconds(step, 3)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, step in work.items():
            times[name].append(seconds(step, repeats))
    quartiles = {
        name: statistics.quantiles([a / b for a, b in zip(times[name], times["torch"], strict=True)], n=4)
        for name in work
        if name not in {"torch", "copy"}
    }
    reached = [
        (BYTES_LEAST / ours) / (BYTES_COPY / copy) for ours, copy in zip(times["ours"], times["copy"], strict=True)
    ]
    return {
        "shape": list(shape),
        "layout": layout,
        "dtype": str(dtype).removeprefix("torch."),
        "torch_ms": statistics.median(times["torch"]) * 1e3,
        "ratios": {name: {"median": q[1], "quartiles": [q[0], q[2]]} for name, q in quartiles.items()},
        "share_of_copy_bandwidth": statistics.median(reached),
    }


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(statistics.mean(math.log(value) for value in values))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table and the means that the goals are set for."""
    names = list(rows[0]["ratios"])
    table = Table("input", "layout", "torch, ms", *[f"{name} / torch" for name in names], "bandwidth", box=None)
    for row in rows:
        ratios = (row["ratios"][name] for name in names)
        cells = [f"{r['median']:.2f} ({r['quartiles'][0]:.2f}-{r['quartiles'][1]:.2f})" for r in ratios]
        shape = "x".join(map(str, row["shape"]))
        table.add_row(shape, row["layout"], f"{row['torch_ms']:.3f}", *cells, f"{row['share_of_copy_bandwidth']:.2f}")
    console = Console(width=150)
    console.print(table)
    for name in names:
        medians = [row["ratios"][name]["median"] for row in rows]
        contiguous = [
            row["ratios"][name]["median"] for row in rows if len(row["shape"]) == 4 and row["layout"] == "contiguous"
        ]
        console.print(
            f"{name}: geometric mean {geometric_mean(medians):.2f}, worst {max(medians):.2f}, "
            f"contiguous images {geometric_mean(contiguous):.2f}"
        )


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--compiled", action="store_true", help="torch.compile of both layers too")
    parser.add_argument("--write", action="store_true", help="keep the figures in scripts/bench_results/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    inputs = [
        (shape, layout)
        for shape in SHAPES
        for layout in (["contiguous", "channels_last"] if len(shape) == 4 else ["contiguous"])
    ]
    dtype = getattr(torch, arguments.dtype)
    rows = [measure(shape, layout, dtype, arguments.rounds, arguments.compiled) for shape, layout in inputs]
    show(rows)
    if arguments.write:
        kept = {"hardware": provenance.hardware(), "versions": provenance.versions(), "threads": 1, "rows": rows}
        path = RESULTS / f"batch_norm_{arguments.dtype}{'_compiled' if arguments.compiled else ''}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"made": provenance.now(), "rounds": arguments.rounds, **kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
