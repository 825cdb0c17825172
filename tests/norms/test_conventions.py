"""docs/conventions.md says of bnlab and PyTorch what their layers do."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import build_norm

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "conventions.md").read_text(encoding="utf-8")


def row(beginning: str) -> list[str]:
    """Return the cells of the row of a table that begins so."""
    (line,) = re.findall(rf"^\| {re.escape(beginning)}.*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def defaults_of(layer: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(layer).parameters.items()}


def number(text: str) -> float:
    return float(re.findall(r"\d[\d.e-]*", text)[0])


@pytest.mark.parametrize(
    ("framework", "layer"), [("bnlab, `norm=batch`", BatchNorm), ("PyTorch, `nn.", nn.BatchNorm2d)]
)
def test_the_rows_of_batch_norm_are_what_the_layers_do(framework: str, layer: Any) -> None:
    _, momentum, share, variance, eps, names, channels = row(framework)
    norm, x_NCHW = layer(3), 2 * torch.randn(4, 3, 5, 5) + 1
    assert (norm.momentum, norm.eps) == (float(momentum), float(eps))
    assert [f"`{name}`" for name, _ in norm.named_parameters()] == names.split(", ")
    assert channels == "axis 1"
    norm(x_NCHW)
    of_batch = {"old value": 1 - norm.momentum, "new value": norm.momentum}[share]
    torch.testing.assert_close(norm.running_mean, of_batch * x_NCHW.mean((0, 2, 3)))
    var_C = x_NCHW.var((0, 2, 3), correction={"biased": 0, "unbiased": 1}[variance])
    torch.testing.assert_close(norm.running_var, (1 - of_batch) + of_batch * var_C)


def test_the_row_of_pytorchs_other_layers_has_their_defaults() -> None:
    _, layer, group, instance, rms = row("PyTorch | 1e-5")
    assert number(layer) == defaults_of(nn.LayerNorm)["eps"]
    assert number(group.split(",")[1]) == defaults_of(nn.GroupNorm)["eps"]
    assert defaults_of(nn.GroupNorm)["num_groups"] is inspect.Parameter.empty
    assert (instance, defaults_of(nn.InstanceNorm2d)["affine"]) == ("no", False)
    assert defaults_of(nn.RMSNorm)["eps"] is None
    x_NC = torch.full((1, 4), 1e-3)
    eps = number(rms.split("type's own")[1])
    torch.testing.assert_close(nn.RMSNorm(4)(x_NC), x_NC / (1e-6 + eps) ** 0.5, rtol=1e-2, atol=0)


def test_the_row_of_bnlabs_other_layers_has_their_defaults() -> None:
    _, layer, group, instance, rms = row("bnlab | 1e-5")
    assert number(layer) == build_norm("layer", 4).eps
    norm: Any = build_norm("group", 8)
    assert group == f"{norm.num_groups}, {number(group.split(',')[1]):.0e}".replace("e-05", "e-5")
    assert number(group.split(",")[1]) == norm.eps
    assert number(rms) == build_norm("rms", 4).eps
    assert (instance, len(list(build_norm("instance", 4).parameters()))) == ("yes", 2)
    assert build_norm("layer", 4).weight.shape == (4,)
    assert nn.LayerNorm((4, 2, 2)).weight.shape == (4, 2, 2)


def test_the_two_variances_differ_by_the_share_that_the_page_names() -> None:
    (percent, rows) = re.findall(r"m / \(m - 1\): ([\d.]+)% for (\d+) rows", PAGE)[0]
    assert round(100 / (int(rows) - 1), 1) == float(percent)


def test_the_code_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
