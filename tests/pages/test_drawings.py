"""Drawings of the pages that need no runs: fans and heat maps from curves that are known."""

import math
import re

import pytest
from seen_page import see

from bnlab.pages.drawn.layer_maps import draw_layers, recorded_by_layer
from bnlab.pages.drawn.quantile_fans import draw_fans, recorded_as_quantiles
from bnlab.pages.words import Words
from bnlab.results.curves import Curve

STEPS = (0, 10, 20, 30)


def curve(*values: float) -> Curve:
    return Curve(STEPS, values, values, values)


QUANTILES = {
    f"preactivation_quantiles/hidden{layer}/q{q}": curve(*(q * layer * (1 + s) / 100 for s in range(4)))
    for layer in (1, 2)
    for q in (15, 50, 85)
}
MAPS = {"saturation/hidden1": curve(0.0, 0.1, 0.2, 0.4), "saturation/hidden2": curve(0.1, 0.1, math.nan, 0.3)}
OTHERS = {"eval/accuracy": curve(0.1, 0.5, 0.7, 0.9), "sharpness/network": curve(1, 2, 3, 4)}


def test_what_can_be_drawn_is_found_by_the_shape_of_its_records() -> None:
    curves = [("batch", QUANTILES | MAPS | OTHERS), ("none", MAPS)]
    assert recorded_by_layer(curves) == ["saturation"]
    assert recorded_as_quantiles(curves) == ["preactivation_quantiles"]


def test_a_fan_shows_the_last_layer_with_its_median_in_words() -> None:
    picture = draw_fans([("batch", QUANTILES), ("none", MAPS)], "preactivation_quantiles", "f", Words("en"))
    assert picture is not None
    assert [drawing.label for drawing in picture.drawings] == ["batch"]
    description = see(picture.drawings[0].svg).all("desc")[0].text
    assert "in layer hidden2" in description
    assert "the median is 4." in description  # .5 * 2 * 4
    assert picture.table.headings == ("arm", "15%", "50%", "85%")
    assert [cell.text for cell in picture.table.rows[0]] == ["batch", "0.3 → 1.2", "1 → 4", "1.7 → 6.8"]


def test_a_heat_map_has_a_row_per_layer_and_one_scale_for_all_arms() -> None:
    picture = draw_layers([("batch", MAPS), ("none", MAPS)], "saturation", "m", Words("zh"))
    assert picture is not None
    assert picture.ramp == ("0%", "40%")
    assert [drawing.label for drawing in picture.drawings] == ["batch", "none"]
    svgs = [see(drawing.svg) for drawing in picture.drawings]
    assert all({"hidden1", "hidden2"} <= {text.text for text in svg.all("text")} for svg in svgs)
    ids = [one.attributes["id"] for svg in svgs for one in svg.everything() if "id" in one.attributes]
    assert len(ids) == len(set(ids))


def test_colors_of_a_drawing_are_those_of_the_page() -> None:
    picture = draw_fans([("batch", QUANTILES)], "preactivation_quantiles", "f", Words("en"))
    assert picture is not None
    svg = picture.drawings[0].svg
    assert "var(--c1)" in svg
    assert not re.search("#[0-9a-f]{6}", svg)
    assert "font-family" not in svg


@pytest.mark.parametrize("values", [(math.nan,) * 4, (math.inf,) * 4])
def test_there_is_no_map_of_nothing(values: tuple[float, ...]) -> None:
    broken = {"saturation/hidden1": curve(*values), "saturation/hidden2": curve(*values)}
    assert draw_layers([("batch", broken)], "saturation", "m", Words("en")) is None
