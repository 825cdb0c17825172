"""A page of HTML as a test sees it: its elements, read by Python's own parser, which knows nothing of templates."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

EMPTY = {"meta", "link", "br", "img", "input", "hr", "path", "use", "rect", "circle", "line", "image"}


@dataclass
class Element:
    """One element: its tag, its attributes, the elements in it, and all text in it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    inside: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str, **attributes: str) -> list["Element"]:
        """Return the elements of a tag, at any depth, with some attributes."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        found = [self] if self.tag == tag and wanted.items() <= self.attributes.items() else []
        return found + [one for child in self.inside for one in child.all(tag, **attributes)]

    def everything(self) -> list["Element"]:
        """Return it and all elements in it."""
        return [self, *(one for child in self.inside for one in child.everything())]

    @property
    def numbers(self) -> list[float]:
        """The numbers of its data elements."""
        return [float(one.attributes["value"]) for one in self.all("data")]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def see(html: str) -> Element:
    """Return the elements of a page; a tag that is left open is an error."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.open) == 1, [one.tag for one in parser.open]
    return parser.open[0]
