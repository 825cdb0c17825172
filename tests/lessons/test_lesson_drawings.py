import io
import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from rich.console import Console

from bnlab.errors import ConfigError
from bnlab.lessons.board import PALETTE, letters, marks
from bnlab.lessons.cube import build_cube
from bnlab.lessons.example import Value
from bnlab.lessons.explanation import Explanation, explain
from bnlab.lessons.lesson_figure import draw_figure, write_figure
from bnlab.lessons.numerals import cell
from bnlab.lessons.page import draw_page
from bnlab.norms.names import NORMS

SVG = "{http://www.w3.org/2000/svg}"


def printed(lesson: Explanation, width: int = 80, color: bool = False) -> str:
    paper = io.StringIO()
    console = Console(
        file=paper, width=width, force_terminal=color, color_system="truecolor" if color else None, highlight=False
    )
    console.print(draw_page(lesson))
    return paper.getvalue()


def numbers_of(value: Value, story: bool) -> list[str]:
    if not story:
        return [cell(value.y), cell(value.dx)]
    assert value.xhat is not None
    return [cell(number) for number in (value.xhat, value.y, *value.terms, value.dx)]


@pytest.mark.slow_but(9)
@pytest.mark.parametrize("name", NORMS)
def test_a_page_shows_every_number_whole_in_80_columns(name: str) -> None:
    assert_page_is_whole(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "first"), [((8, 8, 4, 4), 0), ((64, 16, 12, 12), 1)])
def test_a_page_about_images_shows_every_number_whole_in_80_columns(shape: tuple[int, ...], first: int) -> None:
    for name in list(NORMS)[first::2]:
        assert_page_is_whole(name, shape)


def assert_page_is_whole(name: str, shape: tuple[int, ...] | None) -> None:
    lesson = explain(name, shape)
    for width in (80, 96):
        text = printed(lesson, width)
        assert "…" not in text, name
        assert max(map(len, text.splitlines())) <= width, name
        for value in lesson.example.values:
            for number in numbers_of(value, lesson.example.story is not None):
                assert number in text, name


def test_a_page_says_without_color_what_it_says_with() -> None:
    lesson = explain("batch", (4, 8, 4, 4))
    plain = printed(lesson)
    assert "\x1b" not in plain
    board = [line for line in plain.splitlines() if line.strip().startswith("n=")]
    assert [line.split()[1:] for line in board] == [list("ABCDEFGH")] * 4
    assert "\x1b[" in printed(lesson, color=True)


@pytest.mark.parametrize("shape", [(8, 8, 2, 2), (4, 4, 2, 2), (64, 256, 2, 2)])
@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group", "ghost"])
def test_one_statistic_has_one_color_and_its_neighbors_have_others(name: str, shape: tuple[int, ...]) -> None:
    lesson = explain(name, shape)
    found, cells = marks(lesson), lesson.sharing.cells
    assert len({letter for letter, _ in found.values()}) == len(found) == len({n for row in cells for n in row})
    for row, column in itertools.product(range(len(cells)), range(len(cells[0]))):
        here = cells[row][column]
        for other in (*cells[row][column + 1 : column + 2], *(below[column] for below in cells[row + 1 : row + 2])):
            assert (found[here][1] == found[other][1]) == (here == other)
    if len(found) <= len(PALETTE):
        assert len({color for _, color in found.values()}) == len(found)


def test_letters_go_on_after_z() -> None:
    first = list(itertools.islice(letters(), 703))
    assert [first[index] for index in (0, 25, 26, 51, 52, 63, 702)] == ["A", "Z", "AA", "AZ", "BA", "BL", "AAA"]


@pytest.mark.parametrize(
    ("name", "colored"),
    [
        ("batch", {"left": 4, "right": 12, "top": 3}),  # one column of C, all of N
        ("layer", {"left": 20, "right": 4, "top": 5}),  # the front, all of it
        ("instance", {"left": 4, "right": 4, "top": 1}),
        ("none", {"left": 1, "right": 1, "top": 1}),
    ],
)
def test_the_block_is_colored_where_the_first_statistic_looks(name: str, colored: dict[str, int]) -> None:
    cube = build_cube(explain(name, (3, 5, 2, 2)))
    found = {side: sum(face.shares for face in cube.faces if face.side == side) for side in colored}
    assert found == colored
    assert len(cube.faces) == 3 * 5 + 3 * 4 + 5 * 4


