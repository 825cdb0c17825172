import functools
import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from measured_runs import STEPS, write_measured_run

from bnlab.diagnostics.cards import Card
from bnlab.errors import RunError
from bnlab.report import style
from bnlab.report.network.axes import are_log_spaced
from bnlab.report.network.figures import OTHERS, draw, figures_of, kind_of, write_figures
from bnlab.report.network.heatmaps import step_edges
from bnlab.report.network.labels import LabeledRun, label_runs
from bnlab.report.network.lines import chosen_steps
from bnlab.report.network.read import read_measured_run
from bnlab.runfolder.folder import RunFolder

Drawn = Callable[..., Figure]
"""Function from names of diagnostics, and ``runs``, 1 or 2, to their figure."""

LAYERS = ("hidden1", "hidden2", "hidden3")
EVENLY = tuple(range(0, 101, 10))


def layered(*rows: Sequence[float], facets: Sequence[str] = ("",)) -> dict[str, list[float]]:
    keys = [f"{role}/{facet}".rstrip("/") for role in LAYERS for facet in facets]
    return {key: list(row) for key, row in zip(keys, rows, strict=False)}


SATURATION = layered([0.0, 0.1, 0.2, 0.3, 0.4], [0.5] * 5, [0.9, 0.9, 0.9, 0.9, math.nan])
GRADIENTS = layered([1e-4] * 5, [1e-2] * 5, [1.0, 2, 3, 4, 5])
FAN = {
    f"{role}/q{percent:02}": [place * k for k in range(1, 6)]
    for role in LAYERS
    for place, percent in ((-2, 2), (-1, 15), (0, 50), (1, 85), (3, 98))
}
COMPARISON = {
    f"network/{prefix}{how}": [0.1, 0.2, 0.3, 0.4, end]
    for prefix in ("", "train_")
    for how, end in (("running", 0.5), ("population", 0.6), ("batch", 0.9))
}
POINTS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "saturation": SATURATION,
    "preactivation_quantiles": FAN,
    "gradient_norm": GRADIENTS,
    "preactivation_drift": layered(*([k * 0.1 for k in range(1, 6)] for _ in range(6)), facets=("normalized", "raw")),
    "loss_range": {"network/fixed_step": [5, 4, 3, 2, 1], "network/lr_step": [1, 2, 3, 4, 5]},
    "accuracy_by_statistics": COMPARISON,
    "somebodys_own": layered([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [2] * 5),
    "still": layered([7] * 5),
}


def labeled_runs(folder: Path, **points_of: Mapping[str, Mapping[str, Sequence[float]]]) -> list[LabeledRun]:
    paths = [write_measured_run(folder / norm, points, norm=norm) for norm, points in points_of.items()]
    return label_runs([read_measured_run(RunFolder(path)) for path in paths])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> list[LabeledRun]:
    return labeled_runs(tmp_path_factory.mktemp("one"), batch=POINTS)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[LabeledRun]:
    halved = {name: {k: [v / 2 for v in vs] for k, vs in curves.items()} for name, curves in POINTS.items()}
    del halved["accuracy_by_statistics"]
    return labeled_runs(tmp_path_factory.mktemp("two"), batch=POINTS, none=halved)


@pytest.fixture(scope="module")
def figures(one: list[LabeledRun], two: list[LabeledRun]) -> Drawn:
    """Return a function that draws the figure of some diagnostics of one run or of two, once for all tests."""

    @functools.cache
    def drawn(*names: str, runs: int = 1) -> Figure:
        return draw(names, one if runs == 1 else two)

    return drawn


