import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnlab.errors import RunError
from bnlab.records import DiagnosticRecord, StepRecord
from bnlab.runfolder.json_lines import read_first_lines, read_last_lines, read_lines, record_line

LINES = [record_line(StepRecord(step, {"loss": 0.5})) for step in range(3)]
RECORDS = [json.loads(line) for line in LINES]
READERS = [read_lines, read_first_lines]


@pytest.mark.parametrize("read", READERS)
def test_lines_are_read_in_order_without_one_cut_off_or_a_file_that_is_not_there(
    read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(read(path)) == []
    path.write_text(f'{LINES[0]}\n{LINES[1]}\n{{"st')
    assert list(read(path)) == RECORDS[:2]


@pytest.mark.parametrize("read", READERS)
def test_a_damaged_line_is_named_after_those_before_it(
    read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{LINES[0]}\n{{\n{LINES[2]}\n")
    lines = read(path)
    assert next(lines) == RECORDS[0]
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        next(lines)


def test_the_first_lines_are_read_without_reading_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{LINES[0]}\n" * 10)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the whole file was read"))
    assert next(read_first_lines(path)) == RECORDS[0]


@pytest.mark.parametrize("num_lines", [0, 1, 3, 300, 2_000])
def test_the_last_lines_are_read_in_reverse_without_diagnostics_and_one_cut_off(tmp_path: Path, num_lines: int) -> None:
    path = tmp_path / "metrics.jsonl"
    measured = record_line(DiagnosticRecord(1, "saturation", {"hidden1": 0.5}))
    lines = [f"{record_line(StepRecord(step, {}))}\n{measured}\n" for step in range(num_lines)]
    path.write_text("".join([*lines, LINES[0]]))
    assert [record["step"] for record in read_last_lines(path)] == list(range(num_lines))[::-1]


@pytest.mark.parametrize(
    "line",
    [
        *("5", "null", "[]", '"text"', "{}", "[" * 10_000 + "]" * 10_000),
        *('{"kind": "step", "step": "1", "split": null, "name": null, "values": {}}',),
        *('{"kind": "step", "step": 1, "split": null, "name": null, "values": {"loss": "high"}}',),
        *('{"kind": "step", "step": 1, "split": null, "name": null, "values": [1]}',),
        *('{"kind": "eval", "step": 1, "split": "other", "name": null, "values": {}}',),
        *('{"kind": "diagnostic", "step": 1, "split": null, "name": null, "values": {}}',),
        *('{"kind": "end", "step": 1, "split": null, "name": "[/bold]", "values": {}}',),
        *('{"kind": "step", "step": 1, "split": null, "name": null}',),
    ],
)
@pytest.mark.parametrize("read", [*READERS, read_last_lines])
def test_valid_json_of_the_wrong_shape_is_damage(
    read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path, line: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{line}\n")
    if read is read_last_lines and "diagnostic" in line:
        return  # which it does not look into
    with pytest.raises(RunError, match="is damaged"):
        list(read(path))


@pytest.mark.parametrize("read", [*READERS, read_last_lines])
def test_a_file_that_cannot_be_read_is_named(read: Callable[[Path], Iterator[dict[str, Any]]], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        list(read(tmp_path))
