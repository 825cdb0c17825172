import itertools
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from written_runs import write_runs

from bnlab.errors import RunError
from bnlab.report.lr_sensitivity.figure import draw_sensitivity, write_figures
from bnlab.report.lr_sensitivity.summary import read_sensitivity


def outcome(norm: str, lr: float, seed: int) -> dict[str, Any]:
    if norm == "none" and lr >= 1:
        return {"status": "diverged"}
    return {"loss": 0.1 * (1 + seed) * (1 if norm == "batch" else 2), "accuracy": 0.9 - 0.1 * seed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "sweep", outcome)


def test_the_figure_is_written_as_svg_with_text_and_as_png(folder: Path) -> None:
    svg, png = write_figures(read_sensitivity(folder), folder)
    assert (svg.name, png.name) == ("lr-sensitivity.svg", "lr-sensitivity.png")
    texts = {text for element in ET.parse(svg).iter() if (text := (element.text or "").strip())}
    assert {"batch", "none", "diverged", "learning rate", "Learning-rate sensitivity"} <= texts
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    found = read_sensitivity(folder)
    for first, second in zip(write_figures(found, folder), write_figures(found, tmp_path / "again"), strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_drawing_changes_no_global_setting(folder: Path) -> None:
    before = dict(mpl.rcParams)
    write_figures(read_sensitivity(folder), folder)
    assert dict(mpl.rcParams) == before


def test_lines_are_means_and_bands_reach_from_the_worst_to_the_best_seed(folder: Path) -> None:
    loss, accuracy = draw_sensitivity(read_sensitivity(folder)).axes
    lines = {str(line.get_label()): line for line in loss.lines if not str(line.get_label()).startswith("_")}
    np.testing.assert_allclose(lines["batch"].get_ydata(), [0.2] * 4)
    np.testing.assert_allclose(lines["none"].get_ydata(), [0.4, 0.4, 2.3, 2.3])
    (band, *_) = [c for c in accuracy.collections if not isinstance(c, PathCollection)]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (pytest.approx(0.7), pytest.approx(0.9))


@pytest.mark.slow
def test_a_cross_marks_the_outcome_of_each_run_that_diverged(folder: Path) -> None:
    for axes, height in zip(draw_sensitivity(read_sensitivity(folder)).axes, (2.3, 0.1), strict=True):
        (crosses,) = [c for c in axes.collections if isinstance(c, PathCollection)]
        places = np.asarray(crosses.get_offsets())
        assert len(places) == 6  # two learning rates, three seeds
        np.testing.assert_allclose(places[:, 1], height)
        assert set(np.round(np.log10(places[:, 0]))) == {0.0, 1.0}  # beside their learning rate, not at the next


@pytest.mark.slow
def test_the_grid_ends_inside_the_axes(folder: Path) -> None:
    for axes in draw_sensitivity(read_sensitivity(folder)).axes:
        low, high = axes.get_xlim()
        assert low < 0.01 / 1.5
        assert high > 10 * 1.5


def test_colors_tell_the_norms_and_dashes_the_rest(tmp_path: Path) -> None:
    def config(word: str) -> dict[str, Any]:
        norm, _, activation = word.partition("_")
        return {"norm": {"name": norm}, "model": {"name": "mlp", "activation": activation}}

    norms = ("batch_relu", "none_relu", "batch_tanh", "none_tanh")
    found = read_sensitivity(write_runs(tmp_path, lambda *_: {}, norms=norms, config=config))
    lines = [line for line in draw_sensitivity(found).axes[0].lines if not str(line.get_label()).startswith("_")]
    styles = {str(line.get_label()): (to_hex(line.get_color()), line.get_linestyle()) for line in lines}
    assert len(set(styles.values())) == 4
    assert styles["batch activation=relu"][0] == styles["batch activation=tanh"][0]
    assert styles["batch activation=relu"][1] == styles["none activation=relu"][1]


@pytest.mark.slow
def test_many_arms_can_still_be_told_apart(tmp_path: Path) -> None:
    norms = tuple(f"norm{i}" for i in range(20))
    found = read_sensitivity(write_runs(tmp_path, lambda *_: {}, norms=norms, seeds=(0,)))
    lines = [line for line in draw_sensitivity(found).axes[0].lines if not str(line.get_label()).startswith("_")]
    assert len({(to_hex(line.get_color()), line._dash_pattern[1] and str(line._dash_pattern)) for line in lines}) == 20


@pytest.mark.slow
def test_a_sweep_without_a_complete_seed_has_an_empty_figure(tmp_path: Path) -> None:
    folder = write_runs(tmp_path, lambda _, lr, __: {"status": "failed"} if lr == 1 else {})
    assert all(path.stat().st_size for path in write_figures(read_sensitivity(folder), folder))


@pytest.mark.slow
def test_a_place_that_cannot_be_written_to_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with pytest.raises(RunError, match=r"lr-sensitivity\.svg cannot be written: Not a directory"):
        write_figures(read_sensitivity(folder), tmp_path / "blocked")


@pytest.mark.parametrize(
    "norms", [("batch", "none"), tuple(f"a_package.of_mine:NormWithALongName{i}" for i in range(8))]
)
def test_legend_notes_and_panels_do_not_overlap_and_lie_on_the_paper(tmp_path: Path, norms: tuple[str, ...]) -> None:
    figure = draw_sensitivity(read_sensitivity(write_runs(tmp_path, lambda *_: {}, norms=norms, seeds=(0,))))
    figure.draw_without_rendering()  # which puts texts and legend into their places
    (legend,) = figure.legends
    (facts,) = (text for text in figure.findobj(Text) if text.get_text().startswith("mlp, digits"))
    (below,) = (text for text in figure.findobj(Text) if text.get_text().startswith("Line: "))
    labels = Bbox.union([text.get_window_extent() for text in legend.get_texts()])  # without its title
    boxes = [labels, facts.get_window_extent(), below.get_window_extent()]
    panels = [axes.get_tightbbox() for axes in figure.axes]
    for first, second in itertools.combinations([*boxes, *panels], 2):
        assert not first.overlaps(second)
    for box in [*boxes, *panels, legend.get_title().get_window_extent()]:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert not legend.get_title().get_window_extent().overlaps(facts.get_window_extent())
