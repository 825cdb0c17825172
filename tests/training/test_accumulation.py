"""Batches in equal parts: the same step, and for norms of single samples the same weights."""

import dataclasses
import functools
import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import bnlab
from bnlab.config.compose import compose_run
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check

QUICK = ["data=synthetic", "train.steps=20", "model.width=16", "train.log_every=10", "accept=[accumulation]"]


@functools.cache
def steps_in_float64(num_steps: int, *words: str) -> dict[str, torch.Tensor]:
    """Train some steps in float64, so that only a difference in the formula can show, and return the weights.

    They are computed once for the same words: tests only read them.
    """
    config = compose_run([*QUICK, *words])
    run, model = assemble(config, check(config))
    model.double()
    run.batches.split = dataclasses.replace(run.batches.split, images=run.batches.split.images.double())
    for _ in itertools.islice(run.steps(), num_steps):
        pass
    return model.state_dict()


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("norm", ["none", "layer", "group", "rms"])
@pytest.mark.parametrize(
    "parts", [pytest.param(2, id="2"), *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 60))]
)
def test_without_statistics_of_the_batch_parts_give_the_same_weights(norm: str, parts: int) -> None:
    num_steps = 20 if parts < 60 else 5  # of 60 passes each
    whole, in_parts = (steps_in_float64(num_steps, f"norm={norm}", f"train.accumulation={n}") for n in (1, parts))
    for name, value in whole.items():
        torch.testing.assert_close(in_parts[name], value, atol=1e-9, rtol=1e-9)


@pytest.mark.slow
def test_a_whole_run_in_parts_ends_with_the_same_weights() -> None:
    ends = []
    for parts in (1, 4):
        summary = bnlab.train([*QUICK, "norm=layer", f"train.accumulation={parts}"])
        ends.append(torch.load(Path(summary.folder) / "checkpoint.pt", weights_only=True)["model"])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-5)


def test_clipping_takes_the_gradient_of_the_whole_batch() -> None:
    words = ["norm=none", "optim.clip_norm=0.05", "model=cnn", "model.width=4"]
    whole, in_parts = (steps_in_float64(5, *words, f"train.accumulation={n}") for n in (1, 4))
    for name, value in whole.items():
        torch.testing.assert_close(in_parts[name], value, atol=1e-9, rtol=1e-9)


def test_the_curve_is_that_of_the_whole_batch() -> None:
    curves = []
    for parts in (1, 4):
        summary = bnlab.train(
            [*QUICK, "norm=layer", "train.log_every=1", "train.steps=5", f"train.accumulation={parts}"]
        )
        lines = (Path(summary.folder) / "metrics.jsonl").read_text().splitlines()
        curves.append([line["values"] for line in map(json.loads, lines) if line["kind"] == "step"])
    assert len(curves[0]) == 5
    for one, other in zip(*curves, strict=True):
        assert other == pytest.approx(one, abs=1e-6)


def test_batch_norm_takes_its_statistics_from_each_part() -> None:
    """Against one step by hand: gradients averaged over parts, running statistics moved once per part."""
    config = compose_run([*QUICK, "train.accumulation=3", "optim.lr=0.5"])
    run, model = assemble(config, check(config))
    _, by_hand = assemble(config, check(config))
    images, labels = next(iter(run.batches))
    run.batches = [(images, labels)]  # type: ignore[assignment]
    losses, logits, seen = next(run.steps())
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.5)
    parts = [F.cross_entropy(by_hand(x), y) for x, y in zip(images.split(20), labels.split(20), strict=True)]
    (sum(parts) / 3).backward()  # type: ignore[union-attr]
    optimizer.step()
    torch.testing.assert_close(losses, torch.stack(parts).mean().detach())
    assert torch.equal(seen, labels)
    assert logits.shape == (60, 10)
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-6, rtol=1e-5)
    assert model.state_dict()["hidden1.norm.num_batches_tracked"] == 3


def test_parts_of_images_stay_laid_out_channels_last() -> None:
    config = compose_run([*QUICK, "model=cnn", "model.width=4", "train.accumulation=4"])
    run, _ = assemble(config, check(config))
    images, _ = next(iter(run.batches))
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in images.chunk(4))


def test_a_graph_is_freed_with_its_part() -> None:
    config = compose_run([*QUICK, "train.accumulation=4"])
    run, _ = assemble(config, check(config))
    losses, logits, _ = next(run.steps())
    assert losses.grad_fn is None
    assert logits.grad_fn is None
