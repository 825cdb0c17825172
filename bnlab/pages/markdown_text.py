"""Pieces of Markdown, with every text of a user's escaped: it reads the same on a code host as in an editor."""

import re
from collections.abc import Iterable, Sequence

from bnlab.pages.drawn.picture import DataTable
from bnlab.pages.plain_text import plain

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_SCHEME = re.compile(r"(?i)\b(https?|ftp|mailto)(?=:)|\b(www)(?=\.)|(?<=\w)(@)(?=\w)")
_LISTED = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")


def text(words: str) -> str:
    r"""Return a text in which nothing is markup, on one line.

    Example:
        >>> text("a <b> | c_d"), text("1. x")
        ('a \\<b\\> \\| c\\_d', '1\\. x')
    """
    line = " ".join(plain(words).split())
    line = _ENTITY.sub("&amp;", _SPECIAL.sub(r"\\\1", line))
    line = _SCHEME.sub(
        lambda found: f"{found[0][0]}<!-- -->{found[0][1:]}" if len(found[0]) > 1 else f"<!-- -->{found[0]}", line
    )
    return _LISTED.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", line)


def code(words: str) -> list[str]:
    """Return a command as a block of code."""
    lines = plain(words).splitlines() or [""]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return [f"{fence}sh", *lines, fence, ""]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return a table.

    Args:
        headings: Of the columns, as texts.
        rows: Fields that are Markdown already.
        right: Places of the columns that are aligned to the right.
    """
    rules = ["---:" if place in right else "---" for place in range(len(headings))]
    return [_line([text(heading) for heading in headings]), _line(rules), *(_line(row) for row in rows), ""]


def data_table(data: DataTable) -> list[str]:
    """Return a table of a figure's data."""
    return table(data.headings, [[text(cell.text) for cell in row] for row in data.rows], range(1, len(data.headings)))


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"