def test_what_is_measured_of_the_whole_network_alone_is_drawn_too(tmp_path: Path) -> None:
    points = {"sharpness": {"network": [1, 2, 3, 4, 5]}, "somebodys_own": {"network/first": [5, 4, 3, 2, 1]}}
    runs = labeled_runs(tmp_path, batch=points, none=points)
    for name in points:
        for shown in (runs[:1], runs):
            (axes,) = draw([name], shown).axes
            assert len(axes.lines) >= len(shown)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def curves(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_the_kind_of_figure_is_that_of_what_is_measured(one: list[LabeledRun]) -> None:
    kinds = {name: kind_of(measured) for name, measured in one[0].run.measured.items()}
    assert kinds == {
        "saturation": "heat map",
        "preactivation_quantiles": "fan",
        "gradient_norm": "depth",
        "preactivation_drift": "drift",
        "loss_range": "band",
        "accuracy_by_statistics": "statistics comparison",
        "somebodys_own": "lines",
        "still": "lines",
    }


def test_what_has_no_figure_of_its_own_or_never_moves_stands_together(one: list[LabeledRun]) -> None:
    figures = figures_of(one)
    assert list(figures) == [*(name for name in POINTS if name not in {"somebodys_own", "still"}), OTHERS]
    assert figures[OTHERS] == ["somebodys_own", "still"]


def test_every_figure_names_its_run_and_what_one_sees(figures: Drawn) -> None:
    for name in POINTS:
        found = texts(figures(name))
        assert "batch" in found
        assert any(text.startswith(name.replace("_", " ")) for text in found)
    assert "How much of a layer's output lies where the activation is flat" in " ".join(texts(figures("saturation")))


def test_a_heat_map_has_a_row_per_layer_and_a_column_per_step(figures: Drawn) -> None:
    figure = figures("saturation")
    axes, bar = figure.axes
    (mesh,) = [each for each in axes.collections if isinstance(each, QuadMesh)]
    values = np.asarray(np.ma.filled(mesh.get_array(), math.nan)).reshape(3, 5)
    np.testing.assert_array_equal(values, [SATURATION[role] for role in LAYERS])
    assert mesh.get_clim() == (0.0, 1.0)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(LAYERS)
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first layer on top
    assert bar.get_ylabel() == "share of activations"
    assert "step" in texts(figure)


def test_every_measured_step_lies_in_its_own_cell_and_no_cell_is_thin(figures: Drawn) -> None:
    axes = figures("saturation").axes[0]
    steps = np.array(STEPS, dtype=float)
    edges = step_edges(steps)
    assert all(low < step < high for low, step, high in zip(edges, steps, edges[1:], strict=False))
    places = axes.transAxes.inverted().transform(axes.transData.transform([(edge, 0) for edge in edges]))[:, 0]
    assert np.diff(places).min() > 0.05
    assert (places[0], places[-1]) == (pytest.approx(0), pytest.approx(1))


def test_a_map_of_next_to_nothing_does_not_look_like_much(tmp_path: Path) -> None:
    (shown,) = labeled_runs(tmp_path, batch={"d": layered([0, 0, 0, 0, 0.004], [0.0] * 5)})
    for healthy, top in (({}, 0.1), ({"any": (0.0, 0.3)}, 0.5), ({"relu": (0.0, 0.3)}, 0.1)):
        card = Card("d", "", unit="share of units", healthy=healthy)
        run = replace(shown.run, measured={"d": replace(shown.run.measured["d"], card=card)})
        (mesh,) = draw(["d"], [replace(shown, run=run)]).axes[0].collections
        assert mesh.get_clim() == (0.0, top)


def test_steps_that_are_evenly_spaced_are_drawn_so() -> None:
    assert are_log_spaced(np.array(STEPS, dtype=float))
    assert not are_log_spaced(np.array(EVENLY, dtype=float))
    np.testing.assert_allclose(step_edges(np.array([0.0, 10, 20, 30, 40])), [-5, 5, 15, 25, 35, 45])
    few = chosen_steps(np.arange(0, 1000, 10.0))
    assert (few[0], few[-1], len(few)) == (0, 990, 12)


def test_a_fan_spans_the_quantiles_of_each_layer(figures: Drawn) -> None:
    figure = figures("preactivation_quantiles")
    assert titles(figure) == list(LAYERS)
    outer, inner = [each for each in figure.axes[1].collections if isinstance(each, PolyCollection)]
    for band, low, high in ((outer, -2, 3), (inner, -1, 1)):
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (5 * low, 5 * high)
    (median,) = figure.axes[1].lines
    np.testing.assert_array_equal(median.get_ydata(), [0] * 5)
    assert any("2 to 98% and 15 to 85%" in text and "Line: the median" in text for text in texts(figure))
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_fans_of_very_unlike_layers_have_axes_of_their_own(tmp_path: Path) -> None:
    points = {"q": {f"hidden{k}/q{p}": [10.0 ** (3 * k) * s] * 5 for k in (1, 2) for p, s in ((15, -1), (85, 1))}}
    figure = draw(["q"], labeled_runs(tmp_path, batch=points))
    assert len({axes.get_ylim() for axes in figure.axes}) == 2


def test_over_depth_there_is_a_line_per_step_from_light_to_dark(figures: Drawn) -> None:
    axes, bar = figures("gradient_norm").axes
    lines = curves(axes)
    assert list(lines) == [f"step {step:,}" for step in STEPS]
    np.testing.assert_array_equal(lines["step 1,000"].get_ydata(), [1e-4, 1e-2, 5])
    light = [sum(mpl.colors.to_rgb(line.get_color())) for line in lines.values()]
    assert all(after < before for before, after in itertools.pairwise(light))
    assert [label.get_text() for label in axes.get_xticklabels()] == list(LAYERS)
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "loss per unit of weight"
    assert bar.get_ylabel() == "step"


def test_drift_has_a_panel_per_facet_and_a_line_per_layer(figures: Drawn) -> None:
    figure = figures("preactivation_drift")
    assert titles(figure) == ["normalized", "raw"]
    for axes in figure.axes:
        assert list(curves(axes)) == list(LAYERS)
    assert texts(figure).count("step") == 1
    np.testing.assert_allclose(curves(figure.axes[0])["hidden2"].get_ydata(), [0.1, 0.2, 0.3, 0.4, 0.5])
    assert len({to_hex(line.get_color()) for line in curves(figure.axes[0]).values()}) == 3


def test_the_band_of_a_landscape_reaches_from_zero_to_its_width(figures: Drawn) -> None:
    figure = figures("loss_range")
    assert titles(figure) == ["fixed step", "lr step"]
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 5)
    np.testing.assert_array_equal(curves(figure.axes[1])["batch"].get_ydata(), [1, 2, 3, 4, 5])


