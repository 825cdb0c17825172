"""Write the numbers of README and docs/ from what their commands give, and the figure of lr-sensitivity in docs/.

    python scripts/write_readme_numbers.py               # run the commands (minutes), keep the results, write the pages
    python scripts/write_readme_numbers.py --runs DIR    # the same, with runs kept in DIR and not trained twice
    python scripts/write_readme_numbers.py --text        # write the pages from the results that are kept
    python scripts/write_readme_numbers.py --check       # fail if pages, results and quick commands do not agree

Pages have no marks for this: a number is found by the words around it (`QUOTES`), which must stand once on all of
them. The results are in scripts/bench_results/readme.json, with seeds, intervals, hardware and versions. Times of
commands are not among them; those of benchmarks come from the files that the benchmarks have left beside it.

`--check` repeats what takes seconds: counts, and the first seed of the two runs at the top of README. Another machine
rounds otherwise, and after some hundred steps that is as if it had drawn another seed. So a repeated figure is right if
another seed's would be: within three standard deviations of the mean of the seeds that are kept. Counts must be equal.
"""

import argparse
import json
import math
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab import provenance
from bnlab.conformance.laws import LAWS
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.norms.names import NORMS
from bnlab.stats.estimate import Estimate, mean_over_seeds

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("ask", "inside", "sweeps", "trust"))]
BETWEEN = "\0"
"""What stands between the pages where they are read as one text."""
BENCHES = ROOT / "scripts" / "bench_results"
RESULTS = BENCHES / "readme.json"
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

MOST_SDS = 3.0
"""Standard deviations over seeds that a repeated figure may be away from the mean."""

Found = Mapping[str, Any]

QUOTES: list[tuple[str, Callable[[Found], Sequence[str]]]] = [
    ("TensorBoard: without a norm, {} of each layer is saturated", lambda f: [f["hero"]["saturation_none"]]),
    (
        "Blue: no norm, {} of every layer sits where the sigmoid is flat, test accuracy {}. "
        "Red: BatchNorm, below {}, {}. In brackets:",
        lambda f: [
            f["hero"]["saturation_none"],
            _share(f["hero"]["none"]),
            f["hero"]["saturation_batch"],
            _share(f["hero"]["batch"]),
        ],
    ),
    ("train.steps=400    # {} runs", lambda f: [f["counts"]["runs"]]),
    ("    # {} runs; about a minute on two cores", lambda f: [f["lr"]["runs"]]),
    (
        "BatchNorm trains up to {}, the plain net up to {}](lr-sensitivity.svg)",
        lambda f: [f["lr"]["highest_batch"], f["lr"]["highest_none"]],
    ),
    (
        "The best test accuracy of the four is {}. BatchNorm's highest learning rate that trains is {} times the plain "
        "net's, and larger on {} of 5 seeds;",
        lambda f: [f["lr"]["best"], _ratio(f["lr"]["ratio"]), f["lr"]["larger"]],
    ),
    ("*{} runs, less than two minutes", lambda f: [f["sigmoid"]["runs"]]),
    (
        "With BatchNorm (red) the digits are learned to {} or better from {} to {}, without a norm (pink) "
        "from {} to {}.*",
        lambda f: [f"{LEARNED:.0%}", *f["sigmoid"]["batch"], *f["sigmoid"]["none"]],
    ),
    (
        "Saturation of five sigmoid layers over training: below {} with BatchNorm, {} without",
        lambda f: [f["wide"]["saturation_batch"], f["wide"]["saturation_none"]],
    ),
    ("with `diagnostics=full` to have all but three of the {} |", lambda f: [f["counts"]["diagnostics"]]),
    ("the {} diagnostics: what each measures", lambda f: [f["counts"]["diagnostics"]]),
    ("There are {} diagnostics (`bnlab list diagnostics`)", lambda f: [f["counts"]["diagnostics"]]),
    ("tests any layer against {} laws of norms", lambda f: [f["counts"]["laws"]]),
    ("**The other norms.** {} arms, each", lambda f: [f["counts"]["norms"]]),
    ("norms.md): {} arms, each with its formula", lambda f: [f["counts"]["norms"]]),
    ("what differs inside: {} diagnostics", lambda f: [f["counts"]["diagnostics"]]),
    ("inside a network, in {} diagnostics", lambda f: [f["counts"]["diagnostics"]]),
    (
        "`cheap` (three, the default) takes {} of the time of the default run, `full` (all) {} ",
        lambda f: [f["benches"]["cheap"], f["benches"]["full"]],
    ),
    (
        "take {} to {} times as long as PyTorch's, {} in the geometric mean over eight inputs "
        "(float32, one core: `python scripts/bench_norms.py`; bfloat16: {})",
        lambda f: [f["benches"][key] for key in ("fastest", "slowest", "mean", "mean_bfloat16")],
    ),
]
"""The words around numbers, with a pair of braces for each number; and the numbers."""


