from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnlab.errors import RunError
from bnlab.runfolder.json_lines import read_first_lines, read_lines

READERS = [read_lines, read_first_lines]


@pytest.mark.parametrize("read", READERS)
def test_lines_are_read_in_order_without_one_cut_off_or_a_file_that_is_not_there(
    read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(read(path)) == []
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert list(read(path)) == [{"step": 0}, {"step": 1}]


@pytest.mark.parametrize("read", READERS)
def test_a_damaged_line_is_named_after_those_before_it(
    read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{\n{"step": 2}\n')
    lines = read(path)
    assert next(lines) == {"step": 0}
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        next(lines)


def test_the_first_lines_are_read_without_reading_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n' * 10)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the whole file was read"))
    assert next(read_first_lines(path)) == {"step": 0}