def test_a_band_with_two_ends_reaches_from_one_to_the_other(tmp_path: Path) -> None:
    points = {"loss_range": {"network/fixed_step_low": [1, 1, 1, 1, 1], "network/fixed_step_high": [2, 3, 4, 5, 6]}}
    figure = draw(["loss_range"], labeled_runs(tmp_path, batch=points))
    assert titles(figure) == ["fixed step"]
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (1, 6)


def test_a_statistics_comparison_fills_the_gap_between_running_and_batch_statistics(
    figures: Drawn,
) -> None:
    figure = figures("accuracy_by_statistics")
    assert titles(figure) == ["held-out images", "training images"]
    for axes in figure.axes:
        lines = curves(axes)
        assert {name: line.get_ydata()[-1] for name, line in lines.items()} == {
            "running": 0.5,
            "population": 0.6,
            "batch": 0.9,
        }
        (gap,) = axes.collections
        edge = gap.get_paths()[0].vertices
        assert set(edge[edge[:, 0] == STEPS[-1], 1]) == {0.5, 0.9}
    (legend,) = figure.findobj(Legend)
    named = [text.get_text() for text in legend.get_texts()]
    assert "running statistics, as in eval mode" in named


def test_an_unknown_diagnostic_has_a_line_per_layer(figures: Drawn) -> None:
    (axes,) = figures("somebodys_own").axes
    assert {name: list(line.get_ydata()) for name, line in curves(axes).items()} == dict(POINTS["somebodys_own"])


def test_what_is_not_a_number_has_a_color_of_its_own_and_is_told(figures: Drawn, tmp_path: Path) -> None:
    assert any("Orange: not a number" in text for text in texts(figures("saturation")))
    whole = {"saturation": layered([0.0, 0.1, 0.2, 0.3, 0.4], [0.5] * 5)}
    assert not any("Orange" in text for text in texts(draw(["saturation"], labeled_runs(tmp_path / "2", batch=whole))))


@pytest.mark.slow
def test_nothing_but_nan_can_be_drawn(tmp_path: Path) -> None:
    odd = {name: {key: [math.nan] * 5 for key in points} for name, points in POINTS.items()}
    (shown,) = labeled_runs(tmp_path, batch=odd)
    for name in odd:
        draw([name], [shown]).canvas.draw()


@pytest.mark.slow_but(2)
@pytest.mark.parametrize("name", POINTS)
def test_one_step_alone_can_be_drawn(tmp_path: Path, name: str) -> None:
    first = {key: values[:1] for key, values in POINTS[name].items()}
    folder = write_measured_run(tmp_path / "run", {name: first}, steps=[0])
    draw([name], label_runs([read_measured_run(RunFolder(folder))])).canvas.draw()