def _share(found: Found) -> str:
    return f"{found['value']:.1%} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _ratio(found: Found) -> str:
    bound = {"exact": "", "at_least": ">= ", "at_most": "<= "}[found["side"]]
    interval = f" [{found['low']:.2g}, {found['high']:.2g}]" if found["low"] != found["high"] else ""
    return f"{bound}{found['value']:.2g}{interval}"


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


def read_pages() -> str:
    """Return all pages as one text."""
    return BETWEEN.join(path.read_text(encoding="utf-8") for path in PAGES)


def written(text: str, found: Found) -> str:
    """Return the text of the pages with the numbers of today.

    Raises:
        SystemExit: Words that stand around a number are not there, or stand there twice.
    """
    for template, numbers in QUOTES:
        parts = [r"\s+".join(map(re.escape, re.split(r" +", part))) for part in template.split("{}")]
        pattern = re.compile(r"([^|]{1,40}?)".join(f"({part})" for part in parts), re.DOTALL)
        places = list(pattern.finditer(text))
        if len(places) != 1:
            sys.exit(f"The pages say {len(places)} times, and not once: {template}")
        place = places[0]
        words, there = place.groups()[::2], [*place.groups()[1::2], ""]
        new = "".join(
            word + (old if old.split() == number.split() else number)  # a line may end inside of it
            for word, old, number in zip(words, there, [*numbers(found), ""], strict=True)
        )
        text = text[: place.start()] + new + text[place.end() :]
    return text


def complaints(found: Found) -> list[str]:
    """Return what is wrong with the pages, or with the results that are kept, as far as seconds tell."""
    wrong = []
    text = read_pages()
    with tempfile.TemporaryDirectory() as place:
        now = {**found, "counts": counts(Path(place)), "benches": benches()}
        again = hero(Path(place), "seed=0")
    if written(text, now) != text:
        wrong.append("The pages have other numbers than the results: python scripts/write_readme_numbers.py --text")
    for arm in ("batch", "none"):
        of_seeds, came = found["hero"][arm]["of_seeds"], again[arm]["of_seeds"][0]
        mean, room = statistics.fmean(of_seeds), MOST_SDS * statistics.stdev(of_seeds)
        if abs(came - mean) > room:
            wrong.append(
                f"{HERO} seed=0: norm={arm} has {came:.1%}, README {mean:.1%} over {len(of_seeds)} seeds, "
                f"more than {room:.1%} away: python scripts/write_readme_numbers.py"
            )
    return wrong


def main() -> None:
    """Measure and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; repeat what takes seconds")
    parser.add_argument(
        "--text", action="store_true", help="run nothing; write the pages from the results that are kept"
    )
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder; else they are removed")
    options = parser.parse_args()
    if options.check:
        sys.exit("\n".join(complaints(json.loads(RESULTS.read_text(encoding="utf-8")))) or 0)
    with tempfile.TemporaryDirectory() as place:
        if options.text:
            found = json.loads(RESULTS.read_text(encoding="utf-8"))
            found |= {"counts": counts(Path(place)), "benches": benches()}
        else:
            found = measure((options.runs or Path(place)).absolute())
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for path, text in zip(PAGES, written(read_pages(), found).split(BETWEEN), strict=True):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
