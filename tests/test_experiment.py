import json
import logging
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from torch import nn

import bnlab
from bnlab.config.compose import compose_run
from bnlab.config.composition import INITIALIZE_OPTIONS
from bnlab.data.loader import Batches
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check
from bnlab.experiment.cohort_run import run_experiment
from bnlab.experiment.observer import RunObserver
from bnlab.runfolder.folder import RunFolder
from bnlab.seeding import stream_seed

QUICK = [
    *["data=synthetic", "train.steps=60", "model.width=16", "train.log_every=10"],
    *["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=3"],
]


def metrics(summary: bnlab.RunSummary) -> bytes:
    return (Path(summary.folder) / "metrics.jsonl").read_bytes()


def losses(summary: bnlab.RunSummary) -> list[Any]:
    lines = map(json.loads, metrics(summary).splitlines())
    return [(line["step"], line["values"]) for line in lines if line["kind"] in {"step", "eval"}]


def run(*overrides: str, runs: str = "runs", again: bool = False) -> bnlab.RunSummary:
    return bnlab.train([*QUICK, *overrides], runs=runs, again=again)


ARMS = ["batch", "batch_torch", "none", "layer", "group", "rms"]


@pytest.mark.parametrize("norm", [pytest.param(n, marks=() if n == "batch" else pytest.mark.slow) for n in ARMS])
def test_the_same_config_and_seed_give_the_same_bytes(norm: str) -> None:
    words = [f"norm={norm}", "train.steps=30"]
    assert metrics(run(*words, runs="a")) == metrics(run(*words, runs="b"))


@pytest.mark.slow
def test_the_same_config_and_seed_give_the_same_bytes_for_a_cnn_with_augmentation() -> None:
    words = ["model=cnn", "model.width=4", "train.steps=6", "data.flip=true", "data.crop_padding=1"]
    assert metrics(run(*words, runs="a")) == metrics(run(*words, runs="b"))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "norm"), [("mlp", "batch"), ("mlp", "none"), ("cnn", "batch")])
def test_diagnostics_and_loggers_leave_the_loss_bit_identical(model: str, norm: str) -> None:
    """Without loggers, with more norms and by both engines: tests/experiment/test_no_trace.py."""
    words = [f"norm={norm}", f"model={model}", "model.width=8", "train.steps=6", "train.log_every=1"]
    measured = ["diagnostics=full", "diagnostics.schedule.at=[1,4]", "diagnostics.heavy_schedule.at=[4]"]
    measured += ["diagnostics.schedule.evenly=0", "diagnostics.heavy_schedule.evenly=0"]
    watched = run(*words, *measured, "diagnostics.probe_size=64", "diagnostics.population_size=120")
    alone = run(*words, "diagnostics=none", "loggers=[]")
    assert losses(watched) == losses(alone)
    assert not list(Path(alone.folder).glob("events*"))
    for key, value in torch.load(Path(watched.folder) / "checkpoint.pt", weights_only=True)["model"].items():
        assert torch.equal(value, torch.load(Path(alone.folder) / "checkpoint.pt", weights_only=True)["model"][key])


@pytest.mark.slow
def test_arms_of_one_seed_share_initial_weights_and_batch_order() -> None:
    weights, orders = {}, {}
    for norm in ARMS:
        config = compose_run([*QUICK, f"norm={norm}", "seed=3"])
        cohort, model = assemble(config, check(config))
        weights[norm] = {role: linear.weight for role, linear in model.linears.items()}
        batches = iter(Batches(cohort.data.train, 60, config.data, config.seed))
        orders[norm] = torch.stack([next(batches)[1] for _ in range(30)])
    for norm in ARMS:
        assert torch.equal(orders[norm], orders["none"])
        for role, weight in weights["none"].items():
            assert torch.equal(weights[norm][role], weight)


def test_the_callers_random_state_threads_and_logging_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()
    level = logging.getLogger("bnlab").level
    run("norm=batch", "threads=2", "train.steps=2")
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert logging.getLogger("bnlab").level == level
    assert logging.getLogger("bnlab").handlers == []


def test_a_notebook_with_hydra_initialized_can_train(tmp_path: Path) -> None:
    with initialize_config_dir(str(tmp_path), **INITIALIZE_OPTIONS):
        assert run().status == "finished"


def test_a_run_that_becomes_nan_is_diverged_with_the_step_and_stops_early() -> None:
    summary = run("norm=none", "optim.lr=1e4", "train.steps=5000")
    assert summary.status == "diverged"
    assert summary.steps is not None
    assert summary.diverged_at_step is not None
    assert summary.diverged_at_step <= summary.steps < 100
    assert summary.train_loss is None
    last = json.loads(metrics(summary).splitlines()[-1])
    assert (last["kind"], last["name"], last["values"]) == (
        "end",
        "diverged",
        {"diverged_at_step": summary.diverged_at_step},
    )


