"""With all diagnostics on or off, a run has the same bits: with every model and engine, and norms of all kinds."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from bnlab.config.compose import compose_run
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member
from bnlab.norms.catalog import is_vectorizable
from bnlab.runfolder.folder import RunFolder
from bnlab.training.checkpoint import read_checkpoint

QUICK = ["data=synthetic", "train.steps=12", "train.log_every=1", "train.eval_every=4", "loggers=[]", "model.depth=2"]
MODELS = {"mlp": ["model.width=8"], "cnn": ["model=cnn", "model.width=4", "model.num_stages=1"]}
NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
MEASURED = ["diagnostics=full", "diagnostics.schedule.every=4", "diagnostics.heavy_schedule.every=6"]
MEASURED += ["diagnostics.probe_size=64", "diagnostics.population_size=120"]

SHORT = ["train.steps=6", "model.depth=1", "train.eval_every=3"]
SHORT += ["diagnostics.schedule.every=3", "diagnostics.heavy_schedule.every=3"]

ENGINES = ("sequential", "vectorized")
SOME = ["none", "batch", "batch_noisy", "batch_renorm", "batch_torch", "ghost", "layer", "switchable", "frn"]
"""Norms of which a whole run is recorded: with and without running statistics, draws, a backward pass by hand.

tests/training/stacked/test_stacked_diagnostics.py trains every norm with and without measurements, by both engines.
"""

GRID = [
    (("mlp", "cnn")[(number + vectorized) % 2] if norm not in NEED_SPACE else "cnn", norm, ENGINES[vectorized])
    for (number, norm), vectorized in itertools.product(enumerate(SOME), (0, 1))
    if not vectorized or is_vectorizable(norm)
]
"""Each of these norms with both engines and with both models."""


def trained(words: list[str], engine: str, place: str) -> list[tuple[list[Any], dict[str, torch.Tensor]]]:
    """Train two runs, or one; return the records of each, without those of diagnostics, and its weights."""
    seeds = (0, 1) if engine == "vectorized" else (0,)
    root = Path(place).absolute()
    members = [Member(compose_run([*words, f"seed={seed}"]), RunFolder(root / str(seed))) for seed in seeds]
    run_cohort(members, engine)
    return [
        (
            [record for record in member.folder.read_records() if record["kind"] != "diagnostic"],
            read_checkpoint(member.folder.checkpoint_path)["model"],
        )
        for member in members
    ]


def check(model: str, norm: str, engine: str, *more: str) -> None:
    words = [*QUICK, *MODELS[model], f"norm={norm}", "accept=[statistics_not_settled]", *more]
    alone = trained([*words, "diagnostics=none"], engine, "alone")
    measured = trained([*words, *MEASURED], engine, "measured")
    for (records, weights), (expected, expected_weights) in zip(measured, alone, strict=True):
        assert records == expected
        torch.testing.assert_close(weights, expected_weights, rtol=0, atol=0, equal_nan=True)


def test_training_is_the_same_to_the_bit() -> None:
    check("mlp", "batch_noisy", "sequential", "train.steps=4", "model.depth=1")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "norm", "engine"), GRID)
def test_training_is_the_same_to_the_bit_with_other_norms(model: str, norm: str, engine: str) -> None:
    check(model, norm, engine, *SHORT)


SETTINGS = {
    "dropout and noise": ["norm=batch_noisy", "model.dropout=0.3"],
    "after the activation": ["placement=after"],
    "on the input": ["placement=input"],
    "accumulated": ["train.accumulation=2", "optim.clip_norm=0.5"],
    "adam": ["optim=adam", "optim.weight_decay=0.01"],
    "nesterov": ["optim.momentum=0.9", "optim.nesterov=true", "schedule.name=cosine"],
    "augmented": ["data.flip=true", "data.crop_padding=1"],
    "bfloat16": ["train.precision=bfloat16"],
    "a run that diverges": ["optim.lr=1e20", "norm=none"],
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_training_is_the_same_to_the_bit_in_any_setting(setting: str, engine: str) -> None:
    if setting == "bfloat16" and engine == "vectorized":
        pytest.skip("accelerated precision is trained alone")
    check("mlp", "batch", engine, *SHORT, "model.depth=2", *SETTINGS[setting])
