"""Each stacked run has the results of a run trained alone.

test_stacked_diagnostics.py says so of all diagnostics, and of a perceptron with any norm.
"""

from typing import Any, ClassVar

import pytest
import torch
from pairs import every_pair
from stacking import alone, compose, data_of, default_dtype, distance, history, together

from bnlab.errors import ConfigError
from bnlab.norms.catalog import is_vectorizable
from bnlab.norms.names import NORMS
from bnlab.norms.norm import Norm
from bnlab.schema import RunConfig

THREE = (["optim.lr=0.1", "seed=0"], ["optim.lr=0.03", "seed=1"], ["optim.lr=0.01", "seed=0"])
"""Two of the runs share a seed, and so their batches."""

VECTORIZABLE = sorted(name for name in NORMS if is_vectorizable(name))


def largest_difference(common: list[str], own: tuple[list[str], ...] = THREE, num_steps: int = 12) -> float:
    """Return the largest difference between stacked runs and the same runs trained alone, in float64."""
    with default_dtype(torch.float64):
        configs = compose(common, *own)
        return largest_difference_in(history(together(configs), num_steps), configs, num_steps)


def largest_difference_in(found: list[dict[str, Any]], configs: list[RunConfig], num_steps: int) -> float:
    """Return the largest difference between what stacked runs came to and the same runs trained alone."""
    differences = []
    for config, seen in zip(configs, found, strict=True):
        with alone(config) as run:
            (expected,) = history(run, num_steps)
        assert torch.isfinite(expected["losses"]).all()
        differences.append(distance(seen, expected))
    return max(differences)


def words_for(norm: str) -> list[str]:
    """Return settings for which training is not chaotic, so that a difference of 1e-16 does not grow to 1e-2.

    Training is chaotic with few values per statistic and a large step, or where an empty corner of an image is divided
    by almost 0: a CNN with InstanceNorm, eps 0.1 and learning rate 0.1 grows a difference of one part in 2e16 of its
    weights to 1e-6. A CNN that is scaled but not centered grows it to 4e-8 in its effective beta, four times as much as
    the others.
    """
    options = {
        "batch_scale_only": ["norm.eps=0.1"],
        "frn": ["norm.learnable_eps=true", "norm.eps=1.0"],
        "group": ["norm.num_groups=2"],
        "group_torch": ["norm.num_groups=2"],
        "instance": ["norm.eps=1.0"],
        "instance_torch": ["norm.eps=1.0"],
        "weight_standardization": ["norm.num_groups=2"],
    }
    return [f"norm={norm}", "optim.momentum=0.5", "model.activation=tanh", *options.get(norm, [])]


def test_all_norms_but_torchs_batch_norm_can_be_vectorized() -> None:
    assert set(NORMS) - set(VECTORIZABLE) == {"batch_torch"}


@pytest.mark.parametrize("norm", ["batch", "batch_noisy"])
def test_a_perceptron(norm: str) -> None:
    assert largest_difference([*words_for(norm), "model.depth=1"], num_steps=10) < 1e-8


def test_a_perceptron_whose_batches_are_divided() -> None:
    words = ["norm=none", "model.depth=1", "train.accumulation=2", "diagnostics=none"]
    assert largest_difference(words, THREE[:2], num_steps=2) < 1e-8


@pytest.mark.slow
def test_smoothed_labels_and_mirrored_evaluation() -> None:
    words = ["norm=none", "model.depth=1", "train.label_smoothing=0.3", "train.mirrored_evaluation=true"]
    assert largest_difference([*words, "diagnostics=none"], THREE[:2], num_steps=2) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["model=mlp", "model.depth=3"],
        ["model=cnn", "model.depth=2", "model.num_stages=2"],
        ["model=residual_mlp", "model.depth=1", "model.residual=skipinit"],
        ["model=resnet", "model.depth=8", "model.block=pre"],
    ],
)
def test_a_network_trained_by_muon(words: list[str]) -> None:
    words = [*words, "model.width=4", "optim=muon", "optim.eps=1e-6", "optim.clip_norm=0.3"]
    own = tuple([*run, f"optim.weight_decay={decay}"] for run, decay in zip(THREE, (0, 0.1, 0), strict=True))
    for adjust_lr in ("original", "match_rms_adamw"):
        common = [*words, f"optim.adjust_lr={adjust_lr}", "norm=batch", "model.activation=tanh", "diagnostics=none"]
        assert largest_difference(common, own, num_steps=4) < 1e-8