def test_the_step_of_divergence_does_not_depend_on_how_often_the_loss_is_read() -> None:
    words = ["norm=none", "optim.lr=1e4", "train.steps=200"]
    steps = {run(*words, f"train.log_every={every}").diverged_at_step for every in (1, 7, 100)}
    assert len(steps) == 1


def test_a_finished_run_is_returned_at_once_and_trained_anew_only_when_told() -> None:
    first = run()
    kept = metrics(first)
    written = (Path(first.folder) / "metrics.jsonl").stat()
    second = run()
    assert second.cached
    assert (second.test_accuracy, second.duration_s) == (first.test_accuracy, first.duration_s)
    assert (Path(second.folder) / "metrics.jsonl").stat() == written
    third = run(again=True)
    assert not third.cached
    assert (Path(third.folder) / "metrics.jsonl").stat() != written
    assert metrics(third) == kept


class _InterruptAt(RunObserver):
    """A logger that interrupts its run at a step, and the observer that opens it."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step
        self.closed_with: object = "never"

    def take(self, record: Any) -> None:
        if record.step >= self.at_step:
            raise KeyboardInterrupt

    def close(self, summary: object) -> None:
        self.closed_with = summary

    def open_logger(self, *_: object) -> "_InterruptAt":
        return self


def test_ctrl_c_keeps_what_was_recorded_and_says_so() -> None:
    config = compose_run(QUICK)
    folder, view = RunFolder(Path("runs/single/cut").absolute()), _InterruptAt(30)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, folder, view)
    assert folder.read_manifest()["status"] == "interrupted"
    assert max(record["step"] for record in folder.read_records()) == 30
    assert isinstance(view.closed_with, bnlab.RunSummary)
    assert view.closed_with.status == "interrupted"
    assert json.loads((folder.path / "summary.json").read_text())["steps"] == 30
    assert list(folder.path.glob("events*"))


def test_a_failure_keeps_its_traceback_and_names_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("two and two\nare five")

    monkeypatch.setattr("bnlab.training.cohort.measure_all", broken)
    with pytest.raises(bnlab.RunError, match=r"failed: ArithmeticError: two and two\nThe whole traceback: .*log\.txt"):
        run()
    (folder,) = Path("runs/single").glob("batch*")
    assert "Traceback" in (folder / "log.txt").read_text()
    assert RunFolder(folder).read_manifest()["status"] == "failed"


@pytest.mark.parametrize(
    "words",
    [
        ["norm=instance"],
        ["train.batch_size=1"],
        ["train.batch_size=100000"],
        ["norm.eps=-1"],
        ["norm.momentum=1.5"],
        ["norm=group", "norm.num_groups=3"],
        ["norm=no.such:Layer"],
        ["diagnostics.names=[saturatoin]"],
        ["data=mnist", "data.root=nowhere"],
        ["device=cuda:7"],
        ["norm=none", "train.parameters=norms"],
        ["norm.affine=false", "train.parameters=norms"],
        ["optim=muon", "train.parameters=norms_and_output"],
    ],
)
def test_what_cannot_work_is_refused_before_any_folder_is_made(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(bnlab.BnlabError) as caught:
        run(*words)
    assert not isinstance(caught.value, bnlab.RunError)
    assert len(str(caught.value).splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_the_test_set_is_touched_once_at_the_end() -> None:
    splits = [
        (line["step"], line["split"]) for line in map(json.loads, metrics(run()).splitlines()) if line["kind"] == "eval"
    ]
    assert [step for step, split in splits if split == "test"] == [60]
    assert [step for step, split in splits if split == "validation"] == [0, 11, 22, 33, 44, 55, 60]


@pytest.mark.slow
def test_a_loaded_model_gives_the_recorded_test_accuracy() -> None:
    summary = run("norm=batch", "model=cnn", "model.width=4", "train.steps=4")
    model = bnlab.load_model(summary.folder)
    assert isinstance(model, nn.Module)
    assert not model.training
    data = check(compose_run(QUICK)).data.test
    accuracy = (model(data.images).argmax(1) == data.labels).double().mean().item()
    assert accuracy == summary.test_accuracy


def test_what_has_no_weights_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(bnlab.RunError, match="is not a run's folder"):
        bnlab.load_model(tmp_path)
    folder = Path(run().folder)
    (folder / "checkpoint.pt").write_bytes(b"not weights")
    with pytest.raises(bnlab.RunError, match=r"checkpoint\.pt is damaged"):
        bnlab.load_model(folder)


def test_a_model_is_loaded_by_its_runs_name_and_a_name_that_no_run_has_is_told_as_read_runs_tells_it() -> None:
    summary = run()
    weights, expected = (bnlab.load_model(given).state_dict() for given in (summary.run_id, summary.folder))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    with pytest.raises(bnlab.ConfigError, match=r"^nope is neither .* Known: single\.$"):
        bnlab.load_model("nope")
    with pytest.raises(bnlab.ConfigError, match=r"Did you mean batch-"):
        bnlab.load_model(f"{summary.run_id}x")


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    def write(seed: int) -> None:
        images = np.random.RandomState(seed).rand(200, 4)
        np.savez(tmp_path / "x.npz", images=images, labels=(images[:, 0] > 0.5).astype(int))

    words = ["data=npz", f"data.path={tmp_path / 'x.npz'}", "train.batch_size=20", "train.steps=10"]
    write(0)
    first = run(*words)
    write(1)
    second = run(*words)
    assert second.run_id != first.run_id
    assert second.test_loss != first.test_loss


def test_a_run_of_another_version_says_so_and_where_its_weights_are() -> None:
    folder = Path(run().folder)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("placement:", "place:"))
    with pytest.raises(bnlab.RunError, match=r"trained by another version of bnlab[^$]*weights_only=True"):
        bnlab.load_model(folder)


def test_the_manifest_says_by_whom_and_how_the_run_was_trained() -> None:
    manifest = RunFolder(Path(run("threads=2", "train.steps=2").folder)).read_manifest()
    assert manifest["status"] == "finished"
    assert manifest["threads"] == 2
    assert manifest["engine"] == "sequential"
    assert manifest["data"]["num_images"] == {"train": 700, "validation": 100, "test": 200}
    assert manifest["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert {"command", "git", "hardware", "started", "ended", "duration_s", "schema_version", "cohort"} <= set(manifest)


def test_small_models_get_one_thread_and_large_ones_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnlab.provenance.num_physical_cores", lambda: 6)
    assert check(compose_run([])).num_threads == 1
    assert check(compose_run(["model=cnn"])).num_threads == 6
    assert check(compose_run(["model=cnn", "threads=2"])).num_threads == 2


def test_checkpoints_are_written_on_the_way_when_asked_for() -> None:
    config = compose_run([*QUICK, "train.checkpoint_every=20"])
    folder = RunFolder(Path("runs/single/cut").absolute())
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, folder, _InterruptAt(50))
    assert torch.load(folder.checkpoint_path, weights_only=True)["step"] == 40


@pytest.mark.slow
def test_gradient_clipping_and_bfloat16_change_the_training() -> None:
    short = ["train.steps=10", "loggers=[]"]
    plain = run(*short).train_loss
    assert run("optim.clip_norm=0.01", *short).train_loss != plain
    assert run("train.precision=bfloat16", *short).train_loss != plain


@pytest.mark.slow
def test_an_own_norm_from_the_current_folder_trains_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "my_layers.py").write_text(
        "import torch\n"
        "class Halver(torch.nn.Module):\n"
        "    def __init__(self, num_channels, *, share=0.5):\n"
        "        super().__init__()\n"
        "        self.share = share\n"
        "    def forward(self, x):\n"
        "        return x * self.share\n"
    )
    summary = run("norm=my_layers:Halver", "norm.share=0.25")
    assert summary.run_id.startswith("Halver-")
    assert bnlab.load_model(summary.folder).hidden1.norm.share == 0.25
    with pytest.raises(bnlab.ConfigError, match=r"has no option 'shrae'\. Did you mean share\?"):
        run("norm=my_layers:Halver", "norm.shrae=0.25")


@pytest.mark.slow
def test_noise_drawn_in_training_comes_from_the_seed_and_the_callers_random_state_is_untouched() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run("norm=batch_noisy", "train.steps=10")
    metrics = (Path(first.folder) / "metrics.jsonl").read_bytes()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    run("norm=batch_noisy", "train.steps=10", again=True)
    assert (Path(first.folder) / "metrics.jsonl").read_bytes() == metrics
    assert run("norm=batch_noisy", "train.steps=10", "seed=1").train_loss != first.train_loss


def test_validation_and_checkpoints_come_as_often_as_they_are_asked_for() -> None:
    asked = ["train.eval_every=7", "train.checkpoint_every=9", "train.log_every=3"]
    plan = check(compose_run([*QUICK, *asked])).plan
    assert (plan.eval_every, plan.checkpoint_every, plan.log_every) == (7, 9, 3)
    found = check(compose_run([*QUICK, "train.eval_every=null"]))
    assert found.plan.eval_every == len(found.data.train.images) // found.plan.batch_size


class Listening(torch.nn.Module):
    """Keep the seed that torch's random state was set to."""

    heard: ClassVar[set[int]] = set()

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.heard.add(torch.initial_seed())
        return x * self.scale


@pytest.mark.slow
def test_each_seed_draws_noise_of_its_own() -> None:
    seeds = []
    for seed in (0, 1):
        run(f"norm={__name__}:Listening", "train.steps=2", f"seed={seed}", "diagnostics=none")
        seeds.append(stream_seed(seed, "noise"))
    assert Listening.heard >= set(seeds)
    assert seeds[0] != seeds[1]
