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
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from readme_measurements import BENCHES, HERO, LEARNED, ROOT, benches, counts, hero, measure

PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("ask", "inside", "sweeps", "trust"))]
BETWEEN = "\0"
"""What stands between the pages where they are read as one text."""
RESULTS = BENCHES / "readme.json"

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
    ("*{} runs, 69 CPU seconds in all", lambda f: [f["sigmoid"]["runs"]]),
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
