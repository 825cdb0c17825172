"""Damage run folders at random and read them with every command: no traceback, no wrong number in silence.

    python scripts/fuzz_folders.py                    # 2,000 folders
    python scripts/fuzz_folders.py --folders 200      # fewer

The seed is fixed: each run draws the same damages. Prints how many folders were damaged, how many commands were tried,
and how many of them ended in a traceback or showed a wrong number without a word; exit status 1 if any did.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cli"))

from damaged_folders import DAMAGES, Damage, Workshop  # type: ignore[import-not-found]

SHOWN = 20
"""Lines about faults that are printed at most."""


def main() -> None:
    """Damage folders, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=2000)
    num_folders = parser.parse_args().folders
    logging.disable(logging.NOTSET)
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop.opened(Path(folder) / "runs")
        damaged = 0

        @seed(15)
        @settings(
            max_examples=num_folders,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(DAMAGES, min_size=1, max_size=3))
        def damage(damages: list[Damage]) -> None:
            nonlocal damaged
            damaged += 1
            shop.try_damages(damages)

        damage()
    print(f"folders damaged: {damaged:,}")
    print(f"commands tried: {shop.commands:,}")
    print(f"tracebacks: {len(shop.tracebacks):,}")
    print(f"wrong numbers shown in silence: {len(shop.silent):,}")
    for fault in [*shop.tracebacks, *shop.silent][:SHOWN]:
        print(f"  {fault[:600]}")
    sys.exit(1 if shop.tracebacks or shop.silent else 0)


if __name__ == "__main__":
    main()
