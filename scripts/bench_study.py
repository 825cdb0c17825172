"""Bench studies: the runs of each as bnlab trains them, against the same runs one by one (sweep.engine=sequential).

    python scripts/bench_study.py vanishing-gradients train-eval     # both ways, one study after the other
    python scripts/bench_study.py all --one-by-one lr-sensitivity    # all as they come, one of them one by one too
    python scripts/bench_study.py all --one-by-one none --runs runs  # the table of claims, and how long each took

Whole commands are timed from outside, in turns of one study, each in folders of its own, so that the speed of a shared
machine drops out of the ratio. Both ways use a process per core, as `bnlab study` does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bnlab.studies.study_search import find_studies


def timed(name: str, runs: Path, words: list[str]) -> tuple[float, str]:
    """Return the seconds of one study, and its verdict in a word."""
    command = [sys.executable, "-m", "bnlab.cli.app", "study", name, *words, "--quiet", "--json", "--runs", str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        return seconds, f"status {done.returncode}: {done.stderr.strip()[-200:]}"
    verdict = json.loads(done.stdout.splitlines()[-1])
    return seconds, f"{verdict['verdict']} ({verdict['effect']:.3g}, {verdict['seconds']:.0f} s of training)"


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
        together, alone = 0.0, 0.0
        ratios = []
        for name in names:
            seconds, verdict = timed(name, runs, [])
            line = f"{name:24} {seconds:7.1f} s  {verdict}"
            if name in twice:
                other, other_verdict = timed(name, Path(folder) / "alone", ["sweep.engine=sequential"])
                together, alone = together + seconds, alone + other
                ratios.append(seconds / other)
                line += f"  |  one by one {other:7.1f} s, ratio {seconds / other:.2f}, {other_verdict}"
            print(line, flush=True)
        if ratios:
            total = f"{together:.0f} s against {alone:.0f} s one by one: {together / alone:.2f}"
            print(f"{total} in all, {statistics.geometric_mean(ratios):.2f} in the geometric mean of studies")


if __name__ == "__main__":
    main()
