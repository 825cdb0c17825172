"""A shortened program computes the same bits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from stacking import compose, history, together
from torch import Tensor
from torch.fx import GraphModule

from bnlab.training.stacked import program
from bnlab.training.stacked.graph import shorten
from bnlab.training.stacked.tracing import trace

THREE = (["optim.lr=0.1", "seed=0"], ["optim.lr=0.1", "seed=1"], ["optim.lr=0.01", "seed=0"])


VIEWS = ("alias", "detach", "view", "getitem", "expand")
"""Operations of which another number changes no value."""


def unchanged(graph: GraphModule) -> Callable[..., Any]:
    return graph.forward


@pytest.mark.parametrize(
    "words",
    [
        ["norm=batch", "model.dropout=0.2", "model.depth=1"],
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (
                ["norm=none"],
                ["norm=layer", "train.accumulation=2", "accept=[accumulation]"],
                ["norm=group", "norm.num_groups=4", "model.activation=gelu"],
                ["norm=batch_noisy", "model.activation=sigmoid"],
                ["norm=ghost", "placement=input"],
                ["norm=batch", "norm.affine=false", "model=cnn", "model.width=4"],
                ["norm=instance", "model=cnn", "model.width=4"],
            )
        ),
    ],
)
def test_training_is_the_same_to_the_bit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["model.depth=2", *(["model.num_stages=2"] if "model=cnn" in words else [])]
    configs = compose([*sizes, *words, "diagnostics=none"], *THREE)
    monkeypatch.setattr(program, "_programs", {})
    shortened = history(together(configs), 4)
    monkeypatch.setattr(program, "_programs", {})
    monkeypatch.setattr(program, "shorten", unchanged)
    for found, expected in zip(shortened, history(together(configs), 4), strict=True):
        for name in ("losses", "logits"):
            assert torch.equal(found[name], expected[name])


def traced(function: Callable[..., Any], *tensors: Tensor) -> GraphModule:
    with torch.no_grad():
        return trace(function, *tensors)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["norm=batch", "model.dropout=0.2"],
        ["norm=layer", "model.activation=gelu"],
        ["norm=batch_noisy", "model=cnn", "model.width=4", "model.num_stages=2"],
        ["norm=layer", "model=lstm", "model.width=4"],
    ],
)
def test_the_operations_are_those_that_torchs_own_tracer_records(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx  # noqa: PLC0415  (it imports torch's compiler)

    found: dict[str, list[Any]] = {}

    def compared(function: Callable[..., Any], *tensors: Tensor) -> GraphModule:
        for name, graph in (("theirs", make_fx(function)(*tensors)), ("ours", trace(function, *tensors))):
            found[name] = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        return graph

    monkeypatch.setattr(program, "_programs", {})
    monkeypatch.setattr(program, "trace", compared)
    together(compose([*words, "diagnostics=none"], *THREE))
    ours, theirs = ([name for name in names if not any(one in name for one in VIEWS)] for names in found.values())
    assert ours == theirs


def num_calls(graph: GraphModule) -> int:
    return sum(node.op.startswith("call_") for node in graph.graph.nodes)


def test_equal_operations_are_computed_once() -> None:
    graph = traced(lambda x: [(x * x).exp() + 1, (x * x).exp() + 2], torch.ones(3))
    (operations, before), x = (shorten(graph), 6), torch.randn(3)
    assert num_calls(graph) == before - 2
    assert [value.tolist() for value in operations(x)] == [(x * x).exp().add(n).tolist() for n in (1, 2)]


def test_a_tensor_that_changes_between_two_reads_is_read_twice() -> None:
    def read_change_read(x: Tensor) -> list[Tensor]:
        before = x.view(4) * 2
        x.view(2, 2).add_(1)
        return [before, x.view(4) * 2]

    operations = shorten(traced(read_change_read, torch.zeros(2, 2)))
    assert [value.tolist() for value in operations(torch.ones(2, 2))] == [[2] * 4, [4] * 4]


def test_tensors_that_are_changed_in_a_list_are_read_anew() -> None:
    def read_change_read(x: Tensor) -> list[Tensor]:
        before = x * 2
        torch._foreach_add_([x], 1.0)
        return [before, x * 2]

    operations = shorten(traced(read_change_read, torch.zeros(2)))
    assert [value.tolist() for value in operations(torch.ones(2))] == [[2] * 2, [4] * 2]


def test_a_constant_that_is_changed_starts_at_its_value_in_every_call() -> None:
    def count(x: Tensor) -> list[Tensor]:
        zeros = torch.zeros_like(x)
        zeros += x
        return [zeros]

    operations = shorten(traced(count, torch.ones(2)))
    assert [operations(torch.ones(2))[0].tolist() for _ in range(2)] == [[1, 1], [1, 1]]


def test_noise_is_drawn_as_often_as_before() -> None:
    graph = traced(lambda x: [torch.rand_like(x) + torch.rand_like(x)], torch.ones(1000))
    (drawn,) = shorten(graph)(torch.ones(1000))
    assert drawn.max() > 1.01
    assert (drawn / 2).var() < 1 / 12 * 0.6  # the mean of two has half the variance of one


def test_chained_reshapes_become_one_and_unchanging_ones_none() -> None:
    graph = traced(lambda x: [x.view(2, 6).unsqueeze(0).view(3, 4).exp(), x.view(4, 3).view(12).exp()], torch.ones(12))
    operations, x = shorten(graph), torch.arange(12.0)
    assert num_calls(graph) == 3
    reshaped, flat = operations(x)
    assert torch.equal(reshaped, x.view(3, 4).exp())
    assert torch.equal(flat, x.exp())
