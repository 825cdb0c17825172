import copy
from typing import Any

import pytest
import torch

from bnlab.errors import ConfigError
from bnlab.lessons.sharing import Sharing, find_sharing, run_layer, samples_of, spread
from bnlab.norms.catalog import build_norm
from bnlab.norms.names import NORMS

SPANS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...], int]] = {
    "batch": ({}, (4, 8, 3, 2), (4, 1, 3, 2), 8),
    "batch_torch": ({}, (4, 8, 3), (4, 1, 3), 8),
    "layer": ({}, (4, 8, 3, 2), (1, 8, 3, 2), 4),
    "instance": ({}, (4, 8, 3, 2), (1, 1, 3, 2), 32),
    "group": ({"num_groups": 2}, (4, 8, 3, 2), (1, 4, 3, 2), 8),
    "rms": ({}, (4, 8), (1, 8), 4),
    "ghost": ({"ghost_size": 2}, (6, 5, 2), (2, 1, 2), 15),
    "frn": ({}, (4, 3, 2, 2), (1, 1, 2, 2), 12),
}


def shared(name: str, shape: tuple[int, ...], **options: Any) -> Sharing:
    return find_sharing(build_norm(name, shape[1], **options).double(), shape)


@pytest.mark.parametrize("name", SPANS)
def test_the_span_of_a_statistic_is_found_out(name: str) -> None:
    options, shape, spans, num_statistics = SPANS[name]
    sharing = shared(name, shape, **options)
    assert tuple(axis.shared for axis in sharing.axes) == spans
    assert sharing.num_statistics == num_statistics
    assert sharing.num_values == torch.Size(spans).numel()
    assert sharing.partition
    assert sharing.through_gradient


def test_axes_have_their_letters() -> None:
    assert [axis.letter for axis in shared("batch", (2, 3, 2, 2)).axes] == ["N", "C", "H", "W"]
    assert [axis.letter for axis in shared("batch", (2, 3, 2)).axes] == ["N", "C", "L"]


@pytest.mark.parametrize("name", ["none", "dyt", "batch_population", "scaled_weight_standardization"])
def test_where_no_statistic_of_the_batch_enters_an_output_stands_alone(name: str) -> None:
    sharing = shared(name, (4, 3))
    assert not sharing.has_statistics
    assert sharing.num_statistics == 0
    assert {cell for row in sharing.cells for cell in row} == {-1}


def test_sets_that_cross_are_no_partition_and_the_first_outputs_reach_is_marked() -> None:
    sharing = shared("switchable", (3, 4))
    assert not sharing.partition
    assert sharing.num_values == 3 + 4 - 1
    assert sharing.cells == ((0, 0, 0, 0), (0, -1, -1, -1), (0, -1, -1, -1))


def test_sets_that_overlap_are_no_partition() -> None:
    assert not shared("lesson_layers:Window", (5, 2)).partition


def test_ghosts_of_unequal_size_are_all_found() -> None:
    sharing = shared("ghost", (8, 2, 2), ghost_size=3)
    sizes = [sum(row[0] == number for row in sharing.cells) for number in {row[0] for row in sharing.cells}]
    assert sorted(sizes) == [2, 3, 3]
    assert sharing.axes[0].num_sets == 3


def test_a_statistic_per_position_is_seen() -> None:
    sharing = shared("lesson_layers:PositionNorm", (2, 4, 3, 3))
    assert [axis.shared for axis in sharing.axes] == [1, 4, 1, 1]
    assert sharing.num_statistics == 18
    assert sharing.cells_split


def test_a_detached_statistic_is_found_by_the_outputs_that_move() -> None:
    sharing = shared("lesson_layers:BothDetached", (4, 3))
    assert [axis.shared for axis in sharing.axes] == [4, 1]
    assert not sharing.through_gradient


def test_a_layer_without_gradient_is_found_out_too() -> None:
    sharing = shared("lesson_layers:WithoutGradient", (4, 3))
    assert [axis.shared for axis in sharing.axes] == [4, 1]
    assert not sharing.through_gradient


@pytest.mark.parametrize("name", NORMS)
def test_cells_with_one_number_share_and_others_do_not(name: str) -> None:
    """Change one value: exactly the outputs of its cells change. Independent of the code that finds the cells."""
    shape = (4, 8, 2, 2)
    layer = build_norm(name, 8).double()
    sharing = find_sharing(layer, shape)
    if not (sharing.partition and sharing.has_statistics):
        pytest.skip("no sets of values that share a statistic")
    numbers = torch.Generator().manual_seed(5)
    x = torch.rand(shape, generator=numbers, dtype=torch.float64) + 0.5
    for n, c in ((0, 0), (3, 5), (1, 7)):
        nudged = x.clone()
        nudged[n, c, 1, 0] += 0.25
        with torch.no_grad():
            moved = run_layer(copy.deepcopy(layer), x) != run_layer(copy.deepcopy(layer), nudged)
        expected = torch.tensor([[cell == sharing.cells[n][c] for cell in row] for row in sharing.cells])
        assert torch.equal(moved.flatten(2).any(2), expected)


def test_the_layer_and_the_callers_random_numbers_are_left_alone() -> None:
    layer = build_norm("batch_noisy", 3).double().eval()
    before = copy.deepcopy(layer.state_dict())
    torch.manual_seed(7)
    find_sharing(layer, (4, 3))
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in before.items())
    assert not layer.training


@pytest.mark.parametrize("size", [1, 3, 8, 9, 64, 100])
def test_what_is_shown_of_an_axis_is_increasing_and_begins_at_0(size: int) -> None:
    for chosen in (spread(size, 8), samples_of(size, 8)):
        assert len(chosen) == min(size, 8)
        assert chosen[0] == 0
        assert list(chosen) == sorted(set(chosen))
        assert chosen[-1] < size
    assert samples_of(size, 8)[-1] == size - 1


def test_a_layer_that_fails_is_named_with_its_first_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^Failing cannot take a float64 input of shape \(4, 3\): five\. Try another"
    ):
        shared("lesson_layers:Failing", (4, 3))


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"its input's shape \(4, 3\), got \(4, 1\)"):
        shared("lesson_layers:Narrowing", (4, 3))


@pytest.mark.parametrize(("layer", "shape", "num_tied"), [("HalfBatchHalfLayer", (4, 8), 4), ("RmsOfTwo", (3, 8), 8)])
def test_channels_that_are_normalized_in_two_ways_are_no_partition(
    layer: str, shape: tuple[int, ...], num_tied: int
) -> None:
    sharing = shared(f"lesson_layers:{layer}", shape)
    assert not sharing.partition
    assert sharing.num_values == num_tied
    assert sharing.num_statistics == 0
