"""Pages and figures are there as a whole, whatever happens while they are written."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from bnlab.errors import BnlabError
from bnlab.lessons.explanation import explain
from bnlab.lessons.lesson_figure import write_figure
from bnlab.pages.race_page import RacePage, write_race_page
from bnlab.pages.report_files import Report, write_report
from bnlab.pages.words import Words
from bnlab.report.style import paper, save
from bnlab.runfolder.whole_files import write_whole


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    page, link = tmp_path / "a" / "page.html", tmp_path / "link.html"
    page.parent.mkdir()
    write_whole(page, "é\n")
    assert page.read_bytes() == "é\n".encode()
    link.symlink_to(page)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert page.read_bytes() == b"new"
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def a_report(path: Path) -> None:
    write_report(Report(path.parent, path.stem, "en", "<html>", "# page", "n"), with_csv=True)


def a_race(path: Path) -> None:
    write_race_page(RacePage("title", "lead", (), (), Words("en")), path)


def a_figure(path: Path) -> None:
    with paper():
        save(Figure(), lambda kind: path.with_suffix(f".{kind}"), "")


def a_lesson(path: Path) -> None:
    write_figure(explain("batch"), path)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (a_report, "report.html"),
        (a_race, "race.html"),
        (a_figure, "curves.svg"),
        pytest.param(a_lesson, "lesson.png", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_written_to_its_end_leaves_the_old_one_whole(
    write: Callable[[Path], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    write(path)
    there = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    write_bytes = Path.write_bytes

    def half(path: Path, content: "bytes | str", *_: object, **__: object) -> int:
        content = content.encode() if isinstance(content, str) else content
        write_bytes(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(BnlabError, match="cannot be written: No space left on device"):
        write(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == there


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    texts = [letter * 100_000 for letter in "abcd"]

    def write_often(text: str) -> None:
        for _ in range(20):
            write_whole(tmp_path / "page.html", text)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_often, texts))
    assert (tmp_path / "page.html").read_text(encoding="utf-8") in texts
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