def test_a_convolutional_net() -> None:
    words = ["model=cnn", "model.width=4", "model.depth=1", "model.num_stages=1", "diagnostics=none"]
    assert largest_difference([*words, *words_for("instance")], THREE[:2], num_steps=3) < 1e-8


DEEPER = {
    "vgg": ["model=vgg", "model.width=2"],
    "fast_cnn": ["model=fast_cnn", "model.width=2", "model.depth=3"],
    "resnet": ["model=resnet", "model.width=2", "model.depth=8", "model.residual=skipinit"],
    "residual_mlp": ["model=residual_mlp", "model.width=4", "model.depth=1", "model.residual=skipinit"],
    "deep_linear": ["model=deep_linear", "model.width=4", "model.depth=2"],
}
"""The other networks, as small as they can be. tests/models/test_all_networks.py has a quick pass through each."""

ACTIVATED = {"vgg", "fast_cnn", "resnet", "residual_mlp"}


VARIANTS = [
    *[(model, norm) for model in DEEPER for norm in ("none", "batch", "rms", "scaled_weight_standardization")],
    *[(f"resnet model.block=pre model.shortcut=projection model.residual={residual}", norm)
      for residual, norm in [("plain", "batch"), ("nf", "scaled_weight_standardization")]],
    ("resnet model.zero_gamma=true model.residual=plain", "batch"),
    ("residual_mlp model.order=post", "layer"),
    ("residual_mlp model.order=peri model.depth_scale=sqrt", "layer"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("model", "norm"), VARIANTS)
def test_a_network_of_any_other_kind(model: str, norm: str) -> None:
    """With weight decay, too, which leaves the learned share of a branch alone in both."""
    name, *options = model.split()
    activation = ["model.activation=tanh"] if name in ACTIVATED else []
    words = [*DEEPER[name], *options, *activation, f"norm={norm}", "optim.momentum=0.5", "optim.weight_decay=0.01"]
    words += ["optim.decay_norm_and_bias=false", "diagnostics.names=[gradient_norm,stream_variance]"]
    assert largest_difference(words, num_steps=4) < 1e-8


RESIDUAL = [
    (["model.block=post"], "batch"),
    (["model.block=pre"], "batch"),
    (["model.residual=skipinit"], "none"),
    (["model.block=pre", "model.shortcut=projection", "model.residual=nf"], "scaled_weight_standardization"),
]


@pytest.mark.slow
@pytest.mark.parametrize("optim", [["optim=sgd", "optim.momentum=0.9"], ["optim=muon"]])
@pytest.mark.parametrize(("units", "norm"), RESIDUAL)
def test_a_residual_net_of_relus_as_it_comes(units: list[str], norm: str, optim: list[str]) -> None:
    """With the settings of conf/ for all but its size: docs/speed.md says so of larger ones."""
    words = ["model=resnet", "model.depth=8", "model.width=2", *units, f"norm={norm}", *optim, "diagnostics=none"]
    own = (["optim.lr=0.02", "seed=0"], ["optim.lr=0.01", "seed=1"])
    assert largest_difference(words, own, num_steps=4) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", VECTORIZABLE)
def test_a_convolutional_net_with_any_norm_also_beside_a_run_that_diverges(norm: str) -> None:
    """Two runs as they are alone, and of the same bits whatever the run between them does."""
    words = [*words_for(norm), "model=cnn", "model.width=4", "model.depth=1", "model.num_stages=1"]
    with default_dtype(torch.float64):
        wild, tame = histories_beside(words, "1.0e+308", "0.05", num_steps=4)
        assert not torch.isfinite(wild[1]["losses"]).all()
        others = [wild[0], wild[2]]
        assert distance(others, [tame[0], tame[2]]) == 0
        assert largest_difference_in(others, compose(words, *THREE[:2]), num_steps=4) < 1e-8


def histories_beside(words: list[str], *lrs: str, num_steps: int) -> list[list[dict[str, Any]]]:
    """Return what three runs come to, for each of these learning rates of the second."""
    first, last = THREE[:2]
    return [history(together(compose(words, first, [f"optim.lr={lr}", "seed=3"], last)), num_steps) for lr in lrs]


SETTINGS = {
    "norm": ["none", "batch", "layer", "batch_noisy"],
    "optim": [
        ["optim=sgd", "optim.momentum=0"],
        ["optim=sgd", "optim.momentum=0.9"],
        ["optim=sgd", "optim.momentum=0.9", "optim.nesterov=true"],
        ["optim=adam", "optim.eps=1e-6"],  # 1e-8 magnifies the rounding of a gradient near 0 by as much
        ["optim=adamw", "optim.eps=1e-6"],
        ["optim=muon", "optim.first_layer=true", "optim.eps=1e-6"],
    ],
    "num_runs": [1, 2, 3, 5],  # five are computed as six
    "schedule.name": ["constant", "cosine", "step", "one_cycle"],
    "model.activation": ["sigmoid", "tanh", "gelu", "silu"],
    "optim.clip_norm": ["null", "0.05", "5"],
    "train.accumulation": [1, 2, 5],
    "placement": ["before", "after", "input"],
    "depth": [1, 2],
    "optim.decay_norm_and_bias": [True, False],
    "model.dropout": [0.0, 0.3],
    "train.parameters": ["all", "norms", "output", "norms_and_output"],
}


def check_a_program(drawn: dict[str, object]) -> None:
    if "optim=muon" in drawn["optim"] or drawn["norm"] == "none":  # Muon, or nothing, would be left to train
        drawn = {**drawn, "train.parameters": "all"}
    known = {"norm", "optim", "depth", "num_runs"}
    common = [f"{key}={str(value).lower()}" for key, value in drawn.items() if key not in known]
    common += [f"norm={drawn['norm']}", *drawn["optim"], f"model.depth={drawn['depth']}", "accept=[accumulation]"]
    if drawn["train.accumulation"] == 5 and drawn["norm"] != "none":  # statistics of 4 values, some of them equal
        common.append("norm.eps=0.1")
    largest = 0.1 if "optim=sgd" in drawn["optim"] and "optim.momentum=0.9" not in drawn["optim"] else 0.01
    own = (
        [f"optim.lr={largest}", "seed=0", "optim.weight_decay=0"],
        [f"optim.lr={largest / 3}", "seed=1", "optim.weight_decay=0.01"],
        [f"optim.lr={largest / 10}", "seed=0", "optim.weight_decay=0.1", "model.init_std=0.05"],
        [f"optim.lr={largest / 30}", "seed=2", "optim.weight_decay=0", "model.init=glorot"],
        [f"optim.lr={largest}", "seed=3", "optim.weight_decay=0.003"],
    )
    runs = own[: drawn["num_runs"]]
    assert largest_difference(common, runs, num_steps=5) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("drawn", every_pair(SETTINGS), ids=lambda drawn: "-".join(map(str, drawn.values())))
def test_any_program(drawn: dict[str, object]) -> None:
    check_a_program(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_augmented_images_are_those_of_the_seed(model: str) -> None:
    words = [f"model={model}", "model.width=4", "model.depth=1", "data.flip=true", "data.crop_padding=1"]
    words += ["model.num_stages=1"] if model == "cnn" else []
    assert largest_difference([*words, "diagnostics=none", "norm=batch"], num_steps=8) < 1e-8


@pytest.mark.slow
def test_numbers_of_an_optimizer_may_differ_between_runs() -> None:
    sgd = (["optim.momentum=0", "seed=0"], ["optim.momentum=0.9", "seed=0"], ["optim.clip_norm=0.1", "seed=1"])
    common = ["optim.lr=0.01", "norm=layer", "model.depth=1"]
    assert largest_difference([*common, "optim.clip_norm=1"], sgd) < 1e-8
    adam = (["optim.beta1=0.5", "seed=0"], ["optim.beta2=0.9", "seed=0"], ["optim.eps=0.1", "seed=1"])
    assert largest_difference(["optim=adam", *common], adam) < 1e-8


def test_in_float32_the_first_steps_agree_to_rounding() -> None:
    configs = compose(["norm=batch", "model.depth=1"], *THREE)
    found = history(together(configs), 5)
    for config, seen in zip(configs, found, strict=True):
        with alone(config) as run:
            (expected,) = history(run, 5)
        assert distance(seen["losses"], expected["losses"]) < 1e-5
        assert distance(seen["middle"], expected["middle"]) < 1e-4


def test_a_diverged_run_changes_no_bit_of_the_others() -> None:
    others = (["optim.lr=0.1", "seed=0"], ["optim.lr=0.03", "seed=1"], ["optim.lr=0.01", "seed=2"])
    histories = []
    for lr in ("1.0e+38", "0.05"):
        words = [*words_for("batch"), "model.depth=1"]
        configs = compose(words, *others[:1], [f"optim.lr={lr}", "seed=3"], *others[1:])
        histories.append(history(together(configs), 8))
    wild, tame = histories
    assert not torch.isfinite(wild[1]["losses"]).all()
    for position in (0, 2, 3):
        assert distance(wild[position], tame[position]) == 0


@pytest.mark.slow
def test_measuring_leaves_no_trace() -> None:
    histories = []
    for watched in (False, True):
        words = ["norm=batch_noisy", "model.dropout=0.3", "model.depth=1", "diagnostics=full"]
        run = together(compose(words, *THREE))
        losses = []
        for step, (losses_R, _, _) in enumerate(run.steps()):
            losses.append(losses_R)
            if watched:
                run.keep_weights()
                run.measure(step, heavy=True)
                run.evaluate("validation")
            if step == 3:
                break
        histories.append(torch.stack(losses))
    assert torch.equal(*histories)


def test_torchs_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    history(together(compose(["norm=batch_noisy", "model.dropout=0.3", "model.depth=1"], *THREE)), 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_a_program_is_traced_once_for_cohorts_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnlab.training.stacked import program, runs  # noqa: PLC0415

    traced = []
    trace = runs.trace_program
    monkeypatch.setattr(program, "_programs", {})
    monkeypatch.setattr(runs, "trace_program", lambda *args: traced.append(args) or trace(*args))
    for words in ([], [], ["norm.num_groups=2"], ["model.width=20"]):
        together(compose(["norm=group", "model.depth=1", *words], *THREE[:2]))
    assert len(traced) == 3


class Replacing(Norm):
    """A norm that replaces its buffers by new tensors."""

    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(num_channels))

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + x_NC.detach().mean(0)
        return x_NC


class Drawing(Norm):
    """A norm that draws from torch's random state."""

    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        return x_NC + torch.randn_like(x_NC)


class Deciding(Norm):
    """A norm that decides by the values that it sees."""

    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        return x_NC if x_NC.mean() > 0 else 2 * x_NC


@pytest.mark.parametrize(
    ("norm", "law"),
    [
        (
            "Replacing",
            r"must change its buffers in place, but hidden1\.norm\.seen was replaced\. Use sweep\.engine=seq",
        ),
        ("Drawing", r"declares itself vectorizable, but is not: .*random.* Use sweep\.engine=sequential"),
        ("Deciding", r"declares itself vectorizable, but is not: .* Use sweep\.engine=sequential"),
    ],
)
def test_a_norm_that_is_wrongly_declared_vectorizable_is_an_error(norm: str, law: str) -> None:
    with pytest.raises(ConfigError, match=law):
        together(compose([f"norm={__name__}:{norm}"], *THREE))


def test_data_have_the_default_float_type() -> None:
    with default_dtype(torch.float64):
        run = together(compose(["norm=batch", "model.depth=1", "diagnostics=none"], *THREE))
        assert {value.dtype for value in run.weights()[0].values()} == {torch.float64, torch.int64}
        assert data_of(compose([], [])[0]).train.images.dtype == torch.float64