@pytest.mark.parametrize("shape", [(2, 2), (3, 5, 2, 2), (64, 16, 12, 12)])
def test_the_whole_block_lies_inside_its_panel(shape: tuple[int, ...]) -> None:
    lesson = explain("batch", shape)
    (block,) = draw_figure(lesson).findobj(PolyCollection)
    assert block.axes is not None
    (left, right), (bottom, top) = block.axes.get_xlim(), block.axes.get_ylim()
    for x, y in (corner for face in build_cube(lesson).faces for corner in face.corners):
        assert left - 1e-9 <= x <= right + 1e-9
        assert bottom - 1e-9 <= y <= top + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ["batch", "none"],
        pytest.param(["layer", "rms", "switchable", "frn", "l1_batch", "batch_noisy"], marks=pytest.mark.slow),
    ],
    ids=["two norms", "other norms"],
)
def test_the_figure_holds_its_numbers_as_text_inside_the_page(names: list[str], tmp_path: Path) -> None:
    for name in names:
        lesson = explain(name, (8, 16, 4, 4))
        write_figure(lesson, tmp_path / "lesson.svg")
        texts = ["".join(node.itertext()) for node in ET.parse(tmp_path / "lesson.svg").iter(f"{SVG}text")]
        assert lesson.words.class_name in texts
        for value in lesson.example.values:
            for number in numbers_of(value, lesson.example.story is not None):
                assert number in texts, name


@pytest.mark.parametrize("name", ["batch", "switchable"])
def test_no_text_leaves_the_figure_or_covers_another(name: str) -> None:
    assert_texts_are_apart(name, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_no_text_leaves_any_figure_or_covers_another(name: str) -> None:
    assert_texts_are_apart(name, None)
    # of images the largest numbers are longest, and the smallest block leaves most to its neighbors
    assert_texts_are_apart(name, ((4, 8, 4, 4), (64, 16, 12, 12))[list(NORMS).index(name) % 2])


def assert_texts_are_apart(name: str, shape: tuple[int, ...] | None) -> None:
    figure = draw_figure(explain(name, shape))
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    left, bottom, right, top = map(float, figure.bbox.extents)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    boxes = [(text.get_text(), *map(float, text.get_window_extent().extents)) for text in texts]
    assert sum(len(said.splitlines()) for said, *_ in boxes) > 20
    for said, x0, y0, x1, y1 in boxes:
        assert left <= x0 <= x1 <= right, said
        assert bottom <= y0 <= y1 <= top, said
    for (said, x0, y0, x1, y1), (other_said, left_of, below, right_of, above) in itertools.combinations(boxes, 2):
        apart = x1 <= left_of or right_of <= x0 or y1 <= below + 2 or above <= y0 + 2
        assert apart, (said, other_said)


def test_the_same_lesson_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        write_figure(explain("none"), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        ("SVG", b"<?xml"),
        pytest.param("png", b"\x89PNG", marks=pytest.mark.slow),
        pytest.param("pdf", b"%PDF", marks=pytest.mark.slow),
    ],
)
def test_the_ending_says_the_format(ending: str, begins: bytes, tmp_path: Path) -> None:
    write_figure(explain("batch"), tmp_path / f"lesson.{ending}")
    assert (tmp_path / f"lesson.{ending}").read_bytes().startswith(begins)


def test_another_ending_or_a_place_that_is_not_there_is_wrong_input(tmp_path: Path) -> None:
    lesson = explain("batch")
    with pytest.raises(ConfigError, match=r"ending in \.svg, \.png or \.pdf"):
        write_figure(lesson, tmp_path / "lesson.jpg")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_figure(lesson, tmp_path / "nowhere" / "lesson.svg")
