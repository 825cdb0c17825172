"""Keeps the page in the other language, where a page is written over it."""

import re
from pathlib import Path

from bnlab.pages.study_results import Lang

_OF_HTML: dict[str, Lang] = {"en": "en", "zh-Hans": "zh"}
_HEAD = re.compile(r'<!DOCTYPE html>\s*<html lang="([\w-]+)">.*?<meta name="generator" content="bnlab ', re.DOTALL)

HEAD_LETTERS = 1000
"""Letters at the start of a page in which its language and its maker stand."""

KINDS = ("html", "md")
"""The files that are written in a language; numbers as CSV have none."""


def language_of(page: Path) -> Lang | None:
    """Return the language of a page of bnlab's; None of anything else, and where there is no file."""
    try:
        with page.open(encoding="utf-8") as file:
            head = _HEAD.match(file.read(HEAD_LETTERS))
    except (OSError, UnicodeDecodeError):
        return None
    return None if head is None else _OF_HTML.get(head[1])


def keep_other_language(folder: Path, stem: str, lang: Lang) -> list[Path]:
    """Move a page in the other language aside, before it is written over: report.html to report.en.html, say.

    So NAME.html is in the language that was asked for last, and NAME.en.html or NAME.zh.html is the last page in the
    other one. A page that was kept in the language of now is taken away, since the new one replaces it.

    Args:
        folder: The folder of the page.
        stem: The name of its files, without what follows the point.
        lang: Language of the page that will be written.

    Returns:
        The files that were moved, where they are now.
    """
    found = language_of(folder / f"{stem}.html")
    moved = []
    if found is not None and found != lang:
        for kind in KINDS:
            path = folder / f"{stem}.{kind}"
            if path.is_file():
                moved.append(path.replace(folder / f"{stem}.{found}.{kind}"))
    if language_of(folder / f"{stem}.{lang}.html") == lang:
        for kind in KINDS:
            (folder / f"{stem}.{lang}.{kind}").unlink(missing_ok=True)
    return moved
