"""Runs trained alone and the same runs stacked, in any float type, and the largest difference between them."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from composed import changed, compose_parts
from torch import Tensor

from bnlab.data.opening import open_data
from bnlab.data.splits import DataSet, Split
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import Checked
from bnlab.schema import DataConfig, RunConfig
from bnlab.seeding import stream_seed
from bnlab.training.cohort import Cohort, SingleRun
from bnlab.training.loop import Plan
from bnlab.training.precision import computing_with
from bnlab.training.stacked.runs import StackedRuns

CPU = torch.device("cpu")
SMALL = [
    "data=digits",
    "data.limit=120",
    "model.width=16",
    "train.batch_size=20",
    "train.steps=50",
    "diagnostics=cheap",
]


def compose(common: Sequence[str], *own: Sequence[str]) -> list[RunConfig]:
    """Return one config per run: what they share, and what each has of its own."""
    base = compose_parts([*SMALL, *common])
    return [changed(base, words) for words in own]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@functools.cache
def _opened(config: str) -> DataSet:
    return open_data(DataConfig.model_validate_json(config))


def data_of(config: RunConfig) -> DataSet:
    """Return a config's data in the default type."""
    data = _opened(config.data.model_dump_json())
    splits = {
        name: Split(split.images.to(torch.get_default_dtype()), split.labels)
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    return dataclasses.replace(data, **splits)


def together(configs: Sequence[RunConfig]) -> StackedRuns:
    return StackedRuns(configs, data_of(configs[0]), CPU, 50)


@contextlib.contextmanager
def alone(config: RunConfig) -> Iterator[SingleRun]:
    """Yield a run with the random state of a run that is trained alone."""
    plan = Plan(50, config.train.batch_size, 10, 50, frozenset(), frozenset(), False, None, 3.0, 100)
    with computing_with(1, stream_seed(config.seed, "noise"), CPU):
        yield assemble(config, Checked(data_of(config), CPU, 1, plan, []))[0]


def history(run: Cohort, num_steps: int, start: int = 0) -> list[dict[str, Any]]:
    """Train, and return for each run everything that is visible from outside."""
    num_runs = run.num_runs
    before = run.measure(start, True)
    outcomes = list(itertools.islice(run.steps(start), num_steps))
    losses = torch.stack([losses for losses, _, _ in outcomes]).view(num_steps, num_runs)
    logits = torch.stack([logits for _, logits, _ in outcomes])
    logits = logits.view(num_steps, num_runs, *logits.shape[-2:])
    labels = torch.stack([labels for _, _, labels in outcomes]).view(num_steps, num_runs, -1)
    middle, validation, test = run.measure(start + num_steps, True), run.evaluate("validation"), run.evaluate("test")
    return [
        {
            "losses": losses[:, r],
            "logits": logits[:, r],
            "labels": labels[:, r],
            "lr": [run.learning_rate(step)[r] for step in (1, 25, 50)],
            "before": before[r],
            "middle": middle[r],
            "validation": validation[r],
            "test": test[r],
            "weights": {name: value.clone() for name, value in run.weights()[r].items()},
        }
        for r in range(num_runs)
    ]


def distance(a: Any, b: Any) -> float:
    """Return the largest difference between numbers at the same place of two trees; infinite where trees differ."""
    if isinstance(a, dict):
        return max((distance(a[k], b[k]) for k in a), default=0.0) if a.keys() == b.keys() else float("inf")
    if isinstance(a, list):
        return max((distance(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, Tensor):
        if a.shape != b.shape:
            return float("inf")
        return (a.double() - b.double()).abs().nan_to_num(float("inf")).max().item() if a.numel() else 0.0
    return abs(a - b)


def is_same(a: Any, b: Any) -> bool:
    """Return whether two trees are equal to the last bit; NaN equals NaN."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor):
        return (
            a.shape == b.shape
            and a.dtype == b.dtype
            and torch.equal(a.isnan(), b.isnan())
            and torch.equal(a.nan_to_num(), b.nan_to_num())
        )
    return a == b or (a != a and b != b)
