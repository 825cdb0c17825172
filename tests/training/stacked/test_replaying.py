"""What is measured by recorded operations has the bits of what is measured by calls."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from stacking import compose, together
from torch import Tensor

from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.training.stacked import measure, replaying
from bnlab.training.stacked.replaying import replayed
from bnlab.training.stacked.tracing import trace


def calls_alone(_key: object, function: Callable[..., Any], *values: Any) -> Any:
    return function(*values)


def all_values(words: list[str], seeds: range) -> str:
    """Measure and evaluate a cohort at step 0 and after each of three steps."""
    cohort = together(compose(words, *([f"seed={seed}"] for seed in seeds)))
    values: list[Any] = [cohort.measure(0, heavy=False), cohort.evaluate("validation")]
    for step, _ in zip(range(1, 5), cohort.steps(), strict=False):
        values += [cohort.measure(step, heavy=False), cohort.evaluate("validation")]
        cohort.keep_weights()
    return json.dumps(values)  # not equal where the sign of a zero or a NaN is another


@pytest.mark.parametrize(
    "words",
    [
        ["norm=batch", "diagnostics=cheap"],
        pytest.param(["norm=batch", "diagnostics=full"], marks=pytest.mark.slow),
        pytest.param(["norm=batch", "diagnostics=cheap", "model.dropout=0.2"], marks=pytest.mark.slow),
        pytest.param(["norm=batch_noisy", "diagnostics=cheap", "model.activation=sigmoid"], marks=pytest.mark.slow),
        pytest.param(["norm=layer", "model=rnn", "model.width=8", "diagnostics=cheap"], marks=pytest.mark.slow),
        *(pytest.param([f"diagnostics.names=[{name}]"], marks=pytest.mark.slow) for name in DIAGNOSTICS),
    ],
)
def test_recorded_measurements_are_the_same_to_the_bit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [] if "model=rnn" in words else ["model.depth=2"]
    seeds = [range(3), range(3, 6)]  # the second cohort repeats what the first has recorded
    monkeypatch.setattr(replaying, "_kept", {})
    recorded = [all_values([*sizes, *words], some) for some in seeds]
    monkeypatch.setattr(measure, "replayed", calls_alone)
    assert recorded == [all_values([*sizes, *words], some) for some in seeds]


OWN_NORM = """
import torch
from torch import nn
SLOPE = [1.0]
class Mine(nn.Module):
    vectorizable = True
    def __init__(self, num_channels):
        super().__init__()
    def forward(self, x):
        return x * SLOPE[0]
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["norm.eps=1e-5"], ["norm.eps=10"]),
        (["model.activation=relu"], ["model.activation=tanh"]),
        (["placement=before"], ["placement=after"]),
        (["norm=group", "norm.num_groups=2"], ["norm=group", "norm.num_groups=4"]),
        (["model.dropout=0.0"], ["model.dropout=0.3"]),
    ],
)
def test_what_was_recorded_of_one_network_is_not_repeated_for_another(
    one: list[str], other: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [["model.depth=2", "diagnostics.names=[saturation]", *each] for each in (one, other)]
    monkeypatch.setattr(replaying, "_kept", {})
    recorded = [all_values(each, range(3)) for each in words]
    monkeypatch.setattr(measure, "replayed", calls_alone)
    assert recorded == [all_values(each, range(3)) for each in words]
    assert recorded[0] != recorded[1]


def test_a_norm_of_ones_own_is_called_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its Python may decide anew, and its code may be another after a reload."""
    (tmp_path / "own_slope.py").write_text(OWN_NORM, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    cohort = together(compose(["norm=own_slope:Mine", "model.depth=2"], ["seed=0"], ["seed=1"]))
    losses = [cohort.evaluate("validation") for _ in range(3)]
    sys.modules["own_slope"].SLOPE[0] = 2.0
    assert losses[0] == losses[1] == losses[2] != cohort.evaluate("validation")


def test_large_constants_are_not_kept() -> None:
    def with_zeros(x: Tensor) -> Tensor:
        return torch.cat([x.new_zeros(100_000), x.new_ones(10), x])

    x = torch.ones(3)
    results = [replayed("with zeros", with_zeros, x) for _ in range(3)]
    assert all(torch.equal(found, with_zeros(x)) for found in results)
    (kept,) = [one for key, one in replaying._kept.items() if key[0] == "with zeros"]  # type: ignore[index]
    sizes = [constant.numel() for constant in kept.operations.__self__.buffers()]  # type: ignore[union-attr]
    assert sizes == [10]


def count_calls(function: Callable[..., Any], *values: Any) -> tuple[int, list[Any]]:
    """Ask four times for what a function returns; return how often it was called, and its results."""
    calls = []

    def counted(*inputs: Any) -> Any:
        calls.append(1)
        return function(*inputs)

    results = [replayed(function, counted, *values) for _ in range(4)]
    return len(calls), results


def test_the_third_call_repeats_the_operations_of_the_second() -> None:
    x = torch.randn(3)
    num_calls, results = count_calls(lambda tree: {"sum": [tree["x"].sum()], "twice": tree["x"] * 2}, {"x": x})
    assert num_calls == 2
    for found in results:
        assert torch.equal(found["sum"][0], x.sum())
        assert torch.equal(found["twice"], x * 2)


def of_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() * 2) + 1


def of_a_number(x: Tensor) -> Tensor:
    return x + torch.tensor(1.0)


constant = torch.ones(3)


def of_another_tensor(x: Tensor) -> Tensor:
    return x + constant


@pytest.mark.parametrize("function", [of_numpy, of_a_number, of_another_tensor])
def test_what_is_not_computed_from_the_arguments_by_torch_is_called_each_time(function: Callable[..., Any]) -> None:
    num_calls, results = count_calls(function, torch.ones(3))
    assert num_calls == 5  # the second is broken off, and made again
    assert all(torch.equal(found, results[0]) for found in results)


def test_other_shapes_and_other_keys_are_other_functions() -> None:
    def doubled(x: Tensor) -> Tensor:
        return x * 2

    for size in (2, 3, 2, 3, 2, 3):
        assert replayed("doubled", doubled, torch.ones(size)).tolist() == [2] * size
    assert replayed("tripled", lambda x: x * 3, torch.ones(2)).tolist() == [3, 3]


def test_a_number_that_python_asks_for_is_refused() -> None:
    with pytest.raises(RuntimeError, match="its code asks for the value of a tensor"):
        trace(lambda x: x if x.sum().item() > 0 else -x, torch.ones(2))
    assert trace(lambda x: x * torch.tensor(3.0).item(), torch.ones(2))(torch.ones(2)).tolist() == [3, 3]
    chosen = trace(lambda x, places: x[places] * 2, torch.ones(3), torch.tensor([0, 1]))
    assert chosen(torch.arange(3.0), torch.tensor([2, 0])).tolist() == [4, 0]
    hot = trace(torch.func.vmap(lambda x: F.one_hot(x, 3) * 2), torch.tensor([[0, 1]]))
    assert hot(torch.tensor([[2, 0]])).tolist() == [[[0, 0, 2], [2, 0, 0]]]
    for asks in (lambda x: x * torch.equal(x, x + 1), lambda x: x.nonzero() + 1, lambda x: x[x > 0]):
        with pytest.raises(RuntimeError, match="its code asks for the value of a tensor"):
            trace(asks, torch.ones(2))


def test_operations_that_give_several_tensors_and_change_some_in_place() -> None:
    def several(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x.clone()
        y.view(-1)[1:].mul_(2)
        largest, place = y.max(dim=1)
        return y, largest, place

    x = torch.arange(6.0).view(2, 3)
    for found, expected in zip(trace(several, torch.zeros(2, 3))(x), several(x), strict=True):
        assert torch.equal(found, expected)
