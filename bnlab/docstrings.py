"""A docstring in the house's style, as parts: its first sentence, the text after it, and the sections under headings.

Norms and diagnostics are shown to users by their docstrings. A general parser of Google's style does not serve: griffe
2.4 does not take a heading with text on its own line, such as "Axes: over N and S", for a heading.
"""

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent

_HEADING = re.compile(r"(?P<name>[A-Z][a-z]+(?: [a-z]+){0,2}):(?: +(?P<text>\S.*))?")


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring.

    Attributes:
        summary: The first paragraph on one line; empty where there is no docstring.
        about: The paragraphs between the first one and the first heading, with their line breaks and indents.
        sections: Heading -> text of the section, with its line breaks, without the common indent.
    """

    summary: str
    about: str
    sections: dict[str, str]


def read_docstring(docstring: str | None) -> Docstring:
    r"""Return the parts of a docstring.

    A heading stands at the start of a paragraph, without an indent. It is one word, followed by text on the same line,
    or up to three words alone on a line that is followed by an indented one.

    Args:
        docstring: The text as it is written in the source; None: no docstring.

    Example:
        >>> read_docstring("Do this.\n\nSource: Ours,\nall of it.\n\nBlind spots:\n    Many.").sections
        {'Source': 'Ours,\nall of it.', 'Blind spots': 'Many.'}
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    parts: dict[str, list[str]] = {"": []}
    here = parts[""]
    for number, line in enumerate(lines):
        heading = _heading_at(lines, number)
        if heading is None:
            here.append(line)
        else:
            here = parts.setdefault(heading["name"], [])
            here.append(heading["text"] or "")
    first, _, about = "\n".join(parts.pop("")).strip().partition("\n\n")
    sections = {name: _dedented(text) for name, text in parts.items()}
    return Docstring(" ".join(first.split()), about.strip("\n"), sections)


def formula_of(about: str) -> tuple[str, ...]:
    """Return the lines of the first indented paragraph, without their indent; () where there is none.

    Args:
        about: The text of a docstring before its first heading.
    """
    for paragraph in re.split(r"\n\s*\n", about):
        lines = paragraph.split("\n")
        if all(line.startswith("    ") for line in lines):
            return tuple(re.sub(" {5,}", "    ", line.strip()) for line in lines)
    return ()


def _heading_at(lines: list[str], number: int) -> re.Match[str] | None:
    heading = _HEADING.fullmatch(lines[number])
    if heading is None or (number > 0 and lines[number - 1].strip()):
        return None
    if heading["text"]:
        return heading if " " not in heading["name"] else None
    followed = number + 1 < len(lines) and lines[number + 1].startswith(" ")
    return heading if followed else None


def _dedented(lines: list[str]) -> str:
    return "\n".join([lines[0], dedent("\n".join(lines[1:]))]).strip()
