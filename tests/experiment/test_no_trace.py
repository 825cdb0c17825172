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
MODELS = {
    "mlp": ["model.width=8"],
    "cnn": ["model=cnn", "model.width=4", "model.num_stages=1"],
    "vgg": ["model=vgg", "model.width=2", "model.depth=11"],
    "fast_cnn": ["model=fast_cnn", "model.width=2", "model.depth=3"],
    "resnet": ["model=resnet", "model.width=4", "model.depth=8", "model.residual=skipinit"],
    "residual_mlp": ["model=residual_mlp", "model.width=8"],
    "deep_linear": ["model=deep_linear", "model.width=8"],
    "vit": ["model=vit", "model.width=8", "model.num_heads=2", "model.mlp_ratio=1"],
    "lstm": ["model=lstm", "model.width=8"],
    "rnn": ["model=rnn", "model.width=8"],
}
NEED_SPACE = {"instance", "instance_torch", "frn", "switchable"}
MEASURED = ["diagnostics=full", "diagnostics.probe_size=64", "diagnostics.population_size=120"]
for _which in ("schedule", "heavy_schedule"):  # the first and the last step are always measured
    MEASURED += [f"diagnostics.{_which}.log_spaced=0", f"diagnostics.{_which}.evenly=0"]
    MEASURED += [f"diagnostics.{_which}.at=[2]"]

SHORT = ["train.steps=4", "model.depth=1", "train.eval_every=3"]

ENGINES = ("sequential", "vectorized")
SOME = ["none", "batch", "batch_noisy", "batch_renorm", "batch_torch", "ghost", "layer", "switchable", "frn"]
"""Norms of which a whole run is recorded: with and without running statistics, draws, a backward pass by hand.

tests/training/stacked/test_stacked_diagnostics.py trains every norm with and without measurements, by both engines.
"""

GRID = [
    (
        ("mlp", "cnn")[number % 2] if norm not in NEED_SPACE else "cnn",
        norm,
        ENGINES[number // 2 % 2 if is_vectorizable(norm) else 0],
    )
    for number, norm in enumerate(SOME)
]
"""Each of these norms once, so that both models meet both engines."""


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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["vgg", "fast_cnn", "resnet", "residual_mlp", "deep_linear"])
def test_training_is_the_same_to_the_bit_in_deeper_networks(model: str, engine: str) -> None:
    check(model, "batch", engine, "train.steps=4", "train.eval_every=3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "norm", "engine"),
    [
        ("vit", "layer", "sequential"),
        ("vit", "batch_noisy", "vectorized"),
        ("lstm", "batch", "sequential"),
        ("lstm", "layer", "vectorized"),
        ("rnn", "batch_noisy", "sequential"),
    ],
)
def test_training_is_the_same_to_the_bit_with_tokens_and_time_steps(model: str, norm: str, engine: str) -> None:
    check(model, norm, engine, *SHORT)


SETTINGS = {
    "dropout and noise, accumulated": [
        *["norm=batch_noisy", "model.dropout=0.3", "train.accumulation=2", "optim.clip_norm=0.5"],
    ],
    "after the activation, adam": ["placement=after", "optim=adam", "optim.weight_decay=0.01"],
    "on the input, nesterov, augmented": [
        *["placement=input", "optim.momentum=0.9", "optim.nesterov=true", "schedule.name=cosine"],
        *["data.flip=true", "data.crop_padding=1"],
    ],
    "bfloat16": ["train.precision=bfloat16"],
    "a run that diverges": ["optim.lr=1e20", "norm=none"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "engine"),
    # accelerated precision is trained alone
    [one for one in itertools.product(SETTINGS, ENGINES) if one != ("bfloat16", "vectorized")],
)
def test_training_is_the_same_to_the_bit_in_any_setting(setting: str, engine: str) -> None:
    check("mlp", "batch", engine, *SHORT, *SETTINGS[setting])
