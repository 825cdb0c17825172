"""A run that is interrupted at each of its checkpoints, and resumed each time, equals the run that was not."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interrupted_runs import QUICK, assert_equal, check_once, composed, trained_in_one_go

from bnlab import provenance
from bnlab.config.folders import conf_folder
from bnlab.experiment.cohort_run import run_experiment
from bnlab.experiment.recorder import Recorder
from bnlab.runfolder.folder import RunFolder

NORMS = sorted(path.stem for path in (conf_folder() / "norm").glob("*.yaml") if path.stem != "own")
IMAGES_ONLY = {"frn", "instance", "instance_torch", "switchable"}


@pytest.fixture
def train_in_pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[RunFolder, list[int]]]:
    """Train a run that is interrupted after each checkpoint; return its folder and the steps of resumption."""
    check_once(monkeypatch)
    keep = Recorder.keep_state

    def keep_and_interrupt(recorder: Recorder, step: int, state: dict[str, Any]) -> None:
        keep(recorder, step, state)
        raise KeyboardInterrupt

    def train(words: list[str]) -> tuple[RunFolder, list[int]]:
        config, folder = composed(*words), RunFolder(Path("pieces").absolute())
        monkeypatch.setattr(Recorder, "keep_state", keep_and_interrupt)
        for _ in range(100):
            try:
                run_experiment(config, folder)
            except KeyboardInterrupt:
                continue
            break
        monkeypatch.setattr(Recorder, "keep_state", keep)
        return folder, [resumption["step"] for resumption in folder.read_manifest()["resumed"]]

    return train


def check(words: list[str], train_in_pieces: Callable[..., Any]) -> None:
    words = [*QUICK, *words]
    pieces, steps = train_in_pieces(words)
    config = composed(*words)
    assert config.train.steps is not None
    assert config.train.checkpoint_every is not None
    assert steps == list(range(config.train.checkpoint_every, config.train.steps, config.train.checkpoint_every))
    assert_equal(pieces, trained_in_one_go(config))


def test_a_resumed_run_says_when_it_was_started_first(
    train_in_pieces: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = (f"2020-01-01T00:00:{second:02}+00:00" for second in itertools.count())
    monkeypatch.setattr(provenance, "now", lambda: next(times))
    folder, steps = train_in_pieces([*QUICK, "diagnostics=none", "train.checkpoint_every=20"])
    assert steps == [20]
    assert folder.read_manifest()["started"] < folder.read_manifest()["resumed"][0]["at"]
    assert folder.read_manifest()["started"] == "2020-01-01T00:00:00+00:00"


def test_a_resumed_run_has_the_same_bits(train_in_pieces: Callable[..., Any]) -> None:
    check(["norm=batch_noisy", "optim.momentum=0.9", "train.checkpoint_every=10"], train_in_pieces)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_a_resumed_run_has_the_same_bits_with_every_norm(norm: str, train_in_pieces: Callable[..., Any]) -> None:
    # resumed at 5 and 10, in the middle of an epoch, right after an evaluation; all is measured between, at 7
    model = ["model=cnn", "model.num_stages=1", "model.width=4"] if norm in IMAGES_ONLY else []
    words = ["train.steps=11", "train.checkpoint_every=5", "train.eval_every=5", "diagnostics.schedule.at=[0,3,7]"]
    check([f"norm={norm}", *words, *model], train_in_pieces)


SETTINGS = {
    "all diagnostics": [
        *["diagnostics=full", "diagnostics.schedule.every=3", "diagnostics.heavy_schedule.every=5"],
        *["diagnostics.probe_size=64", "diagnostics.population_size=120"],
    ],
    "noise per channel, after the activation": ["norm=batch_noisy", "norm.noise_per=channel", "placement=after"],
    "a plain average, momentum, one cycle": ["norm.momentum=null", "optim.momentum=0.5", "schedule.name=one_cycle"],
    "nesterov": ["optim.momentum=0.9", "optim.nesterov=true", "optim.clip_norm=0.5", "optim.weight_decay=0.01"],
    "adam, cosine": ["optim=adam", "optim.lr=0.01", "schedule.name=cosine", "schedule.warmup_share=0.3"],
    "adamw, steps": [
        *["optim=adamw", "optim.lr=0.01", "optim.weight_decay=0.1"],
        *["schedule.name=step", "schedule.milestones=[0.2,0.31,0.6]"],
    ],
    "parameters of norms": ["train.parameters=norms", "optim=adam", "optim.lr=0.01"],
    "muon": ["optim=muon", "optim.first_layer=true", "optim.clip_norm=0.5"],
    "accumulation, dropout": ["train.accumulation=3", "model.dropout=0.2"],
    "bfloat16 with adam": ["train.precision=bfloat16", "optim=adam", "norm=batch"],
    "cnn": [
        *["model=cnn", "model.depth=3", "model.num_stages=3", "model.width=4", "train.steps=10", "optim.momentum=0.9"],
    ],
    "augmentation": [
        *[
            "model=cnn",
            "model.depth=2",
            "model.num_stages=1",
            "model.width=4",
            "train.steps=10",
            "data.flip=true",
            "data.crop_padding=2",
        ],
        *["norm=batch_noisy", "model.dropout=0.1"],
    ],
    "the whole split at once": ["train.batch_size=700"],
    "one batch less than the split": ["train.batch_size=350"],
    "a checkpoint at every step": ["train.checkpoint_every=1", "train.steps=10"],
    "a checkpoint wherever something happens": ["train.checkpoint_every=5", "train.eval_every=5"],
    "no checkpoint but the last": ["train.checkpoint_every=12"],
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_resumed_run_has_the_same_bits_with_every_setting(setting: str, train_in_pieces: Callable[..., Any]) -> None:
    # an epoch has 11 steps; all is measured at 9, after the checkpoint at 8
    words = ["train.steps=13", "diagnostics.schedule.at=[0,3,9]"]
    check([*words, *SETTINGS[setting]], train_in_pieces)


@pytest.mark.slow
@pytest.mark.parametrize("log_every", [1, 5, 50])
def test_a_run_that_diverges_after_it_was_resumed_diverges_at_the_same_step(
    log_every: int, train_in_pieces: Callable[..., Any]
) -> None:
    words = [*QUICK, "norm=none", "optim.lr=30", "model.activation=relu", "model.depth=5", "seed=1"]
    words += ["train.divergence_patience=7", f"train.log_every={log_every}", "train.checkpoint_every=2"]
    pieces, steps = train_in_pieces(words)
    whole = trained_in_one_go(composed(*words))
    assert whole.read_status() == "diverged"
    assert len(steps) > 2
    assert_equal(pieces, whole)


@pytest.mark.slow
def test_manifest_log_and_timings_tell_of_each_resumption(train_in_pieces: Callable[..., Any]) -> None:
    folder, _ = train_in_pieces(QUICK)
    manifest = folder.read_manifest()
    assert manifest["status"] == "finished"
    assert [set(resumption) for resumption in manifest["resumed"]] == [{"step", "at", "after_threads"}] * 6
    log = folder.log_path.read_text()
    assert log.count("resumed from the checkpoint at step") == 6
    timings = [json.loads(line) for line in (folder.path / "timings.jsonl").read_text().splitlines()]
    assert [timing["step"] for timing in timings] == [5, 10, 15, 20, 25, 26]
    elapsed = [timing["values"]["elapsed_s"] for timing in timings]
    assert elapsed == sorted(elapsed)
    assert json.loads((folder.path / "summary.json").read_text())["duration_s"] >= elapsed[-1]
    assert sorted(path.name for path in folder.path.iterdir()) == [
        *["checkpoint.pt", "config.yaml", "log.txt", "manifest.json", "metrics.jsonl", "summary.json"],
        "timings.jsonl",
    ]


OWN = """
import torch
from torch import nn


class Buffers(nn.Module):
    '''Puts new tensors in the place of its buffers.'''

    def __init__(self, num_channels):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_channels))

    def forward(self, x):
        if not self.training:
            return x - self.mean
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - x.mean(0)


class ExtraState(nn.Module):
    '''Keeps a mean and a count as plain attributes, and saves them itself.'''

    def __init__(self, num_channels):
        super().__init__()
        self.mean, self.num_batches = torch.zeros(num_channels), 0

    def get_extra_state(self):
        return {"mean": self.mean, "num_batches": self.num_batches}

    def set_extra_state(self, state):
        self.mean, self.num_batches = state["mean"], state["num_batches"]

    def forward(self, x):
        if self.training:
            self.num_batches += 1
            self.mean = self.mean + (x.detach().mean(0) - self.mean) / self.num_batches
        return x - self.mean
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["Buffers", "ExtraState"])
def test_a_layer_of_ones_own_that_saves_its_state_is_resumed_with_the_same_bits(
    layer: str, train_in_pieces: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("resumed_layers.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    check([f"norm=resumed_layers:{layer}", "accept=[bias_before_norm]", "diagnostics=none"], train_in_pieces)
