import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from folded import folded
from torch import nn

from bnlab.errors import ConfigError
from bnlab.lessons.example import example_gradient, example_input
from bnlab.lessons.explanation import Explanation, explain, parse_shape
from bnlab.norms.names import NORMS

EPS = 1e-5
SHAPES = [None, (8, 8), (8, 8, 2, 2), (8, 4, 5), (64, 16, 3, 3)]
CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("batch", {}, (4, 3)),
    ("batch", {}, (5, 3, 4, 2)),
    ("batch", {"eps": 0.1}, (4, 3)),
    ("batch", {"affine": False}, (6, 2)),
    ("batch_torch", {}, (4, 3, 5)),
    ("layer", {}, (4, 3)),
    ("layer", {}, (4, 3, 2, 2)),
    ("group", {"num_groups": 2}, (2, 4, 3, 3)),
    ("group", {"num_groups": 4}, (2, 12)),
    ("instance", {}, (2, 3, 4, 4)),
    ("rms", {}, (4, 3)),
    ("rms", {}, (2, 6, 3, 3)),
]
NEED_SPACE = {"instance", "instance_torch", "frn"}
IDS = [f"{name}-{'x'.join(map(str, shape))}-{len(options)}" for name, options, shape in CASES]


def oracle(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The first block's numbers from the formulas of the papers, in float64 NumPy."""
    x, g = example_input(shape).numpy(), example_gradient(shape).numpy()
    channels = shape[1]
    block = {
        "batch": (slice(None), slice(1)),
        "layer": (slice(1), slice(None)),
        "rms": (slice(1), slice(None)),
        "instance": (slice(1), slice(1)),
        "group": (slice(1), slice(channels // options.get("num_groups", 1))),
    }[name.removesuffix("_torch")]
    ones = np.ones((1, channels, *(1 for _ in shape[2:])))
    affine = options.get("affine", True)
    weight = np.array([2.0, 1.0, 0.5])[np.arange(channels) % 3] if affine else np.ones(channels)
    bias = np.array([-1.0, 0.0, 1.0])[np.arange(channels) % 3] if affine and name != "rms" else np.zeros(channels)
    weight = np.broadcast_to(weight.reshape(ones.shape), shape)[block].ravel()
    bias = np.broadcast_to(bias.reshape(ones.shape), shape)[block].ravel()
    x, g = x[block].ravel(), g[block].ravel()
    eps = options.get("eps", EPS)
    mean = 0.0 if name == "rms" else x.mean()
    spread = ((x - mean) ** 2).mean()
    r = 1 / np.sqrt(spread + eps)
    xhat = (x - mean) * r
    h = weight * g
    terms = [r * h, *([] if name == "rms" else [np.full_like(h, -r * h.mean())]), -r * xhat * (h * xhat).mean()]
    return {"x": x, "xhat": xhat, "y": weight * xhat + bias, "g": g, "h": h, "terms": np.stack(terms, 1)}


def column(lesson: Explanation, name: str) -> np.ndarray:
    return np.array([getattr(value, name) for value in lesson.example.values])


def shown(lesson: Explanation) -> list[int]:
    count = min(lesson.example.num_values, 8)
    return [i * (lesson.example.num_values - 1) // max(count - 1, 1) for i in range(count)]


@pytest.mark.parametrize(("name", "options", "shape"), CASES, ids=IDS)
def test_every_number_of_the_example_is_the_papers(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    lesson = explain(name, shape, options)
    expected = oracle(name, options, shape)
    assert lesson.example.num_values == len(expected["x"])
    for key, values in expected.items():
        np.testing.assert_allclose(column(lesson, key), values[shown(lesson)], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(column(lesson, "dx"), expected["terms"].sum(1)[shown(lesson)], rtol=1e-9, atol=1e-11)
    story = lesson.example.story
    assert story is not None
    assert max(story.forward_gap, story.backward_gap) < 1e-11
    assert [term.name for term in story.terms] == (
        ["itself", "scale"] if name == "rms" else ["itself", "mean", "spread"]
    )
    dx = expected["terms"].sum(1)
    shares = np.linalg.norm(expected["terms"], axis=0) / np.linalg.norm(dx)
    np.testing.assert_allclose([term.share for term in story.terms], shares, rtol=1e-9)
    np.testing.assert_allclose(story.sum_dx, dx.sum(), atol=1e-11)
    np.testing.assert_allclose(story.sum_dx_xhat, (dx * expected["xhat"]).sum(), atol=1e-11)


@pytest.mark.parametrize("shape", [(4, 3), (5, 4), (3, 2, 6), (4, 8, 4, 4), (2, 3, 2, 2, 2)])
def test_forward_backward_and_running_statistics_are_those_of_torchs_layer(shape: tuple[int, ...]) -> None:
    lesson = explain("batch", shape)
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    layer = kinds[len(shape)](shape[1], momentum=0.1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 1.0, 0.5]).repeat(shape[1])[: shape[1]])
        layer.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]).repeat(shape[1])[: shape[1]])
    x = example_input(shape).requires_grad_()
    y = layer(x)
    y.backward(example_gradient(shape))
    y = y.detach()
    assert x.grad is not None
    for value in lesson.example.values:
        assert value.y == pytest.approx(float(y[value.place]), rel=1e-9, abs=1e-11)
        assert value.dx == pytest.approx(float(x.grad[value.place]), rel=1e-9, abs=1e-11)
    running = {statistic.name: statistic for statistic in lesson.modes.running}
    assert layer.running_mean is not None
    assert running["running_mean"].after == pytest.approx(float(layer.running_mean[0]), rel=1e-12)
    torchs = {statistic.name: statistic for statistic in explain("batch_torch", shape).modes.running}
    assert layer.running_var is not None
    assert torchs["running_var"].after == pytest.approx(float(layer.running_var[0]), rel=1e-12)
    first = (0,) * len(shape)
    assert explain("batch_torch", shape).modes.y_eval == pytest.approx(
        float(layer.eval()(x.detach())[first].detach()), rel=1e-9
    )


@pytest.mark.parametrize(
    ("options", "variance", "kept"),
    [({}, 9.0, 0.9), ({"unbiased_running_var": True}, 12.0, 0.9), ({"momentum": 0.5}, 9.0, 0.5)],
)
def test_what_the_running_variance_averages_is_found_out(options: dict[str, Any], variance: float, kept: float) -> None:
    mean, var = explain("batch", (4, 3), options).modes.running
    assert (mean.name, mean.before, mean.what, mean.kept) == ("running_mean", 0.0, "mean", kept)
    assert mean.after == pytest.approx((1 - kept) * 4)
    assert (var.before, var.kept) == (1.0, kept)
    assert var.batch == pytest.approx(variance)
    assert var.what == ("biased variance" if variance == 9 else "unbiased variance")
    assert var.after == pytest.approx(kept + (1 - kept) * variance)


def test_a_plain_average_keeps_nothing_of_its_start_and_a_momentum_of_1_moves_nothing() -> None:
    assert [found.kept for found in explain("batch", (4, 3), {"momentum": None}).modes.running] == [0.0, 0.0]
    assert explain("batch", (4, 3), {"momentum": 1.0}).modes.running == ()
    assert explain("batch", (4, 3), {"track_running_stats": False}).modes.running == ()


def test_eval_mode_goes_by_the_running_statistics_after_one_step() -> None:
    modes = explain("batch", (4, 3)).modes
    x = example_input((4, 3)).numpy()
    weight, bias = np.array([2.0, 1.0, 0.5]), np.array([-1.0, 0.0, 1.0])
    trained = weight * (x - x.mean(0)) / np.sqrt(x.var(0) + EPS) + bias
    mean, var = 0.1 * x.mean(0), 0.9 + 0.1 * x.var(0)
    evaluated = weight * (x - mean) / np.sqrt(var + EPS) + bias
    assert modes.y_train == pytest.approx(trained[0, 0])
    assert modes.y_eval == pytest.approx(evaluated[0, 0])
    assert modes.gap == pytest.approx(np.abs(trained - evaluated).max())
    assert modes.left == pytest.approx(0.9**50)


def test_gamma_and_beta_that_undo_the_norm_do_so_forward_and_on_this_batch_only() -> None:
    disguise = explain("batch", (4, 3)).modes.disguise
    assert disguise is not None
    x, g = example_input((4, 3)).numpy(), example_gradient((4, 3)).numpy()
    std = np.sqrt(x.var(0) + EPS)
    assert (disguise.weight, disguise.bias) == (pytest.approx(std[0]), pytest.approx(4.0))
    assert disguise.batch_gap < 1e-12
    doubled = std * (2 * x - 2 * x.mean(0)) / np.sqrt(4 * x.var(0) + EPS) + x.mean(0)
    assert disguise.doubled_gap == pytest.approx(np.abs(doubled - 2 * x).max())
    xhat = (x - x.mean(0)) / std
    dx = g - g.mean(0) - xhat * (g * xhat).mean(0)
    assert disguise.gradient_gap == pytest.approx(np.abs(dx - g).max())


@pytest.mark.parametrize(("name", "options"), [("layer", {}), ("batch", {"bias": False}), ("rms", {})])
def test_nothing_is_said_of_undoing_where_scale_and_shift_cannot(name: str, options: dict[str, Any]) -> None:
    assert explain(name, (4, 3), options).modes.disguise is None


def test_one_sample_alone_is_refused_on_vectors_and_differs_on_images() -> None:
    vectors = explain("batch", (4, 3)).modes.alone
    assert (vectors.num_values, vectors.gap) == (1, None)
    assert vectors.refusal is not None
    assert "more than one value per channel" in vectors.refusal
    images = explain("batch", (4, 3, 2, 2)).modes.alone
    assert images.num_values == 4
    assert images.refusal is None
    x = example_input((4, 3, 2, 2)).numpy()
    weight, bias = (np.array(v).reshape(1, 3, 1, 1) for v in ([2.0, 1.0, 0.5], [-1.0, 0.0, 1.0]))

    def normalized(x: np.ndarray) -> np.ndarray:
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        return np.asarray(weight * (x - mean) / np.sqrt(var + EPS) + bias)

    assert images.gap == pytest.approx(np.abs(normalized(x[:1]) - normalized(x)[:1]).max())
    assert explain("layer", (4, 3)).modes.alone.gap == pytest.approx(0, abs=1e-12)


@pytest.mark.slow_but(6)
@pytest.mark.parametrize("name", NORMS)
def test_every_norm_of_the_catalog_is_explained(name: str) -> None:
    shapes = [shape for shape in SHAPES if name not in NEED_SPACE or shape is None or len(shape) > 2]
    for shape in shapes:
        lesson = explain(name, shape)
        json.dumps(lesson.as_dict(), allow_nan=False)
        story = lesson.example.story
        if story is not None:
            assert max(story.forward_gap, story.backward_gap) < 1e-9, shape
            assert not any(term.stopped for term in story.terms), shape
    assert lesson.words.summary.endswith(".")
    assert {"Axes", "Fails"} & set(lesson.words.sections)


@pytest.mark.parametrize(
    ("name", "story"),
    [
        ("batch_center_only", "center"),
        ("batch_scale_only", "scale"),
        ("batch_bias_only", "standardize"),
        ("batch_renorm", "standardize"),
        ("ghost", "standardize"),
        ("l1_batch", "absolute_deviation"),
        ("frn", "root_mean_square"),
        ("batch_noisy", None),
        ("derf", None),
        ("dyt", None),
        ("none", None),
    ],
)
def test_relatives_are_recognized_by_what_they_compute(name: str, story: str | None) -> None:
    found = explain(name).example.story
    assert (None if found is None else found.name) == story


def test_a_threshold_behind_the_norm_is_found_and_its_gradient_is_right() -> None:
    lesson = explain("frn", (2, 3, 3, 3))
    story = lesson.example.story
    assert story is not None
    assert story.floor == 0.0
    assert any(value.y == 0 and value.h == 0 and value.g != 0 for value in lesson.example.values)


def test_noise_is_told_as_such() -> None:
    assert explain("batch_noisy", (4, 3)).modes.random
    assert not explain("batch", (4, 3)).modes.random


def test_detached_statistics_are_named() -> None:
    for name, stopped in (("MeanDetached", {"mean"}), ("BothDetached", {"mean", "spread"})):
        story = explain(f"lesson_layers:{name}", (4, 3)).example.story
        assert story is not None
        assert {term.name for term in story.terms if term.stopped} == stopped
        assert story.backward_gap < 1e-12


def test_a_formula_that_is_nobodys_is_not_mistaken_for_a_known_one() -> None:
    lesson = explain("lesson_layers:UnbiasedOutput", (4, 3))
    assert lesson.example.story is None
    x = torch.tensor([1.0, 9.0, 3.0, 3.0], dtype=torch.float64, requires_grad=True)
    y = (x - x.mean()) / (x.var() + EPS).sqrt()
    (dx,) = torch.autograd.grad(y, x, torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(column(lesson, "y"), y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(column(lesson, "dx"), dx.numpy(), rtol=1e-9)


def test_a_variance_of_1_does_not_hide_that_nothing_is_divided_by() -> None:
    lesson = explain("batch_center_only", (2, 8))
    np.testing.assert_allclose(column(lesson, "x").var(), 1.0)
    assert lesson.example.story is not None
    assert lesson.example.story.name == "center"


def test_torchs_own_classes_are_explained_from_outside() -> None:
    lesson = explain("torch.nn:BatchNorm2d")
    assert lesson.shape == (2, 8, 2, 2)
    assert lesson.example.story is not None
    assert [found.kept for found in lesson.modes.running] == [pytest.approx(0.9)] * 2
    assert explain("torch.nn:RMSNorm").example.story is not None


def test_a_layer_without_gradient_has_a_gradient_of_zero() -> None:
    assert not column(explain("lesson_layers:WithoutGradient", (4, 3)), "dx").any()


def test_a_layer_that_writes_over_its_input_is_explained_all_the_same() -> None:
    lesson = explain("lesson_layers:InPlace", (4, 3))
    assert lesson.example.story is not None
    assert lesson.example.story.name == "center"
    np.testing.assert_array_equal(column(lesson, "x"), [1, 9, 3, 3])


def test_a_way_that_is_felt_in_one_direction_only_is_no_detached_statistic() -> None:
    assert explain("lesson_layers:Whitening", (6, 3)).sharing.through_gradient


@pytest.mark.parametrize(
    ("name", "said"),
    [("NotFinite", "gives NaN or infinity"), ("Refusing", "cannot be built for 3 channels: ValueError: not with 3")],
)
def test_a_layer_that_cannot_be_explained_is_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        explain(f"lesson_layers:{name}", (4, 3))


def test_the_small_batch_has_the_statistics_that_its_comment_names() -> None:
    x = example_input((4, 3)).numpy()
    np.testing.assert_allclose(x.mean(0), [4, 20, 0.4])
    np.testing.assert_allclose(x.std(0), [3, 30, 0.3])


def test_a_small_batch_is_shown_whole_before_and_after() -> None:
    lesson = explain("batch")
    x = example_input((4, 3)).numpy()
    np.testing.assert_array_equal(lesson.small, x)
    np.testing.assert_allclose(lesson.small_output, (x - x.mean(0)) / np.sqrt(x.var(0) + EPS), rtol=1e-12)
    assert explain("batch", (4, 8)).small is None


@folded("text", ["4", "", "4,x", "4,-3", "0,3", "4,,3", "4x3", "1,2,3,4,5,6", "4.0,3", "٤,3"])
def test_a_shape_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shape takes 2 to 5 whole numbers above 0.*Examples: --shape 4,3"):
        parse_shape(text)


def test_a_shape_may_have_spaces() -> None:
    assert parse_shape(" 4, 8 ,4,4") == (4, 8, 4, 4)


def test_a_shape_that_is_too_large_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="at most 2,097,152 values"):
        explain("batch", (4096, 4096, 64, 64))


def test_what_no_shape_helps_is_said_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^norm\.eps must be a number above 0"):
        explain("batch", None, {"eps": 0.0})
    with pytest.raises(ConfigError, match=r"needs a --shape of its own; at --shape 4,3 it says: 3 group"):
        explain("group", None, {"num_groups": 3})


def test_an_example_of_large_numbers_is_exact_too() -> None:
    lesson = explain("batch", (64, 64, 4, 4))
    story = lesson.example.story
    assert story is not None
    assert lesson.example.num_values == 1024
    assert math.isclose(story.statistics["r"], 1 / math.sqrt(story.statistics["var"] + story.eps))
    assert story.backward_gap < 1e-12
