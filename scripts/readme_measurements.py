"""What README and docs/ quote: the commands behind their numbers, and the figures that these give.

scripts/write_readme_numbers.py writes them into the pages; this module has no other use.
"""

import json
import math
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnlab import provenance
from bnlab.conformance.laws import LAWS
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.norms.names import NORMS
from bnlab.stats.estimate import Estimate, mean_over_seeds

ROOT = Path(__file__).resolve().parents[1]
BENCHES = ROOT / "scripts" / "bench_results"
FIGURE = ROOT / "docs" / "lr-sensitivity.svg"

HERO = "bnlab train -m norm=batch,none model.activation=sigmoid model.depth=5 model.init_std=1 optim.lr=1"
COMMANDS = {
    "hero": f"{HERO} 'seed=range(5)'",
    "wide": f"{HERO} diagnostics=full name=wide",
    "lr": "bnlab lr-sensitivity",
    "sigmoid": "bnlab sweep norm=batch,layer,none model.activation=sigmoid 'optim.lr=logspace(1e-2,100,9)' "
    "'seed=range(5)' data=digits train.steps=600 train.log_every=20 name=sigmoid",
}
"""The commands behind README's numbers; that of the hero with five seeds in place of one, for its interval."""

LEARNED = 0.94
"""Test accuracy, as a mean over the seeds, from which on README says that the digits are learned."""


