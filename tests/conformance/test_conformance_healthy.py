"""Layers that keep their promises: torch's own, and every norm of the catalog."""

import functools
from typing import ClassVar

import faults
import pytest
import torch
from torch import nn

from bnlab.conformance.laws import LAWS, check, check_named
from bnlab.conformance.layer_building import builder
from bnlab.errors import ConfigError
from bnlab.norms.batch import BatchNorm
from bnlab.norms.names import NORMS
from bnlab.norms.norm import Norm

TORCH = [
    ("BatchNorm1d", None, {}),
    ("BatchNorm2d", None, {}),
    ("BatchNorm3d", None, {}),
    ("BatchNorm2d", None, {"momentum": 0.3, "eps": 1e-3}),
    ("BatchNorm2d", None, {"affine": False}),
    ("BatchNorm2d", None, {"track_running_stats": False}),
    ("GroupNorm", "group", {"num_groups": 2}),
    ("LayerNorm", "layer", {}),
    ("LayerNorm", "layer", {"bias": False}),
    ("InstanceNorm1d", "instance", {}),
    ("InstanceNorm2d", "instance", {}),
    ("InstanceNorm2d", "instance", {"affine": True, "track_running_stats": True}),
    ("InstanceNorm3d", "instance", {"affine": True}),
    ("RMSNorm", "rms", {}),
    ("RMSNorm", "rms", {"eps": 1e-5}),
]


ALL_LAWS = [law.name for law in LAWS]


def with_large_inputs(layers, quick):
    """Return parameters: each layer with all laws, which is slow, and each of a few layers with the quick laws."""
    slow = [
        pytest.param(*layer, ALL_LAWS, marks=pytest.mark.slow, id=f"{number}-{layer[0]}")
        for number, layer in enumerate(layers)
    ]
    return [
        *slow,
        *(pytest.param(*layers[number], faults.QUICK_LAWS, id=f"{layers[number][0]}-quick") for number in quick),
    ]


@pytest.mark.parametrize(("name", "like", "options", "laws"), with_large_inputs(TORCH, [0, 3, 7, 11]))
def test_torchs_layers_keep_the_laws_of_their_family(name, like, options, laws):
    """But for torch 2.14's kernels for a CPU, which are wrong for channels last in memory where means are far from 0.

    Running statistics are kept in float16 after ``.half()``, which is the law's to tell.
    """
    report = check_named(f"torch.nn:{name}", options, like, laws)
    assert list(report.verdicts) == laws
    failures, half = dict(report.failures), "half-precision state"
    if report.verdicts["running update"].status == "holds":
        assert failures.pop(half).cause.startswith("after .half() running_var is kept in float16, and infinite")
    if name == "GroupNorm" and "large offset" in failures:
        assert failures.pop("large offset").cause.startswith("only with the channels last in memory: the variance is")
    if name == "BatchNorm2d" and laws == ALL_LAWS:
        assert "large ones in channels_last" in failures.pop("large far input").cause
    assert failures == {}


@pytest.mark.parametrize(("name", "laws"), with_large_inputs([(name,) for name in NORMS], range(0, len(NORMS), 5)))
def test_every_norm_of_the_catalog_keeps_what_it_promises(name, laws):
    report = check_named(name, only=laws)
    assert {law: verdict.cause for law, verdict in report.failures.items()} == {}
    assert list(report.verdicts) == laws


@pytest.mark.slow_but(1)
@pytest.mark.parametrize(
    ("options", "momentum", "variance"),
    [
        ({"momentum": 0.75}, "0.75 is the share of the old value", "biased"),
        ({"momentum": None}, "None: the plain average of all batches", "biased"),
        ({"unbiased_running_var": True}, "0.9 is the share of the old value", "unbiased"),
        ({"momentum": 0.5}, "the same in both senses", "biased"),
    ],
)
def test_the_sense_of_momentum_and_the_stored_variance_are_found_out(options, momentum, variance):
    report = check_named("batch", options, only=faults.QUICK_LAWS)
    assert report.failures == {}
    assert momentum in report.facts["momentum"]
    assert f"averages the {variance} variance" in report.facts["running variance"]


def test_a_layer_of_images_only_is_not_faulted_for_it():
    report = check_named("torch.nn:BatchNorm2d", only=["input"])
    assert report.facts["takes"] == "(N, C, H, W)"
    assert report.facts["does not take"] == "(N, C), (N, C, L), (N, C, D, H, W)"


@pytest.mark.slow
def test_a_partial_is_built_with_its_options_and_the_number_of_channels_alone():
    only = faults.QUICK_LAWS
    assert check(functools.partial(nn.GroupNorm, 2), "groups", "group", only).facts["eps"] == "1e-05"
    assert check(functools.partial(nn.BatchNorm1d, eps=1e-3), "batch", only=only).facts["eps"] == "0.001"


