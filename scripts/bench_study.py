"""Bench studies: the runs of each as bnlab trains them, against the same runs one by one (sweep.engine=sequential).

    python scripts/bench_study.py vanishing-gradients train-eval     # both ways, one study after the other
    python scripts/bench_study.py all --one-by-one lr-sensitivity    # all as they come, one of them one by one too
    python scripts/bench_study.py all --one-by-one none --runs runs  # the table of claims, and how long each took

Whole commands are timed from outside, in turns of one study, each in folders of its own, so that the speed of a shared
machine drops out of the ratio. Both ways use a process per core, as `bnlab study` does; where others use the cores too,
CPU seconds say more than the clock.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bnlab.studies.study_search import find_studies


class Spent(NamedTuple):
    """The seconds that something took: on the clock, and of all cores together."""

    clock: float
    cpu: float


def timed(name: str, runs: Path, words: list[str]) -> tuple[Spent, str]:
    """Return the seconds of one study, and its verdict in a word."""
    command = [sys.executable, "-m", "bnlab.cli.app", "study", name, *words, "--quiet", "--json", "--runs", str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    spent = Spent(time.perf_counter() - began, cpu)
    if done.returncode:
        return spent, f"status {done.returncode}: {done.stderr.strip()[-200:]}"
    verdict = json.loads(done.stdout.splitlines()[-1])
    effect = verdict["effect"]
    return spent, f"{verdict['verdict']} ({'not known' if effect is None else f'{effect:.3g}'})"


def main() -> None:
    """Time the studies, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="studies, or all")
    parser.add_argument("--one-by-one", default="same", help="studies, by comma, trained both ways; same: all; none")
    parser.add_argument("--runs", type=Path, help="the folder of the runs as they come; default: a temporary one")
    asked = parser.parse_args()
    names = [study.name for study in find_studies(asked.names, None)]
    twice = {"same": set(names), "none": set()}.get(asked.one_by_one, set(asked.one_by_one.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        runs = asked.runs or Path(folder) / "together"
        pairs: list[tuple[Spent, Spent]] = []
        for name in names:
            spent, verdict = timed(name, runs, [])
            line = f"{name:24} {spent.clock:6.0f} s, {spent.cpu:6.0f} CPU-s  {verdict}"
            if name in twice:
                other, other_verdict = timed(name, Path(folder) / "alone", ["sweep.engine=sequential"])
                pairs.append((spent, other))
                line += f"  |  one by one {other.clock:6.0f} s, {other.cpu:6.0f} CPU-s  {other_verdict}"
            print(line, flush=True)
        if pairs:
            for place, unit in enumerate(Spent._fields):
                together, alone = (math.fsum(pair[way][place] for pair in pairs) for way in (0, 1))
                mean = statistics.geometric_mean([one[place] / other[place] for one, other in pairs])
                print(f"{unit}: {together:.0f} s against {alone:.0f} s, {together / alone:.2f}; by study {mean:.2f}")


if __name__ == "__main__":
    main()