def run(command: str, runs: Path) -> list[dict[str, Any]]:
    """Run a command of bnlab's and return the JSON objects that it prints."""
    words = [sys.executable, "-m", "bnlab.cli.app", *shlex.split(command)[1:], "--runs", str(runs), "--json", "--quiet"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def saturations(folder: str) -> list[list[float]]:
    """Return the saturation of all layers, at each measured step."""
    records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [list(each["values"].values()) for each in records if each.get("name") == "saturation"]


def _from_to(values: Sequence[float]) -> str:
    """Return the lowest and the highest of some shares, in whole percents."""
    return f"{100 * min(values):.0f} to {100 * max(values):.0f}%"


def _below(values: Sequence[float]) -> str:
    return f"{math.floor(100 * max(values)) + 1}%"


def hero(runs: Path, seeds: str = "") -> dict[str, Any]:
    """Return the accuracy over seeds and the last saturation of both runs at the top of README."""
    found: dict[str, Any] = {}
    summaries = run(f"{HERO} {seeds}" if seeds else COMMANDS["hero"], runs)
    for arm in ("batch", "none"):
        own = [each for each in summaries if each["run_id"].startswith(f"{arm}-")]
        accuracies = [each["test_accuracy"] for each in own]
        found[arm] = {**_plain(mean_over_seeds(accuracies)), "of_seeds": accuracies}
        last = saturations(own[0]["folder"])[-1]
        found[f"saturation_{arm}"] = _below(last) if arm == "batch" else _from_to(last)
    return found


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def wide(runs: Path) -> dict[str, Any]:
    """Return the saturation of all layers over the whole training."""
    found = {each["run_id"].partition("-")[0]: saturations(each["folder"]) for each in run(COMMANDS["wide"], runs)}
    over_time = {arm: [value for step in steps for value in step] for arm, steps in found.items()}
    return {"saturation_batch": _below(over_time["batch"]), "saturation_none": _from_to(over_time["none"])}


def lr(runs: Path) -> dict[str, Any]:
    """Return where arms train, the ratio of BatchNorm's highest rate to the plain net's, and the best accuracies."""
    (said,) = run(COMMANDS["lr"], runs)
    (figure,) = [path for path in said["figures"] if path.endswith(".svg")]
    shutil.copy(figure, FIGURE)
    arms = {each["arm"]: each for each in said["arms"]}
    best = []
    for name, arm in arms.items():
        rate = arm["figures"]["best_by_accuracy"]["value"]
        found = [
            json.loads(path.read_text()) for path in Path(said["folder"]).glob(f"{name}-*-lr{rate:g}-*/summary.json")
        ]
        best.append(statistics.fmean(each["test_accuracy"] for each in found))
    ratio = arms["batch"]["against_reference"]["max_lr_ratio"]
    highest = {name: arm["figures"]["trainable"]["max_lr_by_seed"] for name, arm in arms.items()}
    larger = [of_batch > of_none for of_batch, of_none in zip(highest["batch"], highest["none"], strict=True)]
    return {
        "runs": str(len(said["lrs"]) * len(said["seeds"]) * len(arms)),
        "seeds": said["seeds"],
        "highest_batch": f"{arms['batch']['figures']['trainable']['max_lr']['value']:.2g}",
        "highest_none": f"{arms['none']['figures']['trainable']['max_lr']['value']:.2g}",
        "best": f"{100 * min(best):.1f} to {100 * max(best):.1f}%",
        "larger": str(sum(larger)),
        "ratio": {key: ratio[key] for key in ("value", "low", "high", "side")},
    }


def sigmoid(runs: Path) -> dict[str, Any]:
    """Return the learning rates at which the digits are learned, with BatchNorm and without."""
    summaries = run(COMMANDS["sigmoid"], runs)
    by_cell: dict[tuple[str, float], list[float]] = {}
    for each in summaries:
        arm, rate = re.match(r"(\w+)-.*-lr(.+?)-s\d", each["run_id"]).groups()  # type: ignore[union-attr]
        by_cell.setdefault((arm, float(rate)), []).append(each["test_accuracy"] or 0.0)
    found: dict[str, Any] = {"runs": str(len(summaries))}
    for arm in ("batch", "none"):
        means = {rate: statistics.fmean(values) for (own, rate), values in by_cell.items() if own == arm}
        rates = sorted(rate for rate, mean in means.items() if mean >= LEARNED)
        found[arm] = [f"{float(f'{rate:.1g}'):g}" for rate in (rates[0], rates[-1])]
    return found


def counts(runs: Path) -> dict[str, str]:
    """Return how many there are of what README counts."""
    words = "bnlab sweep norm=batch,none 'optim.lr=logspace(1e-3,10,9)' 'seed=range(5)' --dry-run"
    done = subprocess.run(
        [sys.executable, "-m", "bnlab.cli.app", *shlex.split(words)[1:], "--runs", str(runs)],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    (number,) = re.findall(r"^(\d+) runs", done.stderr, re.MULTILINE)
    return {"runs": number, "diagnostics": str(len(DIAGNOSTICS)), "laws": str(len(LAWS)), "norms": str(len(NORMS))}


def benches() -> dict[str, str]:
    """Return what the benchmarks have left in scripts/bench_results: times, which are not measured again here."""
    of_run = json.loads((BENCHES / "diagnostics_run.json").read_text(encoding="utf-8"))["found"]["training"]
    found = {
        kind: f"{statistics.median(a / b for a, b in zip(of_run[kind], of_run['none'], strict=True)) - 1:.0%}"
        for kind in ("cheap", "full")
    }
    for dtype, suffix in (("float32", ""), ("bfloat16", "_bfloat16")):
        rows = json.loads((BENCHES / f"batch_norm_{dtype}.json").read_text(encoding="utf-8"))["rows"]
        ratios = [row["ratios"]["ours"]["median"] for row in rows]
        found[f"mean{suffix}"] = f"{statistics.geometric_mean(ratios):.1f}"
        if not suffix:
            found |= {"fastest": f"{min(ratios):.1f}", "slowest": f"{max(ratios):.1f}"}
    return found


def measure(runs: Path) -> dict[str, Any]:
    """Run all commands, and return what README quotes of them."""
    return {
        "made": provenance.now(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "commands": COMMANDS,
        "counts": counts(runs),
        "benches": benches(),
        "hero": hero(runs),
        "wide": wide(runs),
        "lr": lr(runs),
        "sigmoid": sigmoid(runs),
    }
