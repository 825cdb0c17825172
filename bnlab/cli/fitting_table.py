"""A table as wide as the window: columns that matter less are left out where there is no room."""

from collections.abc import Mapping, Sequence

from rich.measure import Measurement
from rich.table import Table

from bnlab.cli.consoles import OUT, ROOMY, new_table


def table_that_fits(columns: Mapping[str, Sequence[str]], drop: Sequence[str] = (), right: Sequence[str] = ()) -> Table:
    """Return a table of some columns, as many as the window is wide enough for.

    Args:
        columns: Heading -> the cells of the column, in rich's markup.
        drop: Headings of columns that are left out where there is no room, in this order.
        right: Headings of columns that hold numbers.
    """
    width = OUT.width if OUT.is_terminal else ROOMY
    kept = dict(columns)
    for dropped in (*drop, None):
        table = new_table(*kept, right=right)
        for cells in zip(*kept.values(), strict=True):
            table.add_row(*cells)
        if dropped is None or Measurement.get(OUT, OUT.options.update(width=10_000), table).maximum <= width:
            return table
        kept.pop(dropped, None)
    raise AssertionError  # the loop's last turn returns
