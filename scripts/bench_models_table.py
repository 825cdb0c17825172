"""What bench_models.py shows: medians with quartiles, and its two tables.

python scripts/bench_models_table.py    # says where the benchmark is; it has no other use
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def ratio_of(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """Return how many times as fast bnlab is, from the seconds of a step by round."""
    return spread([other / mine for other, mine in zip(theirs, ours, strict=True)])


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "quartiles": [low, high]}


def shown(figure: dict[str, Any], as_share: bool) -> str:
    """Return a median with its quartiles as text."""
    low, high = figure["quartiles"]
    if as_share:
        return f"{figure['median']:.0%} ({low:.0%} to {high:.0%})"
    return f"{figure['median']:.2f} ({low:.2f} to {high:.2f})"


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print both tables."""
    console = Console(width=130)
    table = Table("model", "norm", "images/s", "in norms", "reached", box=None)
    for model, row in rows.items():
        for norm, found in row["norms"].items():
            in_norms = "" if norm == "none" else shown(found["in_norms"], True)
            table.add_row(model, norm, f"{found['images_per_s']:,.0f}", in_norms, shown(found["reached"], True))
    console.print(table)
    table = Table("model", "norm", "peer", "images/s", "bnlab is times as fast", "with the same norm", box=None)
    for model, row in rows.items():
        for peer, found in row.get("peers", {}).items():
            name = f"plain, {row['workers']} workers" if peer == "plain" else peer
            ratios = (shown(found[key], False) for key in ("bnlab_is_times_as_fast", "with_the_same_norm"))
            table.add_row(model, row["compared"], name, f"{found['images_per_s']:,.0f}", *ratios)
    if table.row_count:
        console.print(table)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("python scripts/bench_models.py")
