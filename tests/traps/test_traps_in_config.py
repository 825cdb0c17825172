"""Every bad configuration of the table in bnlab/traps is caught by `bnlab train`, before anything is made."""

import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from composed import compose_parts

import bnlab
from bnlab.cli.app import main
from bnlab.config.compose import compose_run
from bnlab.experiment.checking import check
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS
from bnlab.trap_names import TrapName

QUICK = ["data=synthetic", "train.steps=30", "model.width=16", "loggers=[]"]
SELDOM = ["diagnostics.schedule.log_spaced=0", "diagnostics.schedule.evenly=1"]

OWN = """
import torch


class Centered(torch.nn.Module):
    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x - x.mean([axis for axis in range(x.dim()) if axis != 1], keepdim=True)


class HonestlyCentered(Centered):
    subtracts_mean = True
    mixes_samples = True


class Noisy(Centered):
    def forward(self, x):
        return x + torch.randn_like(x)


class Overwriting(Centered):
    def forward(self, x):
        return x.mul_(2)


class Tame(Centered):
    def forward(self, x):
        return x * 2


"""


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("warning:")]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run `bnlab train` in this process."""

    def say(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bnlab", "train", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        captured = capfd.readouterr()
        return Answer(int(ending.value.code or 0), captured.out, captured.err)

    return say


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write norms of somebody's own beside the command, and forget them afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"trapped_norms_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield name
    sys.modules.pop(name, None)


# --- errors: exit status 2, nothing on disk ---------------------------------------------------------------------------


@pytest.mark.slow_but(4)
@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["train.batch_size=1"], "Use a larger train.batch_size, or norm=layer"),
        (["train.batch_size=4", "train.accumulation=4"], "train.accumulation leaves one image at a time"),
        (["diagnostics.probe_size=1"], "Set diagnostics.probe_size above 1"),
        (["norm=instance"], "Use norm=layer or norm=group here"),
        (["norm=instance", "model=cnn", "model.depth=5", "model.num_stages=5"], "Use norm=layer or norm=group here"),
        (["norm=group", "norm.num_groups=16"], "Use fewer groups, or a wider layer"),
        (["norm=group", "norm.num_groups=6"], "16 channels, 6 groups. Nearest divisors: 4, 8."),
        (["train.accumulation=7"], "60 images, 7 parts. Nearest divisors: 5, 6."),
        (["train.accumulation=61"], "Nearest divisors: 30, 60."),
        (["train.batch_size=1", "norm=torch.nn:BatchNorm1d"], "cannot take a batch of shape"),
        (["model=cnn", "model.num_stages=15", "model.depth=15"], "Try a smaller model.width or fewer stages"),
        (["model.dropout=1"], "model.dropout must be less than 1, got 1"),
        (["accept=[few_vaules]"], "accept=few_vaules is not known. Did you mean few_values"),
    ],
)
def test_what_cannot_work_is_status_2_with_the_cure_and_no_folder(
    train: Callable[..., Answer], tmp_path: Path, words: list[str], cure: str
) -> None:
    answer = train(*QUICK, *words)
    assert (answer.status, answer.out) == (2, "")
    assert cure in answer.err
    assert len(answer.err.strip().splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_image_left_over_in_an_evaluation_is_found_before_the_training(train: Callable[..., Answer]) -> None:
    words = ["train.steps=30", "model.width=16", "norm.track_running_stats=false"]
    answer = train("data=mnist_5k", "data.limit=501", *words)
    assert answer.status == 2
    assert "the last batch of the test set (501 images, 500 at a time)" in answer.err
    assert train("data=mnist_5k", "data.limit=500", *words).status == 0


def test_a_norm_that_overwrites_the_images_is_refused(train: Callable[..., Answer], own: str, tmp_path: Path) -> None:
    answer = train(*QUICK, f"norm={own}:Overwriting", "placement=input")
    assert answer.status == 2
    assert "overwrites its input images. Let it work on x.clone()" in answer.err
    assert not (tmp_path / "runs").exists()


def test_a_norm_that_overwrites_what_the_gradient_needs_is_refused(train: Callable[..., Answer], own: str) -> None:
    answer = train(*QUICK, f"norm={own}:Overwriting", "placement=after")
    assert answer.status == 2
    assert "its gradient cannot be computed" in answer.err


# --- warnings: said once, and the training goes on --------------------------------------------------------------------

WARNED = [
    ("few_values", ["train.batch_size=4"], "over 4 values per channel"),
    ("few_values", ["train.batch_size=2"], "+1 and -1"),
    ("few_values", ["norm=batch_torch", "train.batch_size=60", "train.accumulation=12"], "over 5 values per channel"),
    ("few_values", ["norm=group", "norm.num_groups=8"], "of 2 values per statistic"),
    ("bias_before_norm", ["norm=torch.nn:BatchNorm1d"], "Write subtracts_mean = True in its class"),
    ("bias_before_norm", ["norm=OWN:Centered"], "Write subtracts_mean = True in its class"),
    ("undecayed_norm", ["optim.weight_decay=0.1"], "Set optim.decay_norm_and_bias=false, or true"),
    ("small_momentum", ["norm.momentum=0.1"], "PyTorch's 0.1 is norm.momentum=0.9 here"),
    ("small_momentum", ["norm=batch_torch", "norm.momentum=0.01"], "PyTorch's 0.01 is norm.momentum=0.99 here"),
    (
        "small_momentum",
        ["norm=torch.nn:BatchNorm1d", "norm.momentum=0.9"],
        "PyTorch's momentum is the share of the NEW",
    ),
    ("statistics_not_settled", ["norm.momentum=0.99"], "eval mode uses 74% of the initial ones"),
    ("statistics_not_settled", ["norm.momentum=1"], "norm=batch never changes its running statistics"),
    ("statistics_not_settled", ["norm=batch_population", "norm.source=frozen"], "never changes its running statistics"),
    ("in_place", ["norm=OWN:Overwriting"], "Let it work on x.clone()"),
    ("dropout_before_batch_norm", ["model.dropout=0.5"], "dropout (hidden1.dropout) before hidden2.norm, hidden3.norm"),
    ("dropout_before_batch_norm", ["model.dropout=0.5", "model.depth=1", "placement=after"], "before hidden1.norm"),
    ("accumulation", ["train.accumulation=4"], "statistics of 15 samples each, not 60"),
    ("accumulation", ["norm=batch_devices", "train.accumulation=2"], "statistics of 30 samples each, not 60"),
    ("accumulation", ["norm=OWN:Centered", "train.accumulation=4"], "statistics of 15 samples each, not 60"),
]


@pytest.mark.slow_but(2)
@pytest.mark.parametrize(("name", "words", "message"), WARNED)
def test_what_is_legal_is_one_line_on_standard_error_and_in_the_log(
    train: Callable[..., Answer], own: str, tmp_path: Path, name: str, words: list[str], message: str
) -> None:
    words = [word.replace("OWN", own) for word in words]
    answer = train(*QUICK, *SELDOM, "--json", *words)
    assert answer.status == 0
    (line,) = [line for line in answer.warnings if message in line]
    assert json.loads(answer.out)["status"] == "finished"
    (log,) = tmp_path.glob("runs/single/*/log.txt")
    assert line.removeprefix("warning: ") in log.read_text()
    accepted = check(compose_parts([*QUICK, *words, f"accept=[{name}]"]))
    assert not [warning for warning in accepted.warnings if message in warning]


@pytest.mark.slow
def test_accept_changes_no_number_and_so_no_runs_name(train: Callable[..., Answer]) -> None:
    words = [*QUICK, "--json", "train.batch_size=4"]
    assert [json.loads(train(*words, *more).out)["cached"] for more in ([], ["accept=[few_values]"])] == [False, True]


@pytest.mark.slow_but(3)
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train.batch_size=8", "train.steps=60"],
        ["norm=batch_torch"],
        ["norm=layer", "train.batch_size=1"],
        ["norm=layer", "train.accumulation=4"],
        ["norm=layer", "model.dropout=0.5"],
        ["norm=none", "optim.weight_decay=0.1"],
        ["optim.weight_decay=0.1", "optim.decay_norm_and_bias=true"],
        ["optim.weight_decay=0.1", "optim.decay_norm_and_bias=false"],
        ["optim.weight_decay=0.1", "train.parameters=output"],
        ["optim=adamw"],
        ["optim=adam"],
        ["norm.momentum=null"],
        ["norm.momentum=0.99", "train.steps=400"],
        ["norm.momentum=0.5"],
        ["model.dropout=0.5", "model.depth=1"],
        ["model.dropout=0.5", "norm.track_running_stats=false"],
        ["model=cnn", "model.width=4", "train.batch_size=8"],
        ["norm=OWN:Tame", "train.accumulation=4"],
        ["norm=OWN:Noisy", "train.accumulation=4"],
        ["norm=OWN:HonestlyCentered"],
        ["norm=OWN:Overwriting", "diagnostics=none"],
    ],
)
def test_what_is_meant_is_trained_without_a_word(own: str, words: list[str]) -> None:
    config = compose_parts([*QUICK, *(word.replace("OWN", own) for word in words)])
    assert check(config).warnings == []


@pytest.mark.slow_but(1)
@pytest.mark.parametrize(
    "words",
    [
        ["norm=batch"],
        ["norm=none"],
        ["norm=layer", "optim.lr=0.3"],
        ["norm=group"],
        ["model=cnn"],
        ["model=cnn", "data=mnist"],
        pytest.param(["recipe=cifar10_fast"], marks=pytest.mark.slow),
        pytest.param(["recipe=mnist_fast"], marks=pytest.mark.slow),
        ["data=mnist"],
        ["model.activation=sigmoid", "model.depth=5", "model.init_std=1", "optim.lr=1"],
        ["norm=layer", "data=digits", "train.epochs=5"],
    ],
)
def test_the_commands_of_the_readme_meet_no_trap(
    words: list[str], real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNLAB_DATA", str(real_data))
    assert check(compose_run(words)).warnings == []


@pytest.mark.slow_but(4)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["mlp", "cnn", "fast_cnn", "resnet", "residual_mlp", "vit", "lstm", "rnn"])
def test_every_norm_of_the_catalog_trains_without_a_word_by_default(norm: str, model: str) -> None:
    words = ["data=synthetic", f"model={model}", "train.steps=1000", f"norm={norm}"]
    if model not in {"cnn", "resnet"}:
        try:
            build_norm(norm, 8)(torch.randn(4, 8))
        except bnlab.ConfigError:
            pytest.skip("it needs images")
    assert check(compose_parts(words)).warnings == []


@pytest.mark.slow
def test_equal_warnings_of_a_sweep_are_printed_once(train: Callable[..., Answer]) -> None:
    answer = train("-m", "--json", *QUICK, "norm=batch,layer", "seed=0,1,2", "train.batch_size=4")
    assert answer.status == 0
    assert len(answer.warnings) == 1


@pytest.mark.slow
def test_quiet_hides_warnings_of_every_kind(train: Callable[..., Answer]) -> None:
    answer = train("-m", "-q", *QUICK, "norm=batch,group", "norm.num_groups=2", "train.batch_size=4")
    assert (answer.status, answer.out, answer.err) == (0, "", "")


def test_from_python_the_logger_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="bnlab"):
        bnlab.train([*QUICK, "train.batch_size=4"])
    said = [record for record in caplog.records if "over 4 values per channel" in record.getMessage()]
    assert len(said) == 2, "once for the caller, once for log.txt"
    assert not [r for r in caplog.records if r.levelno > logging.WARNING]


@pytest.mark.slow
def test_a_large_model_is_weighed_before_it_is_built(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    words = ["model=cnn", "model.num_stages=9", "model.depth=9", "model.width=32"]
    # the linear maps, by hand: 3x3 kernels with as many outputs as the next stage has inputs, and the output layer
    widths = [1, *(32 * 2**stage for stage in range(9))]
    weights = sum(9 * a * b for a, b in itertools.pairwise(widths)) + 11 * widths[-1]
    biases = sum(widths[1:])
    monkeypatch.setattr("bnlab.provenance.memory_bytes", lambda: 100 * 2**30)
    (warning,) = check(compose_run([*QUICK, *words, "model.width=32"])).warnings
    assert f"take {8 * (weights + biases) / 2**30:.1f} GiB of 100.0" in warning
    assert "each doubles the channels" in warning
    assert check(compose_run([*QUICK, *words, "accept=[large_model]"])).warnings == []
    (adam,) = check(compose_run([*QUICK, *words, "optim=adam"])).warnings
    assert f"take {16 * (weights + biases) / 2**30:.1f} GiB" in adam
    for part in ("norms", "output"):  # of what is not trained there are no gradients and no states
        (frozen,) = check(compose_run([*QUICK, *words, "optim=adam", f"train.parameters={part}"])).warnings
        assert f"take {4 * (weights + biases) / 2**30:.1f} GiB" in frozen
    monkeypatch.setattr("bnlab.provenance.memory_bytes", lambda: 2**30)
    for norm in ("norm=batch", f"norm={own}:Tame"):
        with pytest.raises(bnlab.ConfigError, match=r"GiB of 1\.0\. Try a smaller model\.width"):
            check(compose_run([*QUICK, *words, norm, "accept=[large_model]"]))


def test_the_share_of_the_start_that_is_warned_of_is_there() -> None:
    """Against the layer itself: constant batches, and what is left of running_var's 1."""
    norm = build_norm("batch", 3, momentum=0.99)
    for _ in range(30):
        norm(torch.full((4, 3), 5.0))
    assert norm.running_var.tolist() == pytest.approx([0.99**30] * 3)
    (warning,) = check(compose_run([*QUICK, "norm.momentum=0.99"])).warnings
    assert f"{0.99**30:.0%}" in warning
    assert "norm.momentum=0.904 or below" in warning
    assert 0.904**30 <= 0.05 < 0.906**30