def test_a_check_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_named("batch_noisy", only=faults.QUICK_LAWS)
    assert torch.equal(torch.rand(2), expected)


class OddlyNamed(nn.Module):
    """Layer normalization whose scale and shift have names that say nothing, as in much copied code."""

    def __init__(self, num_channels):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(num_channels))
        self.b_2 = nn.Parameter(torch.zeros(num_channels))
        self.eps = 1e-6

    def mean_and_std(self, x):
        axes = tuple(range(1, x.dim()))
        return x.mean(axes, keepdim=True), (x.var(axes, keepdim=True, correction=0) + self.eps).sqrt()

    def forward(self, x):
        a_2, b_2 = (each.view(1, -1, *[1] * (x.dim() - 2)) for each in (self.a_2, self.b_2))
        mean, std = self.mean_and_std(x)
        return a_2 * (x - mean) / std + b_2


class StdPlusEps(OddlyNamed):
    def mean_and_std(self, x):
        axes = tuple(range(1, x.dim()))
        return x.mean(axes, keepdim=True), x.std(axes, keepdim=True) + self.eps


def test_scale_and_shift_of_any_name_are_found_by_their_initial_values():
    report = check(OddlyNamed, "own", "layer", only=["training output", "affine"])
    assert report.failures == {}
    assert report.facts["affine"] == "a_2, b_2"


@pytest.mark.slow
def test_so_are_they_in_a_layer_with_a_fault_and_in_all_laws():
    assert set(check(OddlyNamed, "own", "layer", faults.QUICK_LAWS).failures) <= {"output type", "low precision"}
    cause = check(StdPlusEps, "own", "layer", only=["training output"]).failures["training output"].cause
    assert "divided by m-1, not m" in cause
    assert "eps is outside the root" in cause


class SaysTooMuch(Norm):
    """Only scales; its declarations are false."""

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True
    invariances: ClassVar[frozenset] = frozenset({"channel_shift", "sample_scale"})

    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        return (x * x.mean().sign() * self.weight.view(1, -1, *[1] * (x.dim() - 2))).to(x.dtype)


def test_declarations_that_are_not_so_are_found():
    failures = check(SaysTooMuch, "own", only=faults.QUICK_LAWS).failures
    assert "keeps_running_statistics is declared True, and seen False" in failures["declarations"].cause
    assert "subtracts_mean is declared True, and seen False" in failures["declarations"].cause
    assert "adding a constant to each channel moves the output" in failures["invariances"].cause
    assert "multiplying each sample" in failures["invariances"].cause
    assert "its way through the mean is missing" in failures["gradient sums"].cause
    assert failures["running update"].cause.startswith("training moves nothing")
    assert "training output" not in failures  # it declares no formula


class MixesUnsaid(BatchNorm):
    mixes_samples: ClassVar[bool] = False
    keeps_running_statistics: ClassVar[bool] = False


def test_mixing_samples_and_moving_buffers_must_be_declared():
    failures = check(MixesUnsaid, "own", only=["declarations", "neighbors in training"]).failures
    assert "mixes_samples is declared False, and seen True" in failures["declarations"].cause
    assert "keeps_running_statistics is declared False, and seen True" in failures["declarations"].cause
    assert "depends on its neighbors in training mode" in failures["neighbors in training"].cause


class Slanted(Norm):
    """A formula of its own whose gradient is not that of its output."""

    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x):
        return x * torch.sigmoid(x).detach() * self.weight.view(1, -1, *[1] * (x.dim() - 2)).to(x.dtype)


def test_a_gradient_that_is_not_the_outputs_slope_is_found_without_a_formula():
    assert "the input's gradient is not that of the layer's own output" in (
        check(Slanted, "own", only=["finite differences"]).failures["finite differences"].cause
    )


@pytest.mark.parametrize(
    ("name", "options", "like", "words"),
    [
        ("torch.nn:GroupNorm", {}, "group", r"Add norm\.num_groups=<value>"),
        ("batch", {"momentom": 1}, None, r"Did you mean momentum\?"),
        ("batch", {"momentum": 3}, None, r"^norm\.momentum must be in \[0, 1\]"),
        ("batch", {}, "bacth", r"Did you mean batch\?"),
        ("torch.nn:ReLU", {"x": 1}, None, "has no option 'x'"),
    ],
)
def test_what_is_typed_wrong_gets_a_cure(name, options, like, words):
    with pytest.raises(ConfigError, match=words):
        check_named(name, options, like)


def test_the_number_of_channels_is_found_by_its_name():
    assert builder("torch.nn:GroupNorm", {"num_groups": 2})(6).num_channels == 6
    assert builder("torch.nn:LayerNorm", {})(6).normalized_shape == (6,)
    assert builder("batch", {})(6).num_channels == 6
