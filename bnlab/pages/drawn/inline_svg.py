"""A figure of matplotlib as SVG that stands in a page: small, in its colors and fonts, with a text alternative."""

import io
import itertools
import re
import warnings
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text

from bnlab.pages.plain_text import plain
from bnlab.report.palette import COLORS, INK, LINE, OUTSIDE, QUIET
from bnlab.report.style import paper

_VARIABLES = {
    "#ffffff": "var(--paper)",
    "#000000": "var(--ink)",
    QUIET.lower(): "var(--quiet)",
    LINE.lower(): "var(--line)",
    OUTSIDE.lower(): "var(--outside)",
    **{color.lower(): f"var(--c{number})" for number, color in enumerate(COLORS, start=1)},
    QUIET.lower(): "var(--quiet)",
    INK.lower(): "var(--ink)",
}
"""Colors of the palette -> the page's own, which are others on a dark page."""

_COLOR = re.compile(r"#[0-9a-f]{6}\b")
_LONG = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font:\s*(?P<before>(?:[a-z0-9]+ )*?)(?P<size>[\d.]+)px[^;]*")
_FAMILY = re.compile(r"font-family:[^;]*;?\s*")
_LINK = "{http://www.w3.org/1999/xlink}href"
_PLACES = ("d", "points", "transform", "x", "y", "width", "height", "x1", "x2", "y1", "y2", "viewBox")


def to_inline(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Return a figure as an SVG element.

    Args:
        figure: A figure of matplotlib with its contents drawn.
        name: A name that no other figure of the page has; its ids begin with it.
        title: What it shows, for those who do not see it.
        description: What is to be seen, in a sentence or two.
    """
    drawn = io.BytesIO()
    for written in (one for one in figure.findobj() if isinstance(one, Text)):
        written.set_text(plain(written.get_text()))
        written.set_parse_math(False)  # a user's dollar is a dollar
    with paper(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser's fonts draw, not matplotlib's
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(drawn.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if _LINK in element.attrib:
            element.attrib["href"] = element.attrib.pop(_LINK)
    _leave_out(root)
    _rename(root, name)
    for element in root.iter():
        _shorten(element)
    _merge(root)
    svg = ElementTree.Element("svg", {"class": "plot", "viewBox": root.attrib["viewBox"], "role": "img"})
    svg.attrib["aria-labelledby"] = f"{name}-t {name}-d"
    for tag, text, end in (("title", title, "t"), ("desc", description, "d")):
        ElementTree.SubElement(svg, tag, {"id": f"{name}-{end}"}).text = plain(text)
    svg.extend(list(root))
    return Markup(ElementTree.tostring(svg, encoding="unicode").replace("\n", ""))


def _leave_out(root: ElementTree.Element) -> None:
    """Leave out what a page has itself: metadata, and a style that would hold for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            is_style = child.tag == "defs" and len(child) == 1 and child[0].tag == "style"
            if child.tag == "metadata" or is_style:
                parent.remove(child)
    for element in root.iter():
        element.tail = None
        if element.text is not None and not element.text.strip():
            element.text = None


def _rename(root: ElementTree.Element, name: str) -> None:
    """Give the ids that are referred to names of this figure's own; leave out the others."""
    used: dict[str, str] = {}
    numbers = itertools.count(1)

    def own(old: str) -> str:
        return used.setdefault(old, f"{name}-{next(numbers)}")

    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                element.attrib[key] = f"#{own(value[1:])}"
            else:
                element.attrib[key] = _REFERENCE.sub(lambda found: f"url(#{own(found[1])})", value)
    for element in root.iter():
        old = element.attrib.pop("id", "")
        if old in used:
            element.attrib["id"] = used[old]


def _shorten(element: ElementTree.Element) -> None:
    """Round places to a tenth of a point, and take colors and fonts from the page."""
    for key in _PLACES:
        if key in element.attrib and not element.attrib[key].startswith("scale"):
            element.attrib[key] = _LONG.sub(lambda found: f"{float(found[0]):.1f}", element.attrib[key])
    for key in ("style", "fill", "stroke"):
        if key in element.attrib:
            text = _COLOR.sub(lambda found: _VARIABLES.get(found[0], found[0]), element.attrib[key])
            text = _FAMILY.sub("", _FONT.sub(lambda found: f"font-size: {found['size']}px", text))
            element.attrib[key] = text
    if element.attrib.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if element.tag == "path" and "d" in element.attrib:
        element.attrib["d"] = " ".join(element.attrib["d"].split())


def _merge(root: ElementTree.Element) -> None:
    """Put the content of groups that say nothing in their place."""
    for child in root:
        _merge(child)
    merged: list[ElementTree.Element] = []
    for child in root:
        merged += list(child) if child.tag == "g" and not child.attrib and not child.text else [child]
    root[:] = merged