def test_updates_of_the_running_statistics_are_counted_per_part() -> None:
    words = [*QUICK, "norm.momentum=0.99", "train.steps=100", "accept=[accumulation]"]
    assert len(check(compose_run(words)).warnings) == 1
    assert check(compose_run([*words, "train.accumulation=5"])).warnings == []


@pytest.mark.parametrize("per_step", ["true", "false"])
def test_updates_at_each_time_step_count_as_those_of_a_pass(per_step: str) -> None:
    words = ["data=synthetic", "model=lstm", "model.width=8", f"model.norm_per_step={per_step}"]
    assert check(compose_run([*words, "train.steps=40"])).warnings == []
    (warning,) = check(compose_run([*words, "train.steps=20"])).warnings
    assert f"{0.9**20:.0%}" in warning
    assert "norm.momentum=0.86 or below" in warning


@pytest.mark.slow
def test_synchronized_devices_are_no_few_values() -> None:
    words = [*QUICK, "norm=batch_devices", "norm.num_devices=16", "train.batch_size=32"]
    assert check(compose_run([*words, "norm.sync=true"])).warnings == []
    (warning,) = check(compose_run(words)).warnings
    assert "over 2 values per channel" in warning


def test_ghosts_smaller_than_a_part_are_the_same_in_parts() -> None:
    words = [*QUICK, "norm=ghost", "norm.ghost_size=10", "train.batch_size=60"]
    assert check(compose_run([*words, "train.accumulation=3"])).warnings == []
    (warning,) = check(compose_run([*words, "train.accumulation=10"])).warnings[-1:]
    assert "accumulation" in warning or "values" in warning


def test_a_search_for_traps_leaves_the_callers_random_state_alone(own: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check(compose_run([*QUICK, f"norm={own}:Noisy", "model.dropout=0.5", "train.accumulation=2"]))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_name_that_accept_takes_is_in_the_table() -> None:
    import bnlab.traps  # noqa: PLC0415

    assert bnlab.traps.__doc__ is not None
    assert not [name for name in TrapName.__args__ if name not in bnlab.traps.__doc__]
