"""The definitions hold for bnlab's layer, and each of them notices the fault that it is there for."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from bnlab.config.folders import conf_folder
from bnlab.errors import ConfigError
from bnlab.norms import batch, batch_formula
from bnlab.studies.definitions import LAWS, deviations

Patch = pytest.MonkeyPatch

NOT_A_LAW = "undone_on_another_batch"
"""What the article's sentence on switching the layer off leaves open: expected not to hold."""


@pytest.mark.parametrize("name", [name for name in LAWS if name != NOT_A_LAW])
def test_the_definition_holds_within_rounding(name: str) -> None:
    found = deviations(name)
    assert len(found) == 10
    assert max(found) < 1e-11


def test_scale_and_shift_undo_the_layer_for_their_own_batch_only() -> None:
    assert max(deviations("undone_on_its_batch")) < 1e-11
    found = deviations(NOT_A_LAW)
    assert np.mean(found) == pytest.approx(math.sqrt(3 / 60), rel=0.1)
    assert len(set(found)) == 10


def test_the_study_asks_for_every_law_and_for_every_definition_of_the_article() -> None:
    study = yaml.safe_load((conf_folder() / "study" / "definitions.yaml").read_text(encoding="utf-8"))
    asked = {one["law"]: one for one in (*study["conditions"], *study["also"])}
    assert set(asked) == set(LAWS)
    assert {one["below"] for one in asked.values()} == {1e-5}
    assert [one["law"] for one in study["also"]] == [NOT_A_LAW]
    assert study["statements"] == [*(f"S{number}" for number in range(1, 11)), "S24"]
    assert sorted(one["statement"] for one in study["conditions"]) == sorted(study["statements"])


def test_each_seed_draws_a_case_of_its_own() -> None:
    assert deviations(NOT_A_LAW, range(3, 5)) == deviations(NOT_A_LAW)[3:5]


def test_a_name_that_is_no_law_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"got batch_maen\. Did you mean batch_mean\?"):
        deviations("batch_maen")


def test_definitions_are_named_without_waiting_for_torch() -> None:
    words = "import sys, bnlab.studies.definitions as d; d.LAWS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def with_formula(patch: Patch, change: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> None:
    """Put another formula in the place of `normalize_batch`; it gets the right one first."""
    right = batch_formula.normalize_batch
    for module in (batch, batch_formula):
        patch.setattr(module, "normalize_batch", lambda *given: change(right, *given))


def uncentered(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, var = right(x, weight, bias, eps)
    return y, mean * 1.001, var


def unbiased(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, var = right(x, weight, bias, eps)
    num_values = x.numel() // x.shape[1]
    return y, mean, var * num_values / (num_values - 1)


def outside_the_root(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    _, mean, var = right(x, weight, bias, eps)
    like = [1, -1, *[1] * (x.dim() - 2)]
    return (x - mean.view(like)) / (var.sqrt() + eps).view(like) * weight.view(like) + bias.view(like), mean, var


def without_eps(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return right(x, weight, bias, eps * 1e-3)


def by_sample(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    _, mean, var = right(x, weight, bias, eps)
    return torch.cat([right(x[n : n + 1], weight, bias, eps)[0] for n in range(len(x))]), mean, var


def shifted_first(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y = weight (xhat + bias), which is right while the bias is 0."""
    return right(x, weight, weight * bias, eps)


def deaf(right: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Right forward, but for the gradient mean and variance are constants."""
    _, mean, var = right(x.detach(), weight, bias, eps)
    like = [1, -1, *[1] * (x.dim() - 2)]
    mean, var = mean.detach(), var.detach()
    y = (x - mean.view(like)) / (var + eps).sqrt().view(like) * weight.view(like) + bias.view(like)
    return y, mean, var


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("batch_mean", uncentered),
        ("biased_variance", unbiased),
        ("standardized", outside_the_root),
        ("standardized", without_eps),
        ("scale_and_shift", shifted_first),
        ("scale_and_shift", deaf),
        ("undone_on_its_batch", outside_the_root),
        ("plain_standardization", without_eps),
        ("running_average", uncentered),
        ("running_variance_is_biased", unbiased),
        ("per_channel_over_images_and_places", by_sample),
        ("per_channel_over_images_and_places", outside_the_root),
    ],
)
def test_a_wrong_formula_deviates_in_most_cases(name: str, fault: Any, monkeypatch: Patch) -> None:
    with_formula(monkeypatch, fault)
    found = deviations(name)
    assert sum(deviation > 1e-4 for deviation in found) >= 9, found


def test_momentum_as_torch_understands_it_deviates(monkeypatch: Patch) -> None:
    monkeypatch.setattr(batch, "kept_share", lambda momentum, *_: 1 - momentum)
    for name in ("running_average", "running_variance_is_biased"):
        assert min(deviations(name)) > 1e-3


def test_an_evaluation_that_sees_neighbors_deviates(monkeypatch: Patch) -> None:
    right = batch.BatchNorm.forward

    def mixing(self: Any, x: Tensor) -> Tensor:
        y = right(self, x)
        return y if self.training else y + 1e-3 * y.mean(0)

    monkeypatch.setattr(batch.BatchNorm, "forward", mixing)
    assert min(deviations("evaluation_by_running_statistics")) > 1e-4


def test_an_evaluation_that_moves_its_statistics_deviates(monkeypatch: Patch) -> None:
    right = batch.BatchNorm.forward

    def moving(self: Any, x: Tensor) -> Tensor:
        y = right(self, x)
        if not self.training:
            self.running_mean.add_(1.0)
        return y

    monkeypatch.setattr(batch.BatchNorm, "forward", moving)
    assert min(deviations("evaluation_by_running_statistics")) > 1e-4


def test_a_new_layer_that_scales_deviates(monkeypatch: Patch) -> None:
    right = batch.BatchNorm.__init__

    def halved(self: Any, *given: Any, **options: Any) -> None:
        right(self, *given, **options)
        torch.nn.init.constant_(self.weight, 0.5)

    monkeypatch.setattr(batch.BatchNorm, "__init__", halved)
    assert min(deviations("plain_standardization")) > 0.1


def test_a_single_sample_that_is_not_its_bias_or_is_taken_in_silence_deviates(monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        with_formula(patch, lambda right, x, *rest: (x, *right(x, *rest)[1:]))
        assert min(deviations("single_sample_is_its_bias")) > 1e-2
    monkeypatch.setattr(batch, "check_has_variance", lambda *_: None)
    assert deviations("single_sample_is_its_bias") == [1.0] * 10


def test_a_value_that_is_not_finite_deviates_without_bound(monkeypatch: Patch) -> None:
    with_formula(monkeypatch, lambda right, x, *rest: (x * math.nan, *right(x, *rest)[1:]))
    assert deviations("standardized") == [math.inf] * 10