def test_several_runs_have_a_panel_each_with_the_same_axes_or_a_color_each(
    figures: Drawn, two: list[LabeledRun]
) -> None:
    maps = figures("saturation", runs=2).axes
    assert [axes.get_title(loc="left") for axes in maps[:2]] == ["batch", "none"]
    assert {axes.collections[0].get_clim() for axes in maps[:2]} == {(0.0, 1.0)}
    depth = figures("gradient_norm", runs=2).axes
    assert depth[0].get_ylim() == depth[1].get_ylim()
    fans = figures("preactivation_quantiles", runs=2)
    assert titles(fans) == ["batch: hidden1", "hidden2", "hidden3", "none: hidden1", "hidden2", "hidden3"]
    assert len({axes.get_ylim() for axes in fans.axes}) == 1
    drift = figures("preactivation_drift", runs=2)
    assert titles(drift) == [f"{role}: {facet}" for facet in ("normalized", "raw") for role in LAYERS]
    colors = [{name: to_hex(line.get_color()) for name, line in curves(axes).items()} for axes in drift.axes]
    assert all(found == {each.label: to_hex(each.color) for each in two} for found in colors)


def test_a_run_that_lacks_a_diagnostic_is_left_out_of_its_figure(figures: Drawn) -> None:
    assert titles(figures("accuracy_by_statistics", runs=2)) == ["held-out images", "training images"]


def test_runs_are_called_by_what_tells_them_apart_and_the_rest_is_said_once(
    figures: Drawn, two: list[LabeledRun]
) -> None:
    assert [each.label for each in two] == ["batch", "none"]
    assert "mlp sigmoid digits lr=0.1 seed=0" in texts(figures("saturation", runs=2))


def test_runs_that_differ_in_nothing_are_called_by_their_names(tmp_path: Path) -> None:
    runs = [read_measured_run(RunFolder(write_measured_run(tmp_path / name, POINTS))) for name in ("one", "other")]
    assert [each.label for each in label_runs(runs)] == ["one", "other"]


def test_the_others_have_a_panel_each(figures: Drawn) -> None:
    figure = figures("somebodys_own", "still")
    assert titles(figure) == ["somebodys own", "still"]
    assert set(curves(figure.axes[0])) == set(LAYERS)
    assert len(curves(figures("somebodys_own", "still", runs=2).axes[0])) == 3
    assert len(figures("somebodys_own", "still", runs=2).axes[0].lines) == 6


def visible_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return each text that a reader sees, and its place."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    ticks = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()}
    return [(text.get_text(), text.get_window_extent()) for text in found if id(text) not in ticks]


def assert_no_overlap(figure: Figure) -> None:
    boxes = visible_boxes(figure)
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0, text
        assert box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0, text
        assert box.y1 <= figure.bbox.y1, text


@pytest.mark.slow_but(4)
@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("names", [*([name] for name in POINTS), ["somebodys_own", "still"]])
def test_no_two_texts_of_a_figure_overlap(figures: Drawn, names: list[str], runs: int) -> None:
    assert_no_overlap(figures(*names, runs=runs))


@pytest.mark.parametrize("names", [["somebodys_own"], pytest.param(None, marks=pytest.mark.slow)])
def test_figures_are_written_as_svg_with_text_and_as_png_and_the_same_runs_give_the_same_bytes(
    one: list[LabeledRun], tmp_path: Path, names: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if names is None:
        monkeypatch.setattr(style, "DPI", 20)
    before = dict(mpl.rcParams)
    first, again = (
        dict(write_figures(one, lambda name, kind, place=place: tmp_path / place / f"{name}.{kind}", names))  # type: ignore[misc]
        for place in ("first", "again")
    )
    assert list(first) == (names or list(figures_of(one)))
    for name, (svg, png) in first.items():
        assert [svg.read_bytes(), png.read_bytes()] == [path.read_bytes() for path in again[name]]
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "batch" in {(element.text or "").strip() for element in ET.parse(svg).iter()}
    assert dict(mpl.rcParams) == before


def test_a_place_that_cannot_be_written_to_is_named(one: list[LabeledRun], tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with pytest.raises(RunError, match=r"saturation\.svg cannot be written"):
        list(write_figures(one, lambda name, kind: tmp_path / "blocked" / f"{name}.{kind}"))
