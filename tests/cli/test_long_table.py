"""A long table is the one that rich would print."""

import io

import pytest

from bnlab.cli.consoles import new_console, new_table
from bnlab.cli.long_table import LongTable

CELLS = {
    "run": ["batch-mlp-s0", "none [/bold]".replace("[", "\\["), "名前", "", "a\x1b[2Jb", "é" * 9],
    "status": ["[green]finished[/]", "[red]failed[/]", "[yellow]diverged at 3[/]", "-", "[default]running[/]", ":x:"],
    "test": ["46.8%", "1", "-", "0.001", "99.99%", "[bold]7[/]"],
}


@pytest.mark.parametrize("right", [[], ["test"], ["run", "test"]])
@pytest.mark.parametrize("kept", [("run", "status", "test"), ("status",), ("test", "run")])
@pytest.mark.parametrize("terminal", [False, True])
def test_it_is_what_rich_prints(right: list[str], kept: tuple[str, ...], terminal: bool) -> None:
    columns = {name: CELLS[name] for name in kept}
    right = [name for name in right if name in kept]
    expected, came = (new_console(file=io.StringIO(), width=80, force_terminal=terminal) for _ in range(2))
    table = new_table(*columns, right=right)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    expected.print(table)
    LongTable(columns, right, came).print()
    assert _shown(came) == _shown(expected)  # type: ignore[arg-type]
    assert LongTable(columns, right, came).width == max(map(_cells, _shown(expected)))


def _shown(console: object) -> list[list[tuple[str, str]]]:
    """Return each line as letters with their styles, however they are grouped."""
    from rich.text import Text  # noqa: PLC0415

    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = Text.from_ansi(text).split("\n")
    return [
        [(letter, str(line.get_style_at_offset(console, n))) for n, letter in enumerate(line.plain)] for line in lines
    ]  # type: ignore[arg-type]


def _cells(line: list[tuple[str, str]]) -> int:
    from rich.cells import cell_len  # noqa: PLC0415

    return cell_len("".join(letter for letter, _ in line))
